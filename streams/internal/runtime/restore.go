package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// restore is one changelog that a task reads before it runs.
type restore struct {
	from, next, end int64
	logged          time.Time
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
		s.restores[c.TP] = &restore{from: next, next: next, end: end, logged: time.Now()}
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

// restore reads changelogs for the tasks that restore, and starts those that
// are done. It waits for records only if no other task has work.
func (w *Worker) restore(ctx context.Context) error {
	byTP := map[TP]*slot{}
	for _, s := range w.order {
		if s.state == restoring {
			for tp := range s.restores {
				byTP[tp] = s
			}
		}
	}
	if len(byTP) == 0 {
		return nil
	}
	wait := pollWait
	if slices.ContainsFunc(w.order, func(s *slot) bool { return s.state == running }) {
		wait = time.Millisecond
	}
	fetched, err := w.kafka.Restored(ctx, wait, w.o.PollRecords)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	for i := range fetched {
		if s := byTP[fetched[i].TP]; s != nil {
			if err := w.restored(s, &fetched[i]); err != nil {
				return err
			}
		}
	}
	for _, s := range w.order {
		if s.state == restoring && len(s.restores) == 0 {
			if err := w.launch(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Worker) restored(s *slot, f *Fetched) error {
	r := s.restores[f.TP]
	if r == nil {
		return nil
	}
	if err := s.task.Restore(f.Topic, f.Messages, f.Next); err != nil {
		return err
	}
	s.restored += int64(len(f.Messages))
	r.next = max(r.next, f.Next)
	if r.next < r.end {
		if time.Since(r.logged) >= 10*time.Second {
			r.logged = time.Now()
			w.log.Info("restore goes on", slog.String("task", s.id.String()), slog.String("topic", f.Topic),
				slog.Int64("done", r.next-r.from), slog.Int64("left", r.end-r.next))
		}
		return nil
	}
	w.kafka.EndRestore([]TP{f.TP})
	delete(s.restores, f.TP)
	w.log.Info("changelog restored", slog.String("task", s.id.String()), slog.String("topic", f.Topic), slog.Int64("records", r.next-r.from))
	return nil
}

// TaskStatus is one task of a worker, as people see it.
type TaskStatus struct {
	ID         TaskID
	Worker     int
	State      string // opening, restoring, running
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
		t := TaskStatus{ID: s.id, Worker: w.o.Index, State: s.state.String(), Partitions: slices.Clone(s.tps), Restored: s.restored}
		if s.task != nil {
			t.Processed, t.Dropped = s.task.Processed(), s.task.Dropped()
		}
		t.Unrestored = s.unrestored()
		ready = ready && s.state == running
		tasks = append(tasks, t)
	}
	return tasks, ready
}
