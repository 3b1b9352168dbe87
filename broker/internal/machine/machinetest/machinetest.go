// Package machinetest checks that a machine keeps the laws of package machine, by driving it with
// random events, timers and bytes.
package machinetest

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/machine"
)

// Subject is a machine to be checked.
type Subject struct {
	// New returns an empty machine.
	New func() machine.Machine

	// Event draws an event. answers are the replies so far, oldest first, so that events can use ids
	// that the machine gave out.
	Event func(t *rapid.T, answers []machine.Reply) any

	// Answer draws how a send ends. It may be nil where the machine sends nothing.
	Answer func(t *rapid.T, s machine.Send) (any, error)

	// Record draws the key and value of a record that may stand in a log, broken ones included.
	Record func(t *rapid.T) machine.Record

	// Durable returns the durable state, in a form that cmp.Diff can compare and that shares nothing
	// with the machine.
	Durable func(m machine.Machine) any

	// Agrees returns an error where the soft state of a machine rests on durable state that is not
	// so.
	Agrees func(m machine.Machine) error

	// Waits reports whether an event may be answered later than by its own decision.
	Waits func(event any) bool
}

// Law is a property that every machine has.
type Law struct {
	Name  string
	Check func(t *rapid.T)
}

// Laws returns the laws of package machine, applied to the subject.
func (s Subject) Laws() []Law {
	return []Law{
		{"replaying the records of a decision gives what it assumed", func(t *rapid.T) { s.run(t, (*driver).assumes) }},
		{"replaying a log from empty equals the live state", func(t *rapid.T) { s.run(t, nil).reloads(t) }},
		{"the same inputs have the same effects", func(t *rapid.T) { s.run(t, nil).repeats(t) }},
		{"any bytes are a log", s.total},
	}
}

// Check checks all laws, each in a subtest.
func Check(t *testing.T, s Subject) {
	t.Helper()
	for _, law := range s.Laws() {
		t.Run(law.Name, func(t *testing.T) { rapid.Check(t, law.Check) })
	}
}

// driver is a host that commits at once and keeps a history.
type driver struct {
	Subject
	m       machine.Machine
	now     time.Time
	token   machine.Token
	waiting map[machine.Token]bool
	answers []machine.Reply
	log     []machine.Record
	timers  map[machine.TimerKey]time.Time
	sends   []machine.Send // under way
	inputs  []step
	effects []machine.Effects
}

type step struct {
	now time.Time
	in  machine.Input
}

func newDriver(s Subject) *driver {
	return &driver{
		Subject: s, m: s.New(), now: time.Unix(1_700_000_000, 0).UTC(),
		waiting: make(map[machine.Token]bool), timers: make(map[machine.TimerKey]time.Time),
	}
}

// run drives a machine with random inputs; check, which may be nil, sees each decision before its
// records are replayed.
func (s Subject) run(t *rapid.T, check func(*driver, *rapid.T, any, machine.Effects)) *driver {
	d := newDriver(s)
	d.input(t, machine.Loaded{}, check)
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
		case what == 0:
			d.advance(t, check)
			continue
		case what <= 2 && len(d.sends) > 0:
			d.deliver(t, check)
			continue
		}
		d.input(t, s.Event(t, d.answers), check)
	}
	return d
}

func (d *driver) input(t *rapid.T, event any, check func(*driver, *rapid.T, any, machine.Effects)) {
	in := machine.Input{Event: event}
	switch event.(type) {
	case machine.Loaded, machine.Fired, machine.Answered:
	default:
		d.token++
		in.Token = d.token
		d.waiting[in.Token] = true
	}
	var before any
	if check != nil {
		before = d.Durable(d.m)
	}
	fx := d.m.Decide(d.now, in)
	d.inputs, d.effects = append(d.inputs, step{d.now, in}), append(d.effects, fx)
	if check != nil {
		check(d, t, before, fx)
	}
	d.take(t, fx)
	if in.Token != 0 && d.waiting[in.Token] && !d.Waits(event) {
		t.Fatalf("%T was not answered", event)
	}
	if err := d.Agrees(d.m); err != nil {
		t.Fatalf("after %T: %v", event, err)
	}
}

// take does what a host does with effects.
func (d *driver) take(t *rapid.T, fx machine.Effects) {
	for _, r := range fx.Records {
		if err := d.m.Replay(r); err != nil {
			t.Fatalf("a record that was decided on cannot be replayed: %v", err)
		}
	}
	d.log = append(d.log, fx.Records...)
	d.m.Commit(len(fx.Records))
	for _, r := range fx.Replies {
		if !d.waiting[r.Token] {
			t.Fatalf("token %d was answered twice, or never given out", r.Token)
		}
		delete(d.waiting, r.Token)
		d.answers = append(d.answers, r)
	}
	d.sends = append(d.sends, fx.Sends...)
	for _, timer := range fx.Timers {
		if delete(d.timers, timer.Key); !timer.At.IsZero() {
			d.timers[timer.Key] = timer.At
		}
	}
}

// deliver ends one of the sends under way.
func (d *driver) deliver(t *rapid.T, check func(*driver, *rapid.T, any, machine.Effects)) {
	i := rapid.IntRange(0, len(d.sends)-1).Draw(t, "send")
	s := d.sends[i]
	d.sends = slices.Delete(d.sends, i, i+1)
	value, err := d.Answer(t, s)
	d.input(t, machine.Answered{Send: s, Value: value, Err: err}, check)
}

// assumes is the first law, as far as it can be seen from outside: a decision leaves durable state to
// the replay, and then, as Agrees tells, soft state rests on it.
func (d *driver) assumes(t *rapid.T, before any, _ machine.Effects) {
	if diff := cmp.Diff(before, d.Durable(d.m)); diff != "" {
		t.Fatalf("a decision changed durable state by itself:\n%s", diff)
	}
}

// advance moves the clock, and fires a timer if one runs out.
func (d *driver) advance(t *rapid.T, check func(*driver, *rapid.T, any, machine.Effects)) {
	key, at := d.nextTimer()
	if !at.IsZero() && rapid.Bool().Draw(t, "fire") {
		if at.After(d.now) {
			d.now = at
		}
		delete(d.timers, key)
		d.input(t, machine.Fired{Key: key}, check)
		return
	}
	d.now = d.now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
}

func (d *driver) nextTimer() (next machine.TimerKey, at time.Time) {
	name := func(k machine.TimerKey) string { return k.Kind + "\x00" + k.ID }
	for key, when := range d.timers {
		if at.IsZero() || when.Before(at) || when.Equal(at) && strings.Compare(name(key), name(next)) < 0 {
			next, at = key, when
		}
	}
	return next, at
}

func (d *driver) reloads(t *rapid.T) {
	fresh := d.New()
	for _, r := range d.log {
		if err := fresh.Replay(r); err != nil {
			t.Fatalf("replay: %v", err)
		}
		fresh.Commit(1)
	}
	if diff := cmp.Diff(d.Durable(d.m), d.Durable(fresh)); diff != "" {
		t.Fatalf("live state (-) is not what the log says (+):\n%s", diff)
	}
	fx := fresh.Decide(d.now, machine.Input{Event: machine.Loaded{}})
	for _, r := range fx.Records {
		if err := fresh.Replay(r); err != nil {
			t.Fatalf("replay after the load: %v", err)
		}
	}
	if err := d.Agrees(fresh); err != nil {
		t.Fatalf("after a load: %v", err)
	}
}

func (d *driver) repeats(t *rapid.T) {
	twin := newDriver(d.Subject)
	for i, s := range d.inputs {
		fx := twin.m.Decide(s.now, s.in)
		if !reflect.DeepEqual(d.effects[i], fx) {
			t.Fatalf("decision %d on %T differs:\n%+v\n%+v", i, s.in.Event, d.effects[i], fx)
		}
		for _, r := range fx.Records {
			if err := twin.m.Replay(r); err != nil {
				t.Fatalf("replay: %v", err)
			}
		}
		twin.m.Commit(len(fx.Records))
	}
}

// total replays drawn records, in transactions or not, and markers. None may panic, those that are
// refused must change nothing, and the machine must be able to go to work on what came of it.
func (s Subject) total(t *rapid.T) {
	s.Agrees = func(machine.Machine) error { return nil } // what a foreign log says need not make sense
	d := newDriver(s)
	for range rapid.IntRange(0, 30).Draw(t, "records") {
		if rapid.IntRange(0, 9).Draw(t, "marker") == 0 {
			d.m.ReplayMarker(machine.Marker{
				ProducerID: rapid.Int64Range(0, 2).Draw(t, "producer"), Commit: rapid.Bool().Draw(t, "commit"),
			})
			d.m.Commit(1)
			continue
		}
		r := s.Record(t)
		if rapid.IntRange(0, 3).Draw(t, "txn") == 0 {
			r.Txn = &machine.Txn{ProducerID: rapid.Int64Range(0, 2).Draw(t, "producer")}
		}
		r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		before := s.Durable(d.m)
		err := d.m.Replay(r)
		d.m.Commit(1)
		after := s.Durable(d.m)
		if diff := cmp.Diff(before, after); err != nil && diff != "" {
			t.Fatalf("a refused record changed the state:\n%s", diff)
		}
		clear(r.Key)
		clear(r.Value)
		if diff := cmp.Diff(after, s.Durable(d.m)); diff != "" {
			t.Fatalf("the machine keeps bytes that are not its own:\n%s", diff)
		}
	}
	d.input(t, machine.Loaded{}, nil)
	for range 5 {
		d.input(t, s.Event(t, d.answers), nil)
		d.advance(t, nil)
	}
}
