package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/weirstream/weir/statestore"
)

// restore is one changelog that a task reads before it runs.
type restore struct {
	store           string
	from, next, end int64
	records         int64
	logged          time.Time
}

// RestoreStep says what happens to a restore.
type RestoreStep int

// The steps. A restore that is suspended ended before it was done: its task goes
// elsewhere, or starts again.
const (
	RestoreStart RestoreStep = iota
	RestoreBatch
	RestoreEnd
	RestoreSuspended
)

// String returns the name of the step.
func (s RestoreStep) String() string {
	switch s {
	case RestoreStart:
		return "start"
	case RestoreBatch:
		return "batch"
	case RestoreEnd:
		return "end"
	case RestoreSuspended:
		return "suspended"
	default:
		return "unknown"
	}
}

// RestoreEvent is a step of the restore of one store from one changelog.
type RestoreEvent struct {
	Step            RestoreStep
	Task            TaskID
	Store           string
	Changelog       TP
	From, Next, End int64 // offsets: where it began, where it goes on, where it is done
	Records         int64 // of the batch; of the whole restore at its end and when it is suspended
}

func (w *Worker) restoreStep(step RestoreStep, s *slot, tp TP, r *restore, records int64) {
	if w.o.OnRestore != nil {
		w.o.OnRestore(RestoreEvent{
			Step: step, Task: s.id, Store: r.store, Changelog: tp, From: r.from, Next: r.next, End: r.end, Records: records,
		})
	}
}

// suspend tells of the restores of a task that closes.
func (w *Worker) suspend(s *slot) {
	for tp, r := range s.restores {
		w.restoreStep(RestoreSuspended, s, tp, r, r.records)
	}
}

// beginRestore starts to read what the stores of a task lack.
func (w *Worker) beginRestore(s *slot, b bounds) error {
	from := map[TP]int64{}
	s.restores = map[TP]*restore{}
	records := int64(0)
	for _, c := range s.task.Changelogs() {
		next, end := max(c.Position, b.starts[c.TP]), b.ends[c.TP]
		if next >= end {
			if err := s.task.Restore(c.Topic, nil, end); err != nil {
				return err
			}
			continue
		}
		from[c.TP] = next
		r := &restore{store: c.Store, from: next, next: next, end: end, logged: time.Now()}
		s.restores[c.TP] = r
		w.restoreStep(RestoreStart, s, c.TP, r, 0)
		records += end - next
	}
	if len(from) == 0 {
		return w.launch(s)
	}
	s.state = restoring
	w.log.Info("task restores", slog.String("task", s.id.String()), slog.Int("changelogs", len(from)), slog.Int64("records", records))
	w.o.OnChange()
	if err := w.kafka.Restore(from); err != nil {
		return fmt.Errorf("restore task %s: %w", s.id, err)
	}
	return nil
}

// restore reads changelogs for the tasks that restore and for copies, and starts
// the tasks that are done. It waits for records only if no task has other work.
func (w *Worker) restore(ctx context.Context) error {
	byTP := map[TP]*slot{}
	behind := false
	for _, s := range w.order {
		for tp := range s.restores {
			byTP[tp] = s
		}
		behind = behind || s.unrestored() > 0
	}
	if len(byTP) == 0 {
		return nil
	}
	wait := time.Duration(0)
	if behind {
		wait = pollWait
		if slices.ContainsFunc(w.order, func(s *slot) bool { return s.state == running }) {
			wait = time.Millisecond
		}
	}
	fetched, err := w.kafka.Restored(ctx, wait, w.o.PollRecords)
	if err != nil {
		w.reopenCopies()
		return fmt.Errorf("restore: %w", err)
	}
	for i := range fetched {
		if s := byTP[fetched[i].TP]; s != nil {
			if err := w.restored(s, &fetched[i]); err != nil {
				return err
			}
		}
	}
	if err := w.unload(); err != nil {
		return err
	}
	w.warmed()
	return w.launchRestored()
}

// launchRestored lets the tasks run that lack nothing any more. After the last one
// goes the memory that commits do not need.
func (w *Worker) launchRestored() error {
	launched, left := false, false
	for _, s := range w.order {
		if s.state != restoring {
			continue
		}
		if len(s.restores) > 0 {
			left = true
			continue
		}
		if err := w.launch(s); err != nil {
			return err
		}
		launched = true
	}
	if launched && !left {
		w.batch = statestore.Batch{}
	}
	return nil
}

// unload lets the tasks with the most restored changes apply them, until what all
// of them keep is within bounds.
func (w *Worker) unload() error {
	for {
		most, bytes, sum := (*slot)(nil), 0, 0
		for _, s := range w.order {
			if s.state != restoring && s.state != following {
				continue
			}
			n := s.task.PendingBytes()
			sum += n
			if n > bytes {
				most, bytes = s, n
			}
		}
		if sum <= w.o.RestoreBytes {
			return nil
		}
		if err := most.task.Restored(); err != nil {
			return err
		}
	}
}

// reopenCopies lets copies start again after a failure, as tasks do.
func (w *Worker) reopenCopies() {
	for _, s := range w.order {
		if s.standby {
			w.closeDirty(s)
			s.retryAt = time.Now().Add(backoff(w.failures))
		}
	}
}

func (w *Worker) restored(s *slot, f *Fetched) error {
	if s.standby {
		return w.followed(s, f)
	}
	r := s.restores[f.TP]
	if r == nil {
		return nil
	}
	if err := s.task.Restore(f.Topic, f.Messages, f.Next); err != nil {
		return err
	}
	s.restored += int64(len(f.Messages))
	r.records += int64(len(f.Messages))
	r.next = max(r.next, f.Next)
	w.o.Holdings.Set(s.id, s.task.Held(false))
	w.restoreStep(RestoreBatch, s, f.TP, r, int64(len(f.Messages)))
	if r.next < r.end {
		w.progress(s, f.Topic, r)
		return nil
	}
	w.kafka.EndRestore([]TP{f.TP})
	delete(s.restores, f.TP)
	w.restoreStep(RestoreEnd, s, f.TP, r, r.records)
	w.log.Info("changelog restored", slog.String("task", s.id.String()), slog.String("topic", f.Topic), slog.Int64("records", r.records))
	return nil
}

// progress logs now and then how far the reading of a changelog is that is behind.
func (w *Worker) progress(s *slot, topic string, r *restore) {
	if r.next < r.end && time.Since(r.logged) >= 10*time.Second {
		r.logged = time.Now()
		w.log.Info("restore goes on", slog.String("task", s.id.String()), slog.String("topic", topic),
			slog.Int64("done", r.next-r.from), slog.Int64("left", r.end-r.next))
	}
}

// TaskStatus is one task of a worker, as people see it.
type TaskStatus struct {
	ID         TaskID
	Worker     int
	Standby    bool   // a copy of the state, or one that is to take over
	State      string // opening, restoring, running; opening, following of a copy
	Partitions []TP
	Processed  int64 // messages since the task opened
	Dropped    int64 // records since the task opened
	Restored   int64 // records of its changelogs that were read since the task was assigned
	Unrestored int64 // offsets of its changelogs that are still to be read
}

// unrestored returns how many offsets of its changelogs a task has to read.
func (s *slot) unrestored() (left int64) {
	for r := range maps.Values(s.restores) {
		left += r.end - r.next
	}
	return left
}

// Status returns the tasks of the worker, and whether all of them run and the
// worker is a member of its group.
func (w *Worker) Status() (tasks []TaskStatus, ready bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ready = w.joined
	for _, s := range w.order {
		t := TaskStatus{ID: s.id, Worker: w.o.Index, Standby: s.standby, State: s.state.String(), Partitions: slices.Clone(s.tps), Restored: s.restored}
		if s.task != nil {
			t.Processed, t.Dropped = s.task.Processed(), s.task.Dropped()
		}
		t.Unrestored = s.unrestored()
		ready = ready && (s.standby || s.state == running)
		tasks = append(tasks, t)
	}
	return tasks, ready
}
