package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/internal/graph"
)

// state is how far a task of a worker is.
type state int

const (
	opening   state = iota // to open at retryAt
	restoring              // reads its changelogs
	running
	following // reads its changelogs for as long as it is a copy
)

// String returns the name of the state.
func (s state) String() string {
	switch s {
	case opening:
		return "opening"
	case restoring:
		return "restoring"
	case running:
		return "running"
	case following:
		return "following"
	default:
		return "unknown"
	}
}

// slot is a task that the worker was given, or a copy of one.
type slot struct {
	id      TaskID
	standby bool      // a copy
	warmup  bool      // a copy that is to take over
	asked   time.Time // when the warm-up told that it can
	fresh   bool      // a copy read what is not in its database

	tps     []TP // what was assigned of it
	state   state
	retryAt time.Time
	tries   int

	task     *Task // nil while opening
	disk     statestore.DB
	memory   statestore.DB
	starts   map[TP]Offset // where its partitions go on
	restores map[TP]*restore
	restored int64 // records
	trials   Trials
	paused   map[TP]bool
	idle     time.Time // since when it waits for a partition that has more
}

// idleLimit is how long a task waits for records that the broker seems to have.
// Compaction can leave a partition whose end no record reaches.
const idleLimit = 5 * time.Second

// run processes a slice of records. It returns false if there is nothing to
// process for now.
func (s *slot) run() (more bool, err error) {
	begun := time.Now()
	for i := range slice {
		if i%16 == 15 && time.Since(begun) > turn {
			return true, nil // a commit may be due
		}
		more, err = s.task.ProcessNext()
		if err != nil {
			return false, err
		}
		if !more {
			break
		}
		if s.task.CommitRequested() {
			return true, nil
		}
	}
	if _, retries := s.task.RetryAt(); more || retries || !s.task.Waiting() {
		s.idle = time.Time{}
		return more, nil
	}
	if s.idle.IsZero() {
		s.idle = time.Now()
	} else if time.Since(s.idle) >= idleLimit {
		s.idle = time.Time{}
		s.task.GiveUp()
		return true, nil
	}
	return false, nil
}

// open opens the tasks whose time has come, all with the same few requests.
func (w *Worker) open(ctx context.Context) error {
	var due []*slot
	var sources, changelogs []TP
	for _, s := range w.order {
		if s.state == opening && !time.Now().Before(s.retryAt) {
			due = append(due, s)
			sources = append(sources, s.tps...)
			changelogs = append(changelogs, w.o.Setup.Layout.Changelogs(s.id)...)
		}
	}
	if len(due) == 0 {
		return nil
	}
	b, err := w.bounds(ctx, sources, changelogs)
	if errors.Is(err, ErrRetry) { // those that run already can go on
		wait := backoff(w.failures)
		w.failures++
		w.log.Warn("tasks cannot open yet", slog.Any("error", err), slog.Duration("wait", wait))
		for _, s := range due {
			s.retryAt = time.Now().Add(wait)
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range due {
		if err := w.openSlot(s, b); err != nil {
			return err
		}
	}
	return nil
}

// bounds are what a task needs to know to open.
type bounds struct {
	committed    map[TP]Offset
	starts, ends map[TP]int64
}

// bounds asks after the unit began, which is when no earlier unit of this worker
// can be committed any more, and for commits before ends: the records of a unit
// are written before its offsets count, so the ends cover what they led to.
func (w *Worker) bounds(ctx context.Context, sources, changelogs []TP) (b bounds, err error) {
	if len(sources) > 0 { // not for copies alone
		if !w.begun {
			if err := w.begin(ctx); err != nil {
				return b, fmt.Errorf("begin: %w", err)
			}
		}
		if b.committed, err = w.kafka.Committed(ctx, sources); err != nil {
			return b, fmt.Errorf("read commits: %w", err)
		}
	}
	all := append(slices.Clone(sources), changelogs...)
	if b.starts, err = w.kafka.Starts(ctx, all); err != nil {
		return b, fmt.Errorf("read starts: %w", err)
	}
	if b.ends, err = w.kafka.Ends(ctx, all); err != nil {
		return b, fmt.Errorf("read ends: %w", err)
	}
	return b, nil
}

// openTries is how often a database that somebody else has open is tried again.
const openTries = 10

func (w *Worker) openSlot(s *slot, b bounds) error {
	err := w.openTask(s, b)
	if errors.Is(err, statestore.ErrInUse) && s.tries < openTries {
		s.retryAt = time.Now().Add(backoff(s.tries))
		s.tries++
		w.log.Info("state is still open elsewhere", slog.String("task", s.id.String()), slog.Any("error", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("open task %s: %w", s.id, err)
	}
	s.tries = 0
	w.o.Holdings.Set(s.id, s.task.Held(false))
	if s.standby {
		return w.beginFollow(s, b)
	}
	s.starts = map[TP]Offset{}
	for _, tp := range s.tps {
		c, ok := b.committed[tp]
		known := ok && c.Offset >= 0
		if !known {
			c = Offset{TP: tp, Offset: b.starts[tp]}
			if w.latest(tp, s.id) {
				c.Offset = b.ends[tp]
			}
		}
		s.task.Resume(c, known)
		s.task.SetEnd(tp, -1, b.ends[tp])
		s.starts[tp] = c
	}
	return w.beginRestore(s, b)
}

// latest reports whether a partition without a commit is read from its end. What the
// application itself wrote, to a repartition topic, is never passed over.
func (w *Worker) latest(tp TP, id TaskID) bool {
	if slices.Contains(w.o.Setup.Repartitions, tp.Topic) {
		return false
	}
	n, _ := w.o.Program.Graph().Subtopologies[id.Subtopology].Source(tp.Topic)
	return n.Reset == graph.Latest || n.Reset == graph.ResetDefault && w.o.ResetToEnd
}

// openTask opens database and stores. A database that does not fit the
// changelogs is wiped, and filled from them again.
func (w *Worker) openTask(s *slot, b bounds) error {
	for wiped := false; ; wiped = true {
		err := w.tryOpen(s)
		if err == nil {
			err = stale(s.task, b)
		}
		switch {
		case err == nil:
			return nil
		case wiped, !errors.Is(err, ErrStale) && !errors.Is(err, statestore.ErrChanged) && !errors.Is(err, statestore.ErrCorrupt):
			w.closeDirty(s)
			return err
		}
		w.log.Warn("state is wiped and restored from its changelogs", slog.String("task", s.id.String()), slog.Any("error", err))
		w.closeDirty(s)
		if err := w.o.Databases.Wipe(s.id); err != nil {
			return fmt.Errorf("wipe: %w", err)
		}
		w.o.Holdings.Set(s.id, 0)
	}
}

func (w *Worker) tryOpen(s *slot) error {
	sub := &w.o.Program.Graph().Subtopologies[s.id.Subtopology]
	var err error
	for i := range sub.Stores {
		switch {
		case sub.Stores[i].Persistent && s.disk == nil:
			s.disk, err = w.o.Databases.Open(s.id)
		case !sub.Stores[i].Persistent && s.memory == nil:
			s.memory, err = statestore.Memory().Open("")
		}
		if err != nil {
			return err
		}
	}
	topics := make([]string, 0, len(s.tps))
	for _, tp := range s.tps {
		topics = append(topics, tp.Topic)
	}
	s.task, err = NewTask(w.o.Program, s.id, TaskOptions{
		ApplicationID: w.o.ApplicationID, Sources: topics, Disk: s.disk, Memory: s.memory,
		TopicIDs: w.o.Setup.TopicIDs, Globals: w.o.Globals, Collector: w.kafka, Now: time.Now, Logger: w.log,
		ErrorPolicy: w.o.ErrorPolicy, Trials: s.trials, OnDrop: w.o.OnDrop, EmitInterval: emitInterval, Batch: &w.batch, Wait: true,
	})
	return err
}

// emitInterval is how often operators look for results that became due, as in
// Kafka Streams: a look walks a store.
const emitInterval = time.Second

// stale says that a store is not what its changelog leads to: it knows of
// records that are not there, or lacks some that are there no more. A store that
// forgets with time lacks nothing that its changelog forgot with time.
func stale(t *Task, b bounds) error {
	for _, c := range t.Changelogs() {
		start, end := b.starts[c.TP], b.ends[c.TP]
		if c.Position > end || c.Position >= 0 && c.Position < start && !c.Expires {
			return fmt.Errorf("%w: %s-%d has offsets %d to %d, the state is at %d",
				ErrStale, c.Topic, c.Partition, start, end, c.Position)
		}
	}
	return nil
}

// launch lets a restored task run.
func (w *Worker) launch(s *slot) error {
	if err := s.task.Restored(); err != nil {
		return err
	}
	if err := s.task.Start(); err != nil {
		return err
	}
	to := map[TP]int64{}
	s.paused = map[TP]bool{}
	for tp, from := range s.starts {
		to[tp] = from.Offset
		s.paused[tp] = false
	}
	for _, c := range s.task.Changelogs() {
		w.kafka.Acked(c.TP) // of another life of the task
	}
	w.kafka.Resume(s.tps)
	w.kafka.Seek(to) // last, as it is what makes a fetch that waits without them begin again
	s.state = running
	w.o.Holdings.Set(s.id, assign.Latest)
	w.log.Info("task runs", slog.String("task", s.id.String()))
	w.o.OnChange()
	return nil
}

// closeDirty closes a task without a commit.
func (w *Worker) closeDirty(s *slot) {
	if err := w.closeSlot(s); err != nil {
		w.log.Warn("task did not close", slog.String("task", s.id.String()), slog.Any("error", err))
	}
}

func (w *Worker) closeSlot(s *slot) error {
	var errs []error
	switch s.state {
	case restoring:
		w.suspend(s)
		w.kafka.EndRestore(slices.Collect(maps.Keys(s.restores)))
	case following:
		errs = append(errs, w.endFollow(s, Migrated))
	case opening, running:
	}
	if s.task != nil {
		w.o.Holdings.Set(s.id, s.task.Held(true))
		errs = append(errs, s.task.Close())
	}
	for _, db := range []statestore.DB{s.disk, s.memory} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.task, s.disk, s.memory, s.restores, s.idle = nil, nil, nil, nil, time.Time{}
	s.state = opening
	return errors.Join(errs...)
}

// remove closes a task that goes elsewhere or ends.
func (w *Worker) remove(s *slot) error {
	err := w.closeSlot(s)
	w.release(s.tps)
	delete(w.slots, s.id)
	w.order = slices.DeleteFunc(w.order, func(x *slot) bool { return x == s })
	return err
}

// release forgets partitions.
func (w *Worker) release(tps []TP) {
	for _, tp := range tps {
		delete(w.byTP, tp)
		delete(w.purge, tp)
	}
}
