package broker_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// The power cut tests run a whole node under load, take the disk as a power cut
// would leave it, start a new node on it and hold that to what clients were told. A
// violation carries the name of the invariant it breaks:
//
//	acked-lost         a record acknowledged by acks=all is not where it was
//	read-then-lost     a record that a consumer has read is not there, or another is
//	duplicate          a record is there twice
//	order              the records of an idempotent producer do not follow one another
//	foreign-data       a record is there that nobody sent to this life of the topic
//	start-regressed    deleted records are back
//	start-ahead        records are gone that nobody deleted
//	metadata-lost      a topic, partition or config that was acknowledged is not there
//	deleted-is-back    a topic is there whose deletion was acknowledged
//	commit-lost        an acknowledged offset of a group is not there
//	producer-id-reused a producer id is handed out a second time
//	does-not-serve     the node does not start, answer, take a record, or stop
//	aborted-seen       a reader of committed records sees one of a transaction that was not
//	half-seen          a transaction is there in part
//	held-back          the last stable offset stands still with no transaction open

// verdicts collects what all power cuts of a test have shown.
type verdicts struct {
	mu         sync.Mutex
	cuts       int
	lossy      map[uint64]bool // fingerprints of states that lost unsynced bytes
	starting   int             // cuts while a node started,
	loading    int             // those of them at a read of the groups
	deleting   int             // cuts while a topic was being deleted
	open       int             // cuts with transactions open,
	deciding   int             // and between a commit and its answer
	compacted  int             // tables found compacted
	violations []string
}

func (v *verdicts) count(c powerCut) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cuts++
	if c.starting {
		v.starting++
	}
	if c.loading {
		v.loading++
	}
	if c.lost.Bytes > 0 {
		v.lossy[c.disk.Fingerprint()] = true
	}
	for _, t := range c.made.topics {
		if t.dropping {
			v.deleting++
		}
	}
	outcome := func(o txnOutcome) func(*txnPromise) bool {
		return func(x *txnPromise) bool { return x.outcome == o }
	}
	if slices.ContainsFunc(c.made.txns, outcome(txnOpen)) {
		v.open++
	}
	if slices.ContainsFunc(c.made.txns, outcome(txnCommitting)) {
		v.deciding++
	}
}

func (v *verdicts) broken() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.violations) > 0
}

// inspection is one node on what a power cut has left.
type inspection struct {
	v    *verdicts
	made *promises
	at   string
	late bool // what was open when the power went has taken too long by now
	c    *wireClient
	bad  bool
}

func (i *inspection) violate(name, format string, args ...any) {
	i.v.mu.Lock()
	defer i.v.mu.Unlock()
	i.v.violations = append(i.v.violations, fmt.Sprintf("%s: %s; %s", name, fmt.Sprintf(format, args...), i.at))
	i.bad = true
}

// ok reports an error of the node itself.
func (i *inspection) ok(err error) bool {
	if err != nil {
		i.violate("does-not-serve", "%v", err)
	}
	return err == nil
}

// inspect starts a node on what the power cut left. Then it lets clients carry on
// and cuts the power again, depth times, and while nodes start.
func (v *verdicts) inspect(c powerCut, depth int) {
	v.count(c)
	rng := rand.New(rand.NewPCG(c.seed, 7))
	i := &inspection{v: v, made: c.made.clone(), at: c.at, late: c.ahead() > 0}
	during := &startCuts{cut: c, rng: rng}
	if depth > 0 {
		c.disk.OnOp(during.take)
	}
	node, err := powerOn(c.disk, c.ahead())
	c.disk.OnOp(nil)
	next := during.end()
	if !i.ok(err) {
		return
	}
	if i.c, err = node.connect(); i.ok(err) {
		i.checkAll()
		if depth > 0 && !i.bad && i.ok(i.carryOn()) {
			next = append(next, capture(c.disk, i.made, env.KeepNothing, rng.Uint64(), "after: "+c.at))
		}
		i.c.close()
	}
	i.ok(node.off())
	for _, cut := range next {
		v.inspect(cut, depth-1)
	}
}

// startCuts has the power cut once more while a node starts and loads its groups.
// Nothing is promised meanwhile.
type startCuts struct {
	cut powerCut

	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	taken []powerCut
	ended bool
}

// take is the disk's hook. Reads of the offsets topic are what loading groups does.
func (s *startCuts) take(op env.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	loads := op.Kind == env.OpRead && strings.Contains(op.Name, "__consumer_offsets")
	if s.ended || !op.Kind.Changes() && !loads || s.rng.IntN(60) != 0 {
		return nil
	}
	where := fmt.Sprintf("of a start before operation %d (%s %s), after: %s", op.Index, op.Kind, op.Name, s.cut.at)
	image := capture(s.cut.disk, s.cut.made, somePolicy(s.rng), s.rng.Uint64(), where)
	image.starting, image.loading = true, loads
	s.taken = append(s.taken, image)
	return nil
}

func (s *startCuts) end() []powerCut {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.taken
}

func (i *inspection) checkAll() {
	topics, err := i.c.topics()
	if !i.ok(err) {
		return
	}
	for name := range i.made.gone {
		if _, back := topics[name]; back {
			i.violate("deleted-is-back", "topic %s", name)
		}
	}
	for name, t := range i.made.topics {
		i.checkTopic(name, t, topics)
	}
	for name := range topics {
		if i.made.topics[name] == nil && !i.made.gone[name] && !strings.HasPrefix(name, "__") {
			i.violate("foreign-data", "topic %s", name)
		}
	}
	for _, group := range []string{"readers", "lonely"} {
		i.checkCommits(group)
	}
	i.checkTransactions()
	pid, err := i.c.producerID()
	if i.ok(err) && i.made.pids[pid] {
		i.violate("producer-id-reused", "id %d", pid)
	}
}

func (i *inspection) checkTopic(name string, t *topicPromise, topics map[string]listed) {
	found, ok := topics[name]
	if !ok {
		if t.live() {
			i.violate("metadata-lost", "topic %s", name)
		}
		return
	}
	if t.live() && (found.id != t.id || len(found.leaders) < t.partCount) {
		i.violate("metadata-lost", "topic %s has id %x and %d partitions, want %x and %d", name, found.id, len(found.leaders), t.id, t.partCount)
	}
	if len(found.leaders) > len(t.parts) {
		i.violate("foreign-data", "topic %s has %d partitions", name, len(found.leaders))
		return
	}
	for index, leader := range found.leaders {
		at := tp{name, int32(index)}
		if leader < 0 {
			i.violate("does-not-serve", "%s has no leader", at)
			continue
		}
		if !t.gapped {
			i.checkPartition(at, t.parts[index], t.capped)
		}
	}
	if len(t.configs) == 0 {
		return
	}
	configs, err := i.c.configs(name)
	if !i.ok(err) {
		return
	}
	for key, promise := range t.configs {
		if !promise.allows(configs[key]) {
			i.violate("metadata-lost", "topic %s has %s=%s, want %s or one of %v", name, key, configs[key], promise.acked, promise.asked)
		}
	}
}

func (i *inspection) checkCommits(group string) {
	committed := map[tp]int64{}
	loaded := false
	for key, promise := range i.made.commits {
		if key.group != group {
			continue
		}
		if !loaded {
			if !i.ok(i.c.coordinate(ofGroup, group)) {
				return
			}
			var err error
			if committed, err = i.c.committed(group); !i.ok(err) {
				return
			}
			loaded = true
		}
		offset, found := committed[key.tp]
		text := ""
		if found {
			text = fmt.Sprint(offset)
		}
		if !promise.allows(text) {
			i.violate("commit-lost", "group %s at %s has offset %q, want %q or one of %v", group, key.tp, text, promise.acked, promise.asked)
		}
	}
}

func (i *inspection) checkPartition(at tp, p *partPromise, capped bool) {
	start, err := i.c.edge(at, -2)
	if !i.ok(err) {
		return
	}
	if start < p.start {
		i.violate("start-regressed", "%s starts at offset %d, was deleted up to %d", at, start, p.start)
	}
	if start > p.cut && !capped {
		i.violate("start-ahead", "%s starts at offset %d, was deleted up to %d", at, start, p.cut)
	}
	log, err := i.readAll(at, start)
	if !i.ok(err) {
		return
	}
	there := func(name string, want []seen) {
		for _, s := range want {
			if s.offset < start {
				continue
			}
			if n := s.offset - start; n >= int64(len(log)) {
				i.violate(name, "%s lost offset %d, ends at %d", at, s.offset, start+int64(len(log)))
				return
			} else if log[n] != s.value {
				i.violate(name, "%s offset %d holds %.40q, was %.40q", at, s.offset, log[n], s.value)
				return
			}
		}
	}
	there("acked-lost", p.acked)
	there("read-then-lost", p.read)
	i.checkProducers(at, p, start, log)
}

// readAll reads a partition up to its high watermark. Offsets have no gaps.
func (i *inspection) readAll(at tp, start int64) ([]string, error) {
	var log []string
	for next := start; ; next = start + int64(len(log)) {
		records, watermark, err := i.c.fetch(at, next)
		if err != nil {
			return nil, fmt.Errorf("%s at %d: %w", at, next, err)
		}
		for n, r := range records {
			if want := next + int64(n); r.offset != want {
				return nil, fmt.Errorf("%s has offset %d, want %d", at, r.offset, want)
			}
			log = append(log, r.value)
		}
		if len(records) == 0 {
			if next != watermark {
				return nil, fmt.Errorf("%s ends at %d, watermark %d", at, next, watermark)
			}
			return log, nil
		}
	}
}

func (i *inspection) checkProducers(at tp, p *partPromise, start int64, log []string) {
	sent := make(map[string]sentRecord, len(p.sent))
	for _, s := range p.sent {
		sent[s.value] = s
	}
	seenAt, next := map[string]int64{}, map[int64]int32{}
	for n, value := range log {
		offset := start + int64(n)
		s, known := sent[value]
		if !known {
			i.violate("foreign-data", "%s offset %d holds %.40q", at, offset, value)
			return
		}
		if before, twice := seenAt[value]; twice {
			i.violate("duplicate", "%s offset %d holds what offset %d does", at, offset, before)
		}
		seenAt[value] = offset
		if s.pid < 0 {
			continue
		}
		if want, met := next[s.pid]; met && s.seq != want || !met && start == 0 && s.seq != 0 {
			i.violate("order", "%s offset %d of producer %d has sequence %d, want %d", at, offset, s.pid, s.seq, want)
		}
		next[s.pid] = s.seq + 1
	}
}

// carryOn does what clients do once the node is back: producers send again what was
// not acknowledged, everybody goes on. All of it is promised.
func (i *inspection) carryOn() error {
	if err := i.carryOnTransactions(); err != nil {
		return err
	}
	for _, at := range i.made.known() {
		if i.made.topics[at.topic].gapped {
			continue
		}
		p := i.made.part(at)
		for _, b := range p.batches[p.batchesAcked:] {
			base, err := i.c.produce(at, -1, batchOf(&record.Producer{ID: b.pid, Sequence: b.seq}, b.values))
			if err != nil {
				return fmt.Errorf("send sequence %d of producer %d to %s again: %w", b.seq, b.pid, at, err)
			}
			kept(i.made, at, base, b.values)
			p.batchesAcked++
		}
		after := []string{fmt.Sprintf("%s after %s", at, i.at)}
		asked(i.made, at, -1, 0, after)
		base, err := i.c.produce(at, -1, batchOf(nil, after))
		if err != nil {
			return fmt.Errorf("produce to %s: %w", at, err)
		}
		kept(i.made, at, base, after)
		i.checkPartition(at, p, i.made.topics[at.topic].capped)
	}
	if at := (tp{"orders", 0}); i.made.topics["orders"] != nil && i.made.topics["orders"].live() {
		if err := i.c.coordinate(ofGroup, "lonely"); err != nil {
			return err
		}
		i.made.commit("lonely", at).ask("77777")
		if err := i.c.commit(member{group: "lonely", generation: -1}, at, 77777); err != nil {
			return err
		}
		i.made.commit("lonely", at).ack()
	}
	if i.made.topics["later"] == nil {
		t := i.made.askTopic("later", 1, nil)
		id, err := i.c.createTopic("later", 1, nil)
		if err != nil {
			return err
		}
		t.id, t.partCount = id, 1
	}
	return nil
}

func (v *verdicts) report(t *testing.T) {
	t.Helper()
	for n, text := range v.violations {
		if n == 10 {
			t.Errorf("and %d more", len(v.violations)-n)
			break
		}
		t.Error(text)
	}
	t.Logf("%d power cuts of the whole node, %d of them during a start (%d while groups were loaded), %d while a topic was deleted; %d distinct crash states lost unsynced bytes",
		v.cuts, v.starting, v.loading, v.deleting, len(v.lossy))
}

// cutNodes runs workloads until so many power cuts were looked at, or one broke a promise.
func cutNodes(t *testing.T, s script, want, steps int, disk func(*env.MemFS) env.FS) *verdicts {
	t.Helper()
	v := &verdicts{lossy: map[uint64]bool{}}
	for seed := uint64(1); v.cuts < want && !v.broken(); seed++ {
		var g errgroup.Group
		g.SetLimit(4)
		for _, image := range runWorkload(t, s, seed, steps, 25, disk) {
			g.Go(func() error {
				if !v.broken() {
					v.inspect(image, 1)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func TestNothingPromisedIsLostToAPowerCutOfTheNode(t *testing.T) {
	want, steps := 2000, 24
	if testing.Short() {
		want, steps = 40, 8
	}
	v := cutNodes(t, everyday(), want, steps, func(disk *env.MemFS) env.FS { return disk })
	v.report(t)
	if v.cuts < want && !t.Failed() {
		t.Errorf("%d power cuts, want %d", v.cuts, want)
	}
	if !testing.Short() && (v.loading == 0 || v.deleting == 0) {
		t.Error("no cut while groups were loaded, or none while a topic was deleted")
	}
}

// TestADiskThatDoesNotSyncIsFoundOut plants the bug that the power cut tests are for.
func TestADiskThatDoesNotSyncIsFoundOut(t *testing.T) {
	v := cutNodes(t, everyday(), 500, 24, func(disk *env.MemFS) env.FS { return forgetful{disk, "/orders-"} })
	if !slices.ContainsFunc(v.violations, func(text string) bool {
		return strings.HasPrefix(text, "acked-lost: orders-") && strings.Contains(text, "offset ")
	}) {
		t.Errorf("no acked-lost among %q", v.violations)
	}
}

// forgetful is a disk that says it has synced the segments of one topic and has not.
type forgetful struct {
	*env.MemFS
	topic string
}

func (f forgetful) OpenFile(name string, flag int, perm fs.FileMode) (env.File, error) {
	file, err := f.MemFS.OpenFile(name, flag, perm)
	if err == nil && strings.Contains(name, f.topic) && strings.HasSuffix(name, ".log") {
		file = unsynced{file}
	}
	return file, err
}

func (forgetful) SyncFS(string) error { return errors.ErrUnsupported }

type unsynced struct{ env.File }

func (unsynced) Sync() error { return nil }
