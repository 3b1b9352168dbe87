package streamstest

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// task is one sub-topology on one partition, and the host of its operators.
type task struct {
	d         *Driver
	sub       *graph.Subtopology
	run       processor.Task
	db        statestore.DB
	stores    []statestore.Store // in the order of the topology
	time      int64              // stream time
	current   *processor.Message // nil outside of processing
	schedules []*schedule
}

// schedule is one punctuation that was asked for.
type schedule struct {
	every int64
	clock processor.PunctuationType
	next  int64
	f     func(now int64) error
	off   bool
}

func (d *Driver) start(topo *streams.Topology, sub *graph.Subtopology) (*task, error) {
	t := &task{d: d, sub: sub, time: -1}
	var err error
	if t.db, err = statestore.Memory().Open(""); err != nil {
		return nil, err
	}
	for i := range sub.Stores {
		s, err := statestore.Open(t.db, spec(&sub.Stores[i]), discard{})
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.stores = append(t.stores, s)
	}
	if t.run, err = topo.NewTask(sub.ID, t); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func spec(s *graph.Store) statestore.Spec {
	kinds := map[graph.StoreKind]statestore.Kind{
		graph.KeyValue: statestore.KindKeyValue, graph.Window: statestore.KindWindow, graph.Session: statestore.KindSession,
	}
	return statestore.Spec{
		Name: s.Name, Kind: kinds[s.Kind], RetentionMs: s.RetentionMs, WindowSizeMs: s.WindowSizeMs,
		RetainDuplicates: s.RetainDuplicates, Timestamped: s.Timestamped, Logged: s.Logged, Cached: s.Cached,
	}
}

// discard is a changelog that nobody reads.
type discard struct{}

// Log implements statestore.Changelog.
func (discard) Log(string, []byte, []byte, int64) error { return nil }

func (t *task) process(m *processor.Message) error {
	at, err := t.run.Timestamp(m)
	if err != nil {
		return err
	}
	m.Timestamp = at
	t.time = max(t.time, at)
	t.current = m
	err = t.run.Process(m)
	t.current = nil
	if err != nil {
		return err
	}
	return t.punctuate(processor.StreamTime, t.time)
}

// commit flushes the stores until none has changes, since what a flush forwards
// may reach another store, and applies what was flushed.
func (t *task) commit() error {
	for dirty := true; dirty; {
		dirty = false
		for _, s := range t.stores {
			if s.Dirty() {
				dirty = true
				if err := s.Flush(); err != nil {
					return err
				}
			}
		}
	}
	var b statestore.Batch
	for _, s := range t.stores {
		s.Pending(&b)
	}
	return t.db.Apply(&b, nil)
}

// punctuate fires what is due on a clock; missed intervals are skipped.
func (t *task) punctuate(clock processor.PunctuationType, now int64) error {
	for _, s := range t.schedules {
		if s.off || s.clock != clock || now < s.next {
			continue
		}
		s.next += (now-s.next)/s.every*s.every + s.every
		if err := s.f(now); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) close() error {
	var errs []error
	if t.run != nil {
		errs = append(errs, t.run.Close())
	}
	for _, s := range t.stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, t.db.Close())...)
}

// ApplicationID implements processor.Host.
func (t *task) ApplicationID() string { return t.d.app }

// TaskID implements processor.Host.
func (t *task) TaskID() processor.TaskID { return processor.TaskID{Subtopology: t.sub.ID} }

// Store implements processor.Host.
func (t *task) Store(name string) (statestore.Store, error) {
	for _, s := range t.stores {
		if s.Name() == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("task %s has no store %s", t.TaskID(), name)
}

// Send implements processor.Host.
func (t *task) Send(o processor.Outgoing) error {
	t.d.send(&o)
	return nil
}

// StreamTime implements processor.Host.
func (t *task) StreamTime() int64 { return t.time }

// Now implements processor.Host.
func (t *task) Now() time.Time { return t.d.now }

// Meta implements processor.Host.
func (t *task) Meta() (topic string, partition int32, offset int64, ok bool) {
	if t.current == nil {
		return "", 0, 0, false
	}
	return t.current.Topic, t.current.Partition, t.current.Offset, true
}

// Schedule implements processor.Host.
func (t *task) Schedule(every time.Duration, clock processor.PunctuationType, f func(now int64) error) (cancel func()) {
	s := &schedule{every: max(1, every.Milliseconds()), clock: clock, f: f}
	if clock == processor.WallClock {
		s.next = t.d.now.UnixMilli() + s.every
	}
	t.schedules = append(t.schedules, s)
	return func() { s.off = true }
}

// RequestCommit implements processor.Host; every record is committed anyway.
func (t *task) RequestCommit() {}

// Drop implements processor.Host.
func (t *task) Drop(reason string) { t.d.dropped[reason]++ }

// Logger implements processor.Host.
func (t *task) Logger() *slog.Logger { return slog.New(slog.DiscardHandler) }
