// Package group is the brain of consumer groups: membership by the classic protocol (JoinGroup,
// SyncGroup, Heartbeat, LeaveGroup) and committed offsets, as one machine for each partition of
// __consumer_offsets.
//
// A group of the classic protocol walks through these states:
//
//	Empty ── first join ──> PreparingRebalance ── all joined, or time is up ──> CompletingRebalance
//	  ^                       ^            |                                        |
//	  └──── nobody is left ───┼────────────┘                 the leader's sync      v
//	                          └── member joins, leaves, or falls silent ──────── Stable
//
// Only Stable and Empty are in the log, as one record with members and assignments. The rest (who
// waits for an answer, who is silent since when, which members have only been promised an id) is
// soft and lost when the partition moves: members then keep their ids, get a full session timeout,
// and rejoin where a rebalance was under way.
//
// Offsets belong to a group id and need no members: a group that only ever committed offsets is
// Empty. Offsets that a transaction commits are pending until its marker. KIPs: 62, 211, 345, 394, 447, 496, 559, 800, 814, 890.
package group

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
)

// Options are the limits of groups, named after Kafka's configuration keys.
type Options struct {
	MinSessionTimeout  time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout  time.Duration // group.max.session.timeout.ms
	InitialDelay       time.Duration // group.initial.rebalance.delay.ms
	MaxSize            int           // group.max.size
	OffsetsRetention   time.Duration // offsets.retention.minutes
	OffsetsCheck       time.Duration // offsets.retention.check.interval.ms
	MaxMetadata        int           // offset.metadata.max.bytes
	NewMemberTimeout   time.Duration // how long a new member may wait for its first join to end
	MaxRecordBytes     int           // what the log takes as one record
	MaxCommitBytes     int           // what one OffsetCommit may write
	MaxPromisedMembers int           // ids given out and not yet joined with, per group
}

// DefaultOptions are Kafka's defaults.
func DefaultOptions() Options {
	return Options{
		MinSessionTimeout:  6 * time.Second,
		MaxSessionTimeout:  30 * time.Minute,
		InitialDelay:       3 * time.Second,
		MaxSize:            1<<31 - 1,
		OffsetsRetention:   7 * 24 * time.Hour,
		OffsetsCheck:       10 * time.Minute,
		MaxMetadata:        4096,
		NewMemberTimeout:   5 * time.Minute,
		MaxRecordBytes:     1 << 20,
		MaxCommitBytes:     1 << 20,
		MaxPromisedMembers: 10_000,
	}
}

// Timers of a machine: one for each group, whose ID is the group's, and one for all offsets.
const (
	timerGroup  = "group"
	timerExpire = "expire"
)

// Machine keeps the groups of one partition of __consumer_offsets. It is a machine.Machine.
type Machine struct {
	options Options
	durable durable
	groups  map[string]*classic  // soft; every group with members is here
	joining map[int64][]*joining // soft; by producer id
}

// New returns a machine without groups.
func New(o Options) *Machine {
	return &Machine{options: o, durable: newDurable(), groups: make(map[string]*classic), joining: make(map[int64][]*joining)}
}

// Replay takes over one record of the log. Types that are not known are skipped.
func (m *Machine) Replay(r machine.Record) error { return m.durable.replay(r) }

// ReplayMarker ends a transaction: its offsets count from now on, or never. Who is still asked about
// that transaction answers too late. A bumped marker has the epoch of the next transaction, which may
// be asked about already.
func (m *Machine) ReplayMarker(marker machine.Marker) {
	m.durable.replayMarker(marker)
	for _, j := range m.joining[marker.ProducerID] {
		if !marker.Bumped || j.ask.ProducerEpoch < marker.ProducerEpoch {
			j.void = true
		}
	}
}

// Commit makes the oldest n replayed records and markers visible to Query.
func (m *Machine) Commit(n int) { m.durable.commit(n) }

// Query answers a FetchOffsets from committed state.
func (m *Machine) Query(event any) (any, error) {
	f, ok := event.(*FetchOffsets)
	if !ok {
		panic(fmt.Sprintf("bug: query of %T", event))
	}
	return m.durable.fetch(f, func(s *slot) *Offset { return s.committed }), nil
}

// Decide says what an event changes and whom it answers.
func (m *Machine) Decide(now time.Time, in machine.Input) machine.Effects {
	t := turn{Machine: m, now: now, token: in.Token}
	switch e := in.Event.(type) {
	case machine.Loaded:
		t.loaded()
	case machine.Fired:
		t.fired(e.Key)
	case machine.Answered:
		t.answered(e)
	case *TopicsDeleted:
		t.topicsDeleted(e)
	case *Join:
		t.join(e)
	case *Sync:
		t.sync(e)
	case *Heartbeat:
		t.heartbeat(e)
	case *Leave:
		t.leave(e)
	default:
		t.request(e)
	}
	return t.effects
}

// request decides on what needs no member.
func (t *turn) request(event any) {
	switch e := event.(type) {
	case *CommitOffsets:
		t.commitOffsets(e)
	case *CommitInTransaction:
		t.commitInTransaction(e)
	case *FetchOffsets:
		t.answer(t.durable.fetch(e, func(s *slot) *Offset { return s.latest }))
	case *DeleteOffsets:
		t.deleteOffsets(e)
	case *Describe:
		t.describe(e)
	case *List:
		t.list(e)
	case *DeleteGroup:
		t.deleteGroup(e)
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
}

func (t *turn) reply(to machine.Token, value any, err error) {
	if to != 0 {
		t.effects.Replies = append(t.effects.Replies, machine.Reply{Token: to, Value: value, Err: err})
	}
}

func (t *turn) answer(value any) { t.reply(t.token, value, nil) }

func (t *turn) refuse(err *kerr.Error) { t.reply(t.token, nil, err) }

func (t *turn) write(key, value []byte) {
	t.effects.Records = append(t.effects.Records, machine.Record{Key: key, Value: value})
}

func (t *turn) dropOffset(key offsetKey) { t.write(encodeOffsetKey(key), nil) }

// find returns a group that has members, promised ids, or a place in the log.
func (t *turn) find(id string) *classic {
	if g := t.groups[id]; g != nil {
		return g
	}
	if !t.durable.has(id) {
		return nil
	}
	return t.create(id)
}

func (t *turn) create(id string) *classic {
	g := newClassic(id, t.durable.groups[id])
	t.groups[id] = g
	return g
}

// settle sets the timer of a group whose deadlines may have changed, or forgets a group of which
// nothing is left.
func (t *turn) settle(g *classic) {
	if g.state == Empty && len(g.promised) == 0 && !t.recorded(g.id) {
		delete(t.groups, g.id)
		if !g.armed.IsZero() {
			t.timer(machine.TimerKey{Kind: timerGroup, ID: g.id}, time.Time{})
		}
		return
	}
	// A timer that runs out too early is set again then; most deadlines only ever move on.
	if next := g.deadline(); !next.IsZero() && (g.armed.IsZero() || next.Before(g.armed)) {
		g.armed = next
		t.timer(machine.TimerKey{Kind: timerGroup, ID: g.id}, next)
	}
}

// recorded reports whether the log knows the group, or will by this decision.
func (t *turn) recorded(id string) bool { return len(t.effects.Records) > 0 || t.durable.has(id) }

func (t *turn) timer(key machine.TimerKey, at time.Time) {
	t.effects.Timers = append(t.effects.Timers, machine.Timer{Key: key, At: at})
}

// loaded begins soft state: the members of the log get a full session timeout.
func (t *turn) loaded() {
	for _, id := range sortedKeys(t.durable.groups) {
		g := t.create(id)
		for _, m := range g.members {
			t.touch(m)
		}
		if len(g.members) > t.options.MaxSize {
			t.prepareRebalance(g)
		}
		t.settle(g)
	}
	t.timer(machine.TimerKey{Kind: timerExpire}, t.now.Add(t.options.OffsetsCheck))
}

func (t *turn) fired(key machine.TimerKey) {
	if key.Kind == timerExpire {
		t.expireOffsets()
		t.timer(key, t.now.Add(t.options.OffsetsCheck))
		return
	}
	if g := t.groups[key.ID]; g != nil {
		g.armed = time.Time{}
		t.overdue(g)
		t.settle(g)
	}
}
