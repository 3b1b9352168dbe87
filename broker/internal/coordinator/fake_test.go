package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// fakeLog is a log in memory. While it is slow, appends wait for commit.
type fakeLog struct {
	mu      sync.Mutex
	batches []record.Batch
	next    int64
	start   int64
	slow    bool
	waiting []func(error)
	appends int

	appendErr error         // fails the next append, before it is written
	lateErr   error         // fails the next append, after it was written
	checkErr  error         // refuses markers
	readErr   error         // fails every read
	reading   chan struct{} // if not nil, a read waits until it is closed
	gap       bool          // reads make no progress
}

func (l *fakeLog) Append(batches []byte, done func(error)) {
	l.mu.Lock()
	l.appends++
	if err := l.appendErr; err != nil {
		l.appendErr = nil
		l.mu.Unlock()
		done(err)
		return
	}
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		var err error
		if b, rest, err = record.Split(rest); err != nil {
			panic(err)
		}
		l.write(b)
	}
	err := l.lateErr
	l.lateErr = nil
	if l.slow {
		l.waiting = append(l.waiting, done)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	done(err)
}

func (l *fakeLog) Check(record.Batch, bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkErr
}

func (l *fakeLog) write(b record.Batch) {
	b = bytes.Clone(b)
	b.SetBaseOffset(l.next)
	l.next = b.NextOffset()
	l.batches = append(l.batches, b)
}

// commit ends the oldest append that waits.
func (l *fakeLog) commit(err error) {
	l.mu.Lock()
	done := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.mu.Unlock()
	done(err)
}

func (l *fakeLog) Read(from int64, _ int) ([]byte, int64, error) {
	l.mu.Lock()
	wait := l.reading
	l.mu.Unlock()
	if wait != nil {
		<-wait
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readErr != nil {
		return nil, 0, l.readErr
	}
	for _, b := range l.batches {
		if b.NextOffset() > from && !l.gap {
			return bytes.Clone(b), b.NextOffset(), nil
		}
	}
	return nil, from, nil
}

func (l *fakeLog) StartOffset() int64 { return l.start }

func (l *fakeLog) EndOffset() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

func (l *fakeLog) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// toy is a machine that remembers values.
type toy struct {
	latest, committed map[string]string
	staged            []machine.Record
	markers           []machine.Marker
	txns              int
	waiting           []machine.Token
	loads             int
}

// The toy's events.
type (
	put   struct{ key, value string } // is answered with the value; an empty one deletes
	wait  struct{}                    // is answered by the next wake
	wake  struct{}                    // answers all that wait, and itself
	read  struct{ key string }        // is answered with the latest value; committed as a query
	alarm struct{ in time.Duration }  // sets the timer; its end is a wake. Negative stops it
	send  struct{ n int32 }           // sends; the answer is put under "sent"
	burst struct{ n int }             // puts n records of 100 bytes
	txn   struct{ id int64 }          // puts a record in a transaction
)

func newToy(_, _ int32) machine.Machine {
	return &toy{latest: map[string]string{}, committed: map[string]string{}}
}

func (m *toy) Decide(now time.Time, in machine.Input) machine.Effects {
	fx := machine.Effects{}
	reply := func(v any) { fx.Replies = append(fx.Replies, machine.Reply{Token: in.Token, Value: v}) }
	wakeAll := func() {
		for _, token := range m.waiting {
			fx.Replies = append(fx.Replies, machine.Reply{Token: token, Value: "woken"})
		}
		m.waiting = nil
	}
	switch e := in.Event.(type) {
	case machine.Loaded:
		m.loads++
	case put:
		r := machine.Record{Key: []byte(e.key), Value: []byte(e.value)}
		if e.value == "" {
			r.Value = nil
		}
		fx.Records = append(fx.Records, r)
		reply(e.value)
	case wait:
		m.waiting = append(m.waiting, in.Token)
	case wake:
		wakeAll()
		reply("woken")
	case machine.Fired:
		wakeAll()
	case read:
		reply(m.latest[e.key])
	case alarm:
		at := now.Add(e.in)
		if e.in < 0 {
			at = time.Time{}
		}
		fx.Timers = append(fx.Timers, machine.Timer{Key: machine.TimerKey{Kind: "alarm"}, At: at})
		reply(nil)
	case send:
		fx.Sends = append(fx.Sends, machine.Send{Broker: e.n, Request: "hello"})
		fx.Records = append(fx.Records, machine.Record{Key: []byte("sending"), Value: []byte{byte(e.n)}})
		reply(nil)
	case machine.Answered:
		fx.Records = append(fx.Records, machine.Record{Key: []byte("sent"), Value: fmt.Append(nil, e.Value, e.Err)})
	case burst:
		for i := range e.n {
			fx.Records = append(fx.Records, machine.Record{Key: []byte{byte(i)}, Value: make([]byte, 100)})
		}
		reply(nil)
	case txn:
		fx.Records = append(fx.Records, machine.Record{Key: []byte("t"), Value: []byte("v"), Txn: &machine.Txn{ProducerID: e.id}})
		reply(nil)
	}
	return fx
}

func (m *toy) Replay(r machine.Record) error {
	m.staged = append(m.staged, machine.Record{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)})
	switch {
	case string(r.Key) == "bad":
		return errors.New("not for me")
	case r.Txn != nil:
		m.txns++
	case r.Value == nil:
		delete(m.latest, string(r.Key))
	default:
		m.latest[string(r.Key)] = string(r.Value)
	}
	return nil
}

func (m *toy) ReplayMarker(marker machine.Marker) {
	m.staged = append(m.staged, machine.Record{})
	m.markers = append(m.markers, marker)
}

func (m *toy) Commit(n int) {
	for _, r := range m.staged[:n] {
		if r.Value == nil {
			delete(m.committed, string(r.Key))
		} else {
			m.committed[string(r.Key)] = string(r.Value)
		}
	}
	m.staged = m.staged[n:]
}

func (m *toy) Query(event any) (any, error) {
	switch e := event.(type) {
	case read:
		return m.committed[e.key], nil
	default:
		return m, nil
	}
}

// bench is a running runtime in a bubble.
type bench struct {
	*testing.T
	*Runtime
	cancel func()
	done   chan error
}

// bubble runs a test against a runtime whose clock and goroutines are the bubble's.
func bubble(t *testing.T, o Options, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Env, o.Logger = env.Env{Clock: env.Real().Clock}, slog.New(slog.DiscardHandler)
		if o.Partitions == 0 {
			o.Partitions = 2
		}
		if o.Machine == nil {
			o.Machine = newToy
		}
		b := &bench{T: t, Runtime: New(o), done: make(chan error, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		b.cancel = cancel
		go func() { b.done <- b.Runtime.Run(ctx) }()
		test(b)
		cancel()
		synctest.Wait()
		if err := <-b.done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// answer is one that may come.
type answer struct {
	mu    sync.Mutex
	value any
	err   error
	times int
}

func (a *answer) come() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.times
}

// ask submits an event to partition 0. The answer is there after a synctest.Wait, if it comes.
func (b *bench) ask(event any) *answer {
	a := &answer{}
	b.Submit(0, event, func(v any, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.value, a.err = v, err
		a.times++
	})
	return a
}

func (b *bench) expect(what string, a *answer, value any, err error) {
	b.Helper()
	synctest.Wait()
	if a.come() != 1 || a.value != value || !errors.Is(a.err, err) {
		b.Fatalf("%s: got %v, %v (%d times), want %v, %v", what, a.value, a.err, a.times, value, err)
	}
}

func (b *bench) waits(what string, a *answer) {
	b.Helper()
	synctest.Wait()
	if a.come() != 0 {
		b.Fatalf("%s: answered with %v, %v", what, a.value, a.err)
	}
}

func (b *bench) loaded(log Log) {
	b.Helper()
	b.Load(0, 1, log)
	synctest.Wait()
	b.expect("read", b.ask(read{"?"}), "", nil)
}

func (b *bench) queried(key string) any {
	b.Helper()
	v, err := b.Query(0, read{key})
	if err != nil {
		b.Fatalf("query: %v", err)
	}
	return v
}
