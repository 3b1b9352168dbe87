package txn

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/machine"
)

// TestTransactionsAreAtomic lets clients share one transactional id, on a coordinator that crashes
// before and after its appends, with markers that are lost or written twice. The model knows nothing of
// states and epochs. It knows who may use the id and what was promised, and looks at partitions:
// a transaction ends on all of them in the same way, as its client was told, and nowhere by somebody
// who was fenced.
func TestTransactionsAreAtomic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		clients := []*client{{w: w}, {w: w, v1: true}, {w: w}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch c := rapid.SampledFrom(clients).Draw(t, "client"); rapid.IntRange(0, 11).Draw(t, "step") {
			case 0:
				c.init(false)
			case 1:
				c.init(true)
			case 2, 3, 4, 5:
				c.add()
			case 6, 7, 8, 9:
				c.end(rapid.Bool().Draw(t, "commit"))
			case 10:
				w.wait(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			default:
				w.crash()
			}
		}
		w.settle()
	})
}

const modelTimeout = 5 * time.Second

// job is a transaction as the model sees it.
type job struct {
	endable bool   // somebody who may has asked for its end, or its time was up
	outcome string // that partitions saw
	promise string // that its client was told
}

// world is a coordinator, its log, and the partitions.
type world struct {
	t      *rapid.T
	m      *Machine
	o      Options
	now    time.Time
	epoch  int32
	log    []machine.Record
	timers map[machine.TimerKey]time.Time
	sends  []machine.Send
	token  machine.Token
	told   map[machine.Token]machine.Reply

	open   map[TopicPartition]*job
	jobs   []*job
	owner  *client // whose requests may succeed; nil while nobody knows a valid epoch
	nextID int64
	calm   bool // nothing fails any more
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, o: DefaultOptions(), now: time.Unix(1_700_000_000, 0), open: map[TopicPartition]*job{}, nextID: 100}
	w.o.AbortCheck = time.Second
	x := &transaction{producerID: 1, previousID: 1, nextID: noProducer, epoch: rapid.Int16Range(lastGivenAway-6, lastGivenAway).Draw(t, "epoch"), started: -1}
	w.log = append(w.log, machine.Record{Key: encodeKey("tx"), Value: x.encode()})
	w.crash()
	return w
}

// crash loses everything but the log.
func (w *world) crash() {
	w.epoch++
	w.m, w.timers, w.sends, w.told = New(w.o, w.epoch), map[machine.TimerKey]time.Time{}, nil, map[machine.Token]machine.Reply{}
	for _, r := range w.log {
		if err := w.m.Replay(r); err != nil {
			w.t.Fatal(err)
		}
	}
	w.input(machine.Input{Event: machine.Loaded{}}, 0)
}

// input has the machine decide and returns whether its records reached the log. With fate 1 the
// coordinator crashes before they do, with fate 2 after it and before anything else leaves.
func (w *world) input(in machine.Input, fate int) (logged bool) {
	fx := w.m.Decide(w.now, in)
	if fate == 1 {
		w.crash()
		return false
	}
	w.log = append(w.log, fx.Records...)
	if fate == 2 {
		w.crash()
		return len(fx.Records) > 0
	}
	for _, r := range fx.Records {
		if err := w.m.Replay(r); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, timer := range fx.Timers {
		if delete(w.timers, timer.Key); !timer.At.IsZero() {
			w.timers[timer.Key] = timer.At
		}
	}
	for _, r := range fx.Replies {
		w.told[r.Token] = r
	}
	w.sends = append(w.sends, fx.Sends...)
	return len(fx.Records) > 0
}

// fate draws how a step ends; mostly well.
func (w *world) fate() int {
	if w.calm {
		return 0
	}
	return max(0, rapid.IntRange(-12, 2).Draw(w.t, "fate"))
}

// wait lets time pass and fires what runs out.
func (w *world) wait(d time.Duration) {
	end := w.now.Add(d)
	for {
		var next machine.TimerKey
		var at time.Time
		for key, when := range w.timers {
			if at.IsZero() || when.Before(at) || when.Equal(at) && key.Kind < next.Kind {
				next, at = key, when
			}
		}
		if at.IsZero() || at.After(end) {
			w.now = end
			return
		}
		w.now = at
		delete(w.timers, next)
		ongoing := w.m.durable["tx"].state == Ongoing
		if w.input(machine.Input{Event: machine.Fired{Key: next}}, w.fate()) && next.Kind == timerAbort && ongoing {
			w.disown()
		}
	}
}

// disown says that whoever used the id is fenced, and that what is open is to be ended.
func (w *world) disown() {
	w.owner = nil
	for _, j := range w.open {
		j.endable = true
	}
}

// deliver ends the oldest send. Markers may be written and the answer lost.
func (w *world) deliver() {
	s := w.sends[0]
	w.sends = w.sends[1:]
	m, ok := s.Request.(*WriteMarkers)
	if !ok {
		w.t.Fatalf("%T is sent", s.Request)
	}
	errs := make([]error, len(m.Partitions))
	for i, p := range m.Partitions {
		if !w.calm && rapid.IntRange(0, 4).Draw(w.t, "marker") == 0 {
			errs[i] = kerr.NotLeaderForPartition
			if rapid.Bool().Draw(w.t, "lost") {
				continue
			}
		}
		w.mark(p, m)
	}
	w.input(machine.Input{Event: machine.Answered{Send: s, Value: errs}}, w.fate())
}

// backOff is what a client does before it asks again; meanwhile one send ends.
func (w *world) backOff() {
	if len(w.sends) > 0 {
		w.deliver()
	}
	w.wait(100 * time.Millisecond)
}

// mark is what a partition does with a marker.
func (w *world) mark(p TopicPartition, m *WriteMarkers) {
	j := w.open[p]
	if j == nil {
		return // twice
	}
	outcome := map[bool]string{true: "commit", false: "abort"}[m.Commit]
	switch {
	case !j.endable:
		w.t.Fatalf("%s ends a transaction that nobody ended", outcome)
	case j.outcome != "" && j.outcome != outcome:
		w.t.Fatalf("torn: %s after %s", outcome, j.outcome)
	}
	j.outcome = outcome
	delete(w.open, p)
}

// ask is a request that is answered, or whose answer is lost.
func (w *world) ask(event any) (r machine.Reply, logged, lost bool) {
	w.token++
	token, life := w.token, w.epoch
	logged = w.input(machine.Input{Token: token, Event: event}, w.fate())
	for w.epoch == life {
		if r, ok := w.told[token]; ok {
			return r, logged, false
		}
		if len(w.sends) > 0 {
			w.deliver()
		} else {
			w.wait(50 * time.Millisecond)
		}
	}
	return machine.Reply{}, logged, true
}

// settle lets everything end well and looks at what came of it.
func (w *world) settle() {
	w.calm = true
	for range 40 {
		for len(w.sends) > 0 {
			w.deliver()
		}
		w.wait(modelTimeout / 10)
	}
	if len(w.open) > 0 {
		w.t.Fatalf("%d partitions hang", len(w.open))
	}
	if s := w.m.durable["tx"].state; s == Ongoing || s.completing() {
		w.t.Fatalf("settled in %s", s)
	}
	for _, j := range w.jobs {
		if j.promise != "" && j.promise != j.outcome {
			w.t.Fatalf("promised %s, partitions saw %s", j.promise, j.outcome)
		}
	}
}

// client is one that uses the id. It repeats a request until it is answered for good.
type client struct {
	w   *world
	p   Producer
	v1  bool
	job *job // its transaction; nil before the first partition
}

// repeat asks until the answer is not lost and not to come again. It returns nil, or why the client has
// to give up, which must not happen to the owner of the id.
func (c *client) repeat(event func(newID int64) any, then func(value any)) error {
	fresh := int64(noProducer)
	for {
		mine := c.w.owner == c
		r, _, lost := c.w.ask(event(fresh))
		switch {
		case lost:
		case errors.Is(r.Err, ErrProducerIDNeeded):
			c.w.nextID++
			fresh = c.w.nextID
		case errors.Is(r.Err, kerr.ConcurrentTransactions):
			c.w.backOff()
		case r.Err == nil && !mine:
			c.w.t.Fatalf("somebody who was fenced is answered %v", r.Value)
		case r.Err == nil:
			then(r.Value)
			return nil
		case mine && c.w.owner == c:
			c.w.t.Fatalf("the owner of the id is answered %v", r.Err)
		default:
			c.job, c.p = nil, Producer{noProducer, noEpoch}
			return r.Err
		}
	}
}

// init takes the id over; with keep as a producer that goes on. That may fail after a crash, which
// forgets the epoch before.
func (c *client) init(keep bool) {
	if keep && (c.w.owner != c || c.job != nil) {
		return
	}
	e := &InitProducer{TransactionalID: "tx", Timeout: modelTimeout, ProducerID: noProducer, ProducerEpoch: noEpoch, NewProducerID: noProducer}
	if keep {
		e.ProducerID, e.ProducerEpoch = c.p.ID, c.p.Epoch
	}
	for {
		again := *e
		r, logged, lost := c.w.ask(&again)
		if logged {
			c.w.disown()
		}
		switch {
		case lost:
		case errors.Is(r.Err, ErrProducerIDNeeded):
			c.w.nextID++
			e.NewProducerID = c.w.nextID
		case errors.Is(r.Err, kerr.ConcurrentTransactions):
			c.w.backOff()
		case r.Err == nil:
			c.p, c.job, c.w.owner = r.Value.(Producer), nil, c
			return
		case keep && errors.Is(r.Err, kerr.ProducerFenced):
			c.w.owner = nil
			return
		default:
			c.w.t.Fatalf("init: %v", r.Err)
		}
	}
}

func (c *client) add() {
	p := TopicPartition{"t", rapid.Int32Range(0, 2).Draw(c.w.t, "partition")}
	_ = c.repeat(func(int64) any {
		return &AddPartitions{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Partitions: []TopicPartition{p}, Explicit: c.v1}
	}, func(value any) {
		if errs, ok := value.([]error); !ok || len(errs) != 1 || errs[0] != nil {
			c.w.t.Fatalf("added: %v", value)
		}
		if c.job == nil {
			c.job = &job{}
			c.w.jobs = append(c.w.jobs, c.job)
		}
		if j := c.w.open[p]; j != nil && j != c.job {
			c.w.t.Fatal("two transactions are open on a partition")
		}
		c.w.open[p] = c.job
	})
}

func (c *client) end(commit bool) {
	if c.job == nil && (commit || c.v1) {
		return // a client knows that there is nothing to end
	}
	j := c.job
	err := c.repeat(func(newID int64) any {
		if j != nil && c.w.owner == c {
			j.endable = true
		}
		return &EndTxn{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Commit: commit, Bump: !c.v1, NewProducerID: newID}
	}, func(value any) {
		if p, ok := value.(Producer); !ok {
			c.w.t.Fatalf("ended: %v", value)
		} else if !c.v1 {
			c.p = p
		}
		c.job = nil
	})
	if err == nil && j != nil {
		j.promise = map[bool]string{true: "commit", false: "abort"}[commit]
	}
}
