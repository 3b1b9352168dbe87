package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// vault is a Kafka in memory with transactions: rows of open units hold readers
// back, rows of aborted ones are never read, a marker ends each unit in every
// partition.
type vault struct {
	mu         sync.Mutex
	topics     map[TP][]row
	committed  map[TP]Offset
	units      []*unit
	epoch      int // of the producer that may write
	generation int // of the group
	faults     *faults
	reread     int  // rows that were read from changelogs
	plain      bool // at least once: there are no units
}

type row struct {
	Message
	unit   *unit // nil for none
	marker bool
}

// unit is one transaction.
type unit struct {
	ended, aborted bool
	parts          map[TP]bool
	offsets        []Offset
}

func newVault() *vault {
	return &vault{topics: map[TP][]row{}, committed: map[TP]Offset{}, faults: &faults{at: -1}}
}

func (v *vault) append(tp TP, m Message, u *unit, marker bool) int64 {
	m.Topic, m.Partition, m.Offset = tp.Topic, tp.Partition, int64(len(v.topics[tp]))
	v.topics[tp] = append(v.topics[tp], row{m, u, marker})
	return m.Offset
}

func (v *vault) feed(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for range n {
		for p := range int32(2) {
			tp := TP{"in", p}
			i := len(v.topics[tp])
			v.append(tp, Message{Key: fmt.Appendf(nil, "k%d-%d", p, i%3), Value: []byte("v"), Timestamp: int64(i)}, nil, false)
		}
	}
}

// end ends a unit: its offsets count, and its markers are written.
func (v *vault) end(u *unit, aborted bool) {
	if u.ended {
		return
	}
	u.ended, u.aborted = true, aborted
	for tp := range u.parts {
		v.append(tp, Message{}, u, true)
	}
	if !aborted {
		for _, o := range u.offsets {
			v.committed[o.TP] = o
		}
	}
}

// read returns what a reader of committed records sees from an offset on.
func (v *vault) read(tp TP, from int64, limit int) (f Fetched) {
	f = Fetched{TP: tp, Next: -1}
	rows := v.topics[tp]
	f.End = int64(len(rows))
	if i := slices.IndexFunc(rows, func(r row) bool { return r.unit != nil && !r.unit.ended }); i >= 0 {
		f.End = int64(i)
	}
	for at := from; at < f.End && len(f.Messages) < limit; at++ {
		f.Next = at + 1
		if r := rows[at]; !r.marker && (r.unit == nil || !r.unit.aborted) {
			f.Messages = append(f.Messages, r.Message)
		}
	}
	return f
}

// errCrash ends a process: nothing that it does later has an effect.
var errCrash = errors.New("power cut")

// faults fails the steps of a run: the one with a certain number, or some at
// random. A step is a request or an apply, before or after its effect.
type faults struct {
	mu    sync.Mutex
	seen  []string
	at    int // the step that fails; -1 for none
	rng   *rand.Rand
	crash bool
	dead  bool
}

// step fails if it is its turn.
func (f *faults) step(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errCrash
	}
	f.seen = append(f.seen, name)
	crash := f.crash
	switch {
	case f.rng != nil:
		if f.rng.IntN(60) != 0 {
			return nil
		}
		crash = f.rng.IntN(2) == 0
	case len(f.seen)-1 != f.at:
		return nil
	}
	if crash || name == "apply" || name == "applied" { // a database has no failures that pass
		f.dead = true
		return errCrash
	}
	return fmt.Errorf("%w: planted at %s", ErrRetry, name)
}

// heal ends all failures, or those of the process that died.
func (f *faults) heal(all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead = false; all {
		f.at, f.rng = -1, nil
	}
}

// vaultLog is the Log of one worker on a vault.
type vaultLog struct {
	*vault
	epoch, generation int
	mine, restoring   map[TP]int64
	paused            map[TP]bool
	acks              map[TP]int64
	unit              *unit
	failed            error // of a send
	join              func()
}

func (l *vaultLog) do(before, after string, f func()) error {
	if err := l.faults.step(before); err != nil {
		return err
	}
	l.mu.Lock()
	f()
	l.mu.Unlock()
	if after == "" {
		return nil
	}
	return l.faults.step(after)
}

func (l *vaultLog) Begin(context.Context) error {
	if l.epoch > 0 || l.plain {
		return l.faults.step("begin")
	}
	return l.do("init", "inited", func() {
		l.vault.epoch++
		l.epoch = l.vault.epoch
		for _, u := range l.units {
			l.end(u, true)
		}
	})
}

func (l *vaultLog) Send(o *Outgoing) error {
	err := l.do("send", "sent", func() {
		tp := TP{o.Topic, max(0, o.Partition)}
		m := Message{Key: slices.Clone(o.Key), Value: slices.Clone(o.Value), Timestamp: o.Timestamp, Headers: o.Headers}
		if l.plain {
			l.acks[tp] = l.append(tp, m, nil, false)
			return
		}
		if l.epoch != l.vault.epoch {
			l.failed = fmt.Errorf("%w: fenced", ErrRetry)
			return
		}
		if l.unit == nil {
			l.unit = &unit{parts: map[TP]bool{}}
			l.units = append(l.units, l.unit)
		}
		l.unit.parts[tp] = true
		l.acks[tp] = l.append(tp, m, l.unit, false)
	})
	if err == nil {
		err = l.failed
	}
	return err
}

func (l *vaultLog) Commit(_ context.Context, offsets []Offset) error {
	if err := cmpErr(l.faults.step("flush"), l.failed); err != nil {
		return err
	}
	var refused error
	err := l.do("offsets", "added", func() {
		switch {
		case l.generation != l.vault.generation:
			refused = fmt.Errorf("%w: illegal generation", ErrRetry)
		case l.unit != nil && l.epoch != l.vault.epoch:
			refused = fmt.Errorf("%w: fenced", ErrRetry)
		case l.unit != nil:
			l.unit.offsets = append(l.unit.offsets, offsets...)
		default:
			for _, o := range offsets {
				l.committed[o.TP] = o
			}
		}
	})
	if err = cmpErr(err, refused); err != nil || l.unit == nil {
		return err
	}
	err = l.do("end", "ended", func() {
		if l.epoch != l.vault.epoch {
			refused = fmt.Errorf("%w: fenced", ErrRetry)
			return
		}
		l.end(l.unit, false)
	})
	if err = cmpErr(err, refused); err == nil {
		l.unit = nil
	}
	return err
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *vaultLog) Abort(context.Context) error {
	l.epoch, l.unit, l.failed = 0, nil, nil // the next Begin aborts what is open
	clear(l.acks)
	return nil
}

func (l *vaultLog) Committed(_ context.Context, tps []TP) (found map[TP]Offset, err error) {
	found = map[TP]Offset{}
	unstable := false
	err = l.do("committed", "", func() {
		for _, tp := range tps {
			o, ok := l.committed[tp]
			if !ok {
				o = Offset{TP: tp, Offset: -1}
			}
			found[tp] = o
		}
		for _, u := range l.units {
			unstable = unstable || !u.ended && slices.ContainsFunc(u.offsets, func(o Offset) bool { return slices.Contains(tps, o.TP) })
		}
	})
	if err == nil && unstable {
		err = fmt.Errorf("%w: unstable", ErrRetry)
	}
	return found, err
}

func (l *vaultLog) Starts(_ context.Context, tps []TP) (map[TP]int64, error) {
	found := map[TP]int64{}
	for _, tp := range tps {
		found[tp] = 0
	}
	return found, l.faults.step("starts")
}

func (l *vaultLog) Ends(_ context.Context, tps []TP) (map[TP]int64, error) {
	found := map[TP]int64{}
	return found, l.do("ends", "", func() {
		for _, tp := range tps {
			found[tp] = int64(len(l.topics[tp]))
		}
	})
}

func (l *vaultLog) Poll(ctx context.Context, wait time.Duration, limit int) (got []Fetched, err error) {
	if l.join != nil {
		l.join()
		l.join = nil
	}
	err = l.do("poll", "", func() {
		for tp, at := range l.mine {
			if f := l.read(tp, at, limit); !l.paused[tp] && f.Next >= 0 {
				l.mine[tp] = f.Next
				got = append(got, f)
			}
		}
	})
	if err == nil && len(got) == 0 && wait > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return got, err
}

func (l *vaultLog) Pause(tps []TP) {
	for _, tp := range tps {
		l.paused[tp] = true
	}
}

func (l *vaultLog) Resume(tps []TP) {
	for _, tp := range tps {
		delete(l.paused, tp)
	}
}

func (l *vaultLog) Seek(to map[TP]int64) { maps.Copy(l.mine, to) }

func (l *vaultLog) Acked(tp TP) (int64, bool) {
	last, ok := l.acks[tp]
	delete(l.acks, tp)
	return last, ok
}

func (l *vaultLog) Restore(from map[TP]int64) error {
	maps.Copy(l.restoring, from)
	return l.faults.step("restore")
}

func (l *vaultLog) Restored(_ context.Context, wait time.Duration, limit int) (got []Fetched, err error) {
	err = l.do("restored", "", func() {
		for tp, at := range l.restoring {
			if f := l.read(tp, at, limit); f.Next >= 0 {
				l.restoring[tp] = f.Next
				l.reread += len(f.Messages)
				got = append(got, f)
			}
		}
	})
	if err == nil && len(got) == 0 {
		<-time.After(wait)
	}
	return got, err
}

func (l *vaultLog) EndRestore(tps []TP) {
	for _, tp := range tps {
		delete(l.restoring, tp)
	}
}

func (l *vaultLog) Close(context.Context, bool) error { return nil }
func (*vaultLog) Subscribe([]string)                  {}

func (l *vaultLog) Rejoin() {}
func (l *vaultLog) Kill()   {}

// faultyDatabases are databases whose applies are steps that fail.
type faultyDatabases struct {
	databases
	faults *faults
}

type faultyDB struct {
	statestore.DB
	faults *faults
}

func (d *faultyDatabases) Open(id TaskID) (statestore.DB, error) {
	db, err := d.databases.Open(id)
	return faultyDB{db, d.faults}, err
}

// Apply tells a process that died nothing.
func (d faultyDB) Apply(b *statestore.Batch, positions map[string]int64) error {
	return d.into(d.DB.Apply, b, positions)
}

// Load fails as Apply does.
func (d faultyDB) Load(b *statestore.Batch, positions map[string]int64) error {
	return d.into(d.DB.Load, b, positions)
}

func (d faultyDB) into(apply func(*statestore.Batch, map[string]int64) error, b *statestore.Batch, positions map[string]int64) error {
	if err := d.faults.step("apply"); err != nil {
		return err
	}
	if err := apply(b, positions); err != nil {
		return err
	}
	return d.faults.step("applied")
}

// promise is an application with two tasks in one worker, which sends every
// message on and counts it, and is started again whenever it ends with an error.
type promise struct{ *Trial }

func newPromise(t *testing.T, v *vault) *promise {
	t.Helper()
	prog := newProgram(t)
	prog.hook = func(h processor.Host, m *Message) error {
		return h.Send(Outgoing{Topic: "each", Partition: m.Partition, Key: m.Key, Value: strconv.AppendInt(nil, m.Offset, 10)})
	}
	return &promise{newTrial(t, prog, v, TP{"in", 0}, TP{"in", 1})}
}

const rounds, perRound = 8, 5

// drive feeds in rounds, lets everything settle and stops.
func (p *promise) drive() {
	p.play(rounds, rounds+1, func(i int) {
		if i < rounds {
			p.vault.feed(perRound)
		}
	})
}

// check wants every message to have had its effects once, in order.
func (p *promise) check(what string) {
	p.t.Helper()
	v := p.vault
	for part := range int32(2) {
		for i, m := range v.read(TP{"each", part}, 0, 1<<30).Messages {
			if string(m.Value) != strconv.Itoa(i) {
				p.t.Fatalf("%s: message %d of partition %d was sent on as %s", what, i, part, m.Value)
			}
		}
		if n := len(v.read(TP{"each", part}, 0, 1<<30).Messages); n != rounds*perRound {
			p.t.Fatalf("%s: %d messages of partition %d were sent on, want %d", what, n, part, rounds*perRound)
		}
		p.checkCounts(what, part)
	}
	if p.disk.wiped > 0 {
		p.t.Errorf("%s: state was wiped", what)
	}
	last := map[string]int{}
	for _, m := range v.read(TP{"out", 0}, 0, 1<<30).Messages {
		n, err := strconv.Atoi(string(m.Value))
		if err != nil || n <= last[string(m.Key)] {
			p.t.Fatalf("%s: %s was counted to %s after %d", what, m.Key, m.Value, last[string(m.Key)])
		}
		last[string(m.Key)] = n
	}
	total := 0
	for _, n := range last {
		total += n
	}
	if total != 2*rounds*perRound {
		p.t.Fatalf("%s: outputs count %d messages: %v", what, total, last)
	}
}

// checkCounts wants the database of a task to hold what its changelog leads to,
// and a position behind it.
func (p *promise) checkCounts(what string, part int32) {
	p.t.Helper()
	changelog := p.vault.read(TP{changelogTopic, part}, 0, 1<<30)
	want := map[string]string{}
	for _, m := range changelog.Messages {
		want[string(m.Key)] = string(m.Value)
	}
	db := p.disk.dbs[TaskID{Partition: part}]
	positions, err := db.Position()
	must(p.t, err)
	last := changelog.Messages[len(changelog.Messages)-1].Offset
	if at := positions[changelogTopic]; at <= last || at > changelog.End {
		p.t.Errorf("%s: the state of %d is at %d, its changelog ends at %d with a record at %d", what, part, at, changelog.End, last)
	}
	store, err := statestore.Open(db, spec(&newProgram(p.t).graph.Subtopologies[0].Stores[0]), &nolog{})
	must(p.t, err)
	kv, err := statestore.AsKeyValue(store, text{}, number{})
	must(p.t, err)
	for key, value := range want {
		n, _, err := kv.Get(key)
		must(p.t, err)
		if raw, _ := (number{}).Append(nil, n); string(raw) != value {
			p.t.Errorf("%s: %s is %d in the store", what, key, n)
		}
	}
}

type nolog struct{}

func (nolog) Log(string, []byte, []byte, int64) error { return nil }

// TestExactlyOnceWhateverFails fails every single step of a run once, for now or
// for good, before and after its effect.
func TestExactlyOnceWhateverFails(t *testing.T) {
	var steps []string
	synctest.Test(t, func(t *testing.T) {
		p := newPromise(t, newVault())
		p.drive()
		p.check("undisturbed")
		if steps = p.vault.faults.seen; p.ran != 1 || p.vault.reread != 0 {
			t.Errorf("ran %d times and restored %d records undisturbed", p.ran, p.vault.reread)
		}
	})
	polls := 0
	for i, name := range steps {
		if name == "poll" {
			if polls++; polls > 12 { // most of them find nothing
				continue
			}
		}
		for _, crash := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := newPromise(t, newVault())
				p.FailAt(i, crash)
				p.drive()
				p.check(fmt.Sprintf("step %d, %s, crash %v", i, name, crash))
				if !slices.Contains(p.vault.faults.seen, "init") || len(p.vault.faults.seen) <= i {
					t.Error("the failure was not reached")
				}
			})
		}
		if t.Failed() {
			return
		}
	}
	for _, name := range []string{"init", "inited", "send", "sent", "flush", "offsets", "added", "end", "ended", "begin", "apply", "applied"} {
		if !slices.Contains(steps, name) {
			t.Errorf("no step %s in %v", name, steps)
		}
	}
}

// TestExactlyOnceWithManyFailures fails one step of sixty, in many runs.
func TestExactlyOnceWithManyFailures(t *testing.T) {
	runs, restored := often(t, 300, newPromise, (*promise).check)
	if runs < 900 || restored < 100 {
		t.Errorf("%d starts and %d restored records: the failures show nothing", runs, restored)
	}
	t.Logf("300 runs, %d starts, %d records restored", runs, restored)
}

// TestAZombieCommitsNothing moves the partitions to another worker behind the
// back of the one that has them.
func TestAZombieCommitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		zombie, heir := newPromise(t, v), newPromise(t, v)
		ctx, stop := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(func() { zombie.run(ctx) })
		for round := range rounds {
			v.feed(perRound)
			time.Sleep(120 * time.Millisecond)
			if round == rounds/2 {
				v.mu.Lock()
				v.generation++
				v.mu.Unlock()
				both.Go(func() { heir.run(ctx) })
			}
		}
		time.Sleep(10 * time.Second)
		stop()
		both.Wait()
		heir.check("after the move")
		if v.epoch < 4 {
			t.Errorf("the zombie tried nothing: epoch %d", v.epoch)
		}
	})
}
