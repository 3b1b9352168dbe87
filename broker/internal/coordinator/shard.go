package coordinator

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

type state int

const (
	unhosted state = iota
	loading
	active
	closed
)

func errNotHosted() error { return kerr.NotCoordinator }

// shard is the host of one partition's machine.
type shard struct {
	runtime   *Runtime
	partition int32

	mu     sync.Mutex
	state  state
	epoch  int32
	term   uint64 // grows whenever the machine is dropped; what was begun in an older term is void
	log    Log
	queued bool // stands in runtime.loads

	machine machine.Machine
	later   []any // events told while loading
	timers  map[machine.TimerKey]*armed

	token   machine.Token
	waiting map[machine.Token]Done // not yet replied to by the machine
	held    []held                 // replied or sent by the machine, before the commit
	writes  writes
}

type armed struct{ timer env.Timer }

// held is an effect that waits until as many records are committed as were decided before it.
type held struct {
	after uint64
	effect
}

// effect is a reply, when done is not nil, or a send.
type effect struct {
	done  Done
	value any
	err   error
	send  machine.Send
}

// outbox is what a locked section leaves to be done without the lock.
type outbox struct {
	effects []effect
	write   *write
}

func (s *shard) run(out outbox) {
	for _, e := range out.effects {
		if e.done != nil {
			e.done(e.value, e.err)
		} else {
			s.send(e.send)
		}
	}
	if w := out.write; w != nil {
		w.log.Append(w.batches, func(err error) { s.appended(w, err) })
	}
}

func (s *shard) submit(event any, done Done) {
	s.mu.Lock()
	if err := s.admit(); err != nil {
		s.mu.Unlock()
		done(nil, err)
		return
	}
	s.token++
	s.waiting[s.token] = done
	var out outbox
	s.decide(machine.Input{Token: s.token, Event: event}, &out)
	s.mu.Unlock()
	s.run(out)
}

// mark ends a transaction in the machine and in the log, behind all that was decided before.
func (s *shard) mark(m machine.Marker, done Done) {
	control := record.Control{Type: record.Abort, CoordinatorEpoch: m.CoordinatorEpoch}
	if m.Commit {
		control.Type = record.Commit
	}
	batch := record.NewEndTxn(m.ProducerID, m.ProducerEpoch, control, s.runtime.options.Env.Clock.Now().UnixMilli())
	s.mu.Lock()
	err := s.admit()
	if err == nil {
		err = s.log.Check(batch, m.Bumped)
	}
	if err != nil {
		s.mu.Unlock()
		done(nil, err)
		return
	}
	var out outbox
	s.machine.ReplayMarker(m)
	s.writes.mark(batch)
	s.hold(effect{done: done}, &out)
	s.next(&out)
	s.mu.Unlock()
	s.run(out)
}

// tell decides on an event that nobody waits for, after the load where one is under way.
func (s *shard) tell(event any) {
	s.mu.Lock()
	var out outbox
	switch s.state {
	case active:
		s.decide(machine.Input{Event: event}, &out)
	case loading:
		s.later = append(s.later, event)
	case unhosted, closed:
	}
	s.mu.Unlock()
	s.run(out)
}

func (s *shard) query(event any) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.hosted(); err != nil {
		return nil, err
	}
	return s.machine.Query(event)
}

func (s *shard) hosted() error {
	switch s.state {
	case active:
		return nil
	case loading:
		return kerr.CoordinatorLoadInProgress
	case unhosted, closed:
	}
	return errNotHosted()
}

// admit says whether one more request may wait here.
func (s *shard) admit() error {
	if err := s.hosted(); err != nil {
		return err
	}
	o := &s.runtime.options
	if len(s.waiting)+len(s.held) >= o.MaxWaiting || s.writes.bytes >= o.MaxPendingBytes {
		return kerr.CoordinatorNotAvailable
	}
	return nil
}

// decide runs one decision and takes its effects over. Every effect that leaves the broker waits
// for the commit of all records decided so far, because the decision may rest on them.
func (s *shard) decide(in machine.Input, out *outbox) {
	now := s.runtime.options.Env.Clock.Now()
	fx := s.machine.Decide(now, in)
	for _, r := range fx.Records {
		if err := s.machine.Replay(r); err != nil {
			panic("bug: a machine decided on a record that it cannot replay: " + err.Error())
		}
		s.writes.add(now.UnixMilli(), r, s.runtime.options.MaxBatchBytes)
	}
	for _, t := range fx.Timers {
		s.arm(t)
	}
	for _, r := range fx.Replies {
		if done, ok := s.waiting[r.Token]; ok {
			delete(s.waiting, r.Token)
			s.hold(effect{done: done, value: r.Value, err: r.Err}, out)
		}
	}
	for _, send := range fx.Sends {
		s.hold(effect{send: send}, out)
	}
	s.next(out)
}

func (s *shard) hold(e effect, out *outbox) {
	if s.writes.committed == s.writes.decided {
		out.effects = append(out.effects, e)
		return
	}
	s.held = append(s.held, held{after: s.writes.decided, effect: e})
}

// next begins the next append when none is under way.
func (s *shard) next(out *outbox) {
	if w := s.writes.take(s.runtime.options.MaxBatchBytes); w != nil {
		w.term, w.log = s.term, s.log
		out.write = w
	}
}

// appended takes the outcome of an append.
func (s *shard) appended(w *write, err error) {
	s.mu.Lock()
	if w.term != s.term {
		s.mu.Unlock()
		return
	}
	var out outbox
	if err != nil {
		s.fail(err, &out)
	} else {
		s.writes.done(w)
		s.machine.Commit(w.count)
		s.release(&out)
		s.next(&out)
	}
	s.mu.Unlock()
	s.run(out)
}

func (s *shard) release(out *outbox) {
	n := 0
	for n < len(s.held) && s.held[n].after <= s.writes.committed {
		out.effects = append(out.effects, s.held[n].effect)
		n++
	}
	clear(s.held[:n])
	if s.held = s.held[n:]; len(s.held) == 0 {
		s.held = nil
	}
}

// fail drops the machine after a failed append, whose batch may or may not be in the log, and loads
// it again. Nobody is told more than to look for the coordinator and to try again.
func (s *shard) fail(cause error, out *outbox) {
	s.logger().Warn("coordinator append failed", slog.Any("err", cause))
	answer := error(kerr.CoordinatorNotAvailable)
	if errors.Is(cause, kerr.NotLeaderForPartition) || errors.Is(cause, kerr.FencedLeaderEpoch) {
		answer = errNotHosted()
	}
	s.drop(answer, out)
	s.state = loading
	s.retryLoad()
}

// drop forgets the machine and fails everybody who waits for it.
func (s *shard) drop(answer error, out *outbox) {
	for _, h := range s.held {
		if h.done != nil {
			out.effects = append(out.effects, effect{done: h.done, err: answer})
		}
	}
	for _, done := range s.waiting {
		out.effects = append(out.effects, effect{done: done, err: errNotHosted()})
	}
	for _, a := range s.timers {
		a.timer.Stop()
	}
	s.term++
	s.machine, s.held, s.later = nil, nil, nil
	s.timers = make(map[machine.TimerKey]*armed)
	s.waiting = make(map[machine.Token]Done)
	s.writes = writes{}
}

func (s *shard) host(epoch int32, log Log) {
	s.mu.Lock()
	if s.state == closed || (s.state != unhosted && epoch <= s.epoch) {
		s.mu.Unlock()
		return
	}
	var out outbox
	s.drop(errNotHosted(), &out)
	s.state, s.epoch, s.log = loading, epoch, log
	s.queueLoad()
	s.mu.Unlock()
	s.run(out)
}

func (s *shard) unhost(epoch int32) {
	s.mu.Lock()
	var out outbox
	if s.state != closed && (epoch < 0 || epoch >= s.epoch) {
		s.drop(errNotHosted(), &out)
		s.state, s.log = unhosted, nil
	}
	s.mu.Unlock()
	s.run(out)
}

func (s *shard) close() {
	s.mu.Lock()
	var out outbox
	s.drop(errNotHosted(), &out)
	s.state, s.log = closed, nil
	s.mu.Unlock()
	s.run(out)
}

func (s *shard) arm(t machine.Timer) {
	if a := s.timers[t.Key]; a != nil {
		a.timer.Stop()
		delete(s.timers, t.Key)
	}
	if t.At.IsZero() {
		return
	}
	clock, a, key := s.runtime.options.Env.Clock, &armed{}, t.Key
	s.timers[key] = a
	a.timer = clock.AfterFunc(t.At.Sub(clock.Now()), func() { s.fired(key, a) })
}

func (s *shard) fired(key machine.TimerKey, a *armed) {
	s.mu.Lock()
	var out outbox
	if s.state == active && s.timers[key] == a {
		delete(s.timers, key)
		s.decide(machine.Input{Event: machine.Fired{Key: key}}, &out)
	}
	s.mu.Unlock()
	s.run(out)
}

// send hands a request over and brings its outcome back to the machine, unless that was dropped
// meanwhile: durable state sends it again after the load.
func (s *shard) send(send machine.Send) {
	s.mu.Lock()
	term := s.term
	s.mu.Unlock()
	s.runtime.options.Sender.Send(send, func(value any, err error) {
		s.mu.Lock()
		var out outbox
		if s.state == active && s.term == term {
			s.decide(machine.Input{Event: machine.Answered{Send: send, Value: value, Err: err}}, &out)
		}
		s.mu.Unlock()
		s.run(out)
	})
}

func (s *shard) logger() *slog.Logger {
	return s.runtime.options.Logger.With(slog.Int("partition", int(s.partition)), slog.Int("epoch", int(s.epoch)))
}
