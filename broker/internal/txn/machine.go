package txn

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
)

// Options are the limits of transactions, named after Kafka's configuration keys.
type Options struct {
	MaxTimeout     time.Duration // transaction.max.timeout.ms
	AbortCheck     time.Duration // transaction.abort.timed.out.transaction.cleanup.interval.ms
	Expiration     time.Duration // transactional.id.expiration.ms
	ExpireCheck    time.Duration // transaction.remove.expired.transaction.cleanup.interval.ms
	MarkerRetry    time.Duration // between two attempts to write markers
	MaxHold        time.Duration // how long a request waits for the completion of the transaction before
	MaxRecordBytes int           // what the log takes as one record
}

// DefaultOptions are Kafka's defaults.
func DefaultOptions() Options {
	return Options{
		MaxTimeout:     15 * time.Minute,
		AbortCheck:     10 * time.Second,
		Expiration:     7 * 24 * time.Hour,
		ExpireCheck:    time.Hour,
		MarkerRetry:    100 * time.Millisecond,
		MaxHold:        time.Second,
		MaxRecordBytes: 1 << 20,
	}
}

// Timers of a machine. Those of one transaction have its transactional id.
const (
	timerAbort   = "abort"   // looks for transactions that take too long
	timerExpire  = "expire"  // looks for ids that nobody uses
	timerMarkers = "markers" // writes again what was not delivered
	timerHold    = "hold"    // ends the patience of requests that wait for a completion
)

// Machine keeps the transactional ids of one partition of __transaction_state. It is a
// machine.Machine. A transactional id walks through these states, each step a record:
//
//	Empty ── first partition ──> Ongoing ── EndTxn, or time is up ──> PrepareCommit, PrepareAbort
//	  ^                             ^                                           |
//	  └── InitProducerId ───┐       └──────── next transaction ────────┐        | all markers written
//	                        └──────────── CompleteCommit, CompleteAbort <───────┘
//
// The outcome is decided when Prepare* is durable: EndTxn is answered then, and from then on markers
// are sent until every partition has one. Meanwhile requests of the same producer's next transaction
// wait, for MaxHold at most. What is lost when the partition moves is soft: the epoch that a producer
// had before its last one (KIP-360 retries are then refused, as Kafka does), and which markers were
// delivered already: all are sent again, and partitions take them twice.
type Machine struct {
	options Options
	epoch   int32 // of the coordinator: the leader epoch of the partition
	durable durable

	before     map[string]int16 // the epoch that the producer had before its last one
	completing map[string]*completion
	watching   bool // timerAbort is armed
}

// New returns a machine without transactional ids, for a coordinator epoch.
func New(o Options, epoch int32) *Machine {
	return &Machine{
		options: o, epoch: epoch, durable: make(durable),
		before: make(map[string]int16), completing: make(map[string]*completion),
	}
}

// Replay takes over one record of the log. Types that are not known are skipped.
func (m *Machine) Replay(r machine.Record) error { return m.durable.replay(r) }

// ReplayMarker does nothing: coordinators write outside transactions.
func (m *Machine) ReplayMarker(machine.Marker) {}

// Commit does nothing: nothing is queried, so committed state alone is never looked at.
func (m *Machine) Commit(int) {}

// Query panics: every question is an event, so that its answer waits for what it rests on.
func (m *Machine) Query(event any) (any, error) { panic(fmt.Sprintf("bug: query of %T", event)) }

// Decide says what an event changes and whom it answers.
func (m *Machine) Decide(now time.Time, in machine.Input) machine.Effects {
	t := turn{Machine: m, now: now, token: in.Token}
	t.decide(in.Event)
	return t.effects
}

func (t *turn) decide(event any) {
	switch e := event.(type) {
	case *InitProducer:
		t.initProducer(e)
	case *AddPartitions:
		t.addPartitions(e)
	case *EndTxn:
		t.endTxn(e)
	case *Describe:
		t.describe(e)
	case *List:
		t.list(e)
	case machine.Answered:
		t.answered(e)
	case machine.Fired:
		t.fired(e.Key)
	case machine.Loaded:
		t.loaded()
	default:
		panic(fmt.Sprintf("bug: decision on %T", event))
	}
}

// turn is one decision under way.
type turn struct {
	*Machine
	now     time.Time
	token   machine.Token
	effects machine.Effects
	changed map[string]*transaction // by this turn, over durable; nil is deleted
}

// find returns a transactional id as it is after what this turn has decided so far, or nil.
func (t *turn) find(id string) *transaction {
	if x, ok := t.changed[id]; ok {
		return x
	}
	return t.durable[id]
}

// set writes a record; nil deletes the id.
func (t *turn) set(id string, x *transaction) {
	r := machine.Record{Key: encodeKey(id)}
	if x != nil {
		r.Value = x.encode()
	}
	t.effects.Records = append(t.effects.Records, r)
	if t.changed == nil {
		t.changed = make(map[string]*transaction, 1)
	}
	t.changed[id] = x
}

func (t *turn) answer(value any) { t.reply(t.token, value, nil) }

func (t *turn) refuse(err error) { t.reply(t.token, nil, err) }

func (t *turn) reply(to machine.Token, value any, err error) {
	if to != 0 {
		t.effects.Replies = append(t.effects.Replies, machine.Reply{Token: to, Value: value, Err: err})
	}
}

func (t *turn) timer(kind, id string, at time.Time) {
	t.effects.Timers = append(t.effects.Timers, machine.Timer{Key: machine.TimerKey{Kind: kind, ID: id}, At: at})
}

// loaded goes on with what the log says is under way.
func (t *turn) loaded() {
	for _, id := range sortedKeys(t.durable) {
		switch x := t.durable[id]; {
		case x.state == Ongoing:
			t.watch()
		case x.state.completing():
			t.complete(id, x)
		}
	}
	t.timer(timerExpire, "", t.now.Add(t.options.ExpireCheck))
}

func (t *turn) fired(key machine.TimerKey) {
	switch key.Kind {
	case timerAbort:
		t.abortOverdue()
	case timerExpire:
		t.expire()
	case timerMarkers:
		t.sendMarkers(key.ID)
	case timerHold:
		if c := t.completing[key.ID]; c != nil {
			for _, w := range c.waiting {
				t.reply(w.token, nil, kerr.ConcurrentTransactions)
			}
			c.waiting = nil
		}
	}
}
