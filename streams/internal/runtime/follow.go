package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// orders are what the group wants a worker to run and to keep copies of. They
// come while it works, and it follows them at its next step.
type orders struct {
	mu      sync.Mutex
	active  map[TaskID]bool
	copies  map[TaskID]bool // true for a warm-up
	pending bool
}

func (o *orders) set(active, standby, warmup []TaskID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active, o.copies, o.pending = map[TaskID]bool{}, map[TaskID]bool{}, true
	for _, id := range active {
		o.active[id] = true
	}
	for _, id := range standby {
		o.copies[id] = false
	}
	for _, id := range warmup {
		o.copies[id] = true
	}
}

// again lets the next step look at the orders once more.
func (o *orders) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = true
}

func (o *orders) take() (active, copies map[TaskID]bool, news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	news, o.pending = o.pending, false
	return o.active, o.copies, news
}

// Follow implements Rebalancer.
func (w *Worker) Follow(active, standby, warmup []TaskID) { w.orders.set(active, standby, warmup) }

// Holds implements Rebalancer.
func (w *Worker) Holds() (state map[TaskID]int64, following []TaskID) {
	w.orders.mu.Lock()
	following = slices.SortedFunc(maps.Keys(w.orders.copies), compareTasks)
	w.orders.mu.Unlock()
	return w.o.Holdings.State(), following
}

// adopt begins and ends copies as the group wants it. A copy of a task that is to
// run here stays until it is assigned, which turns it into the task.
func (w *Worker) adopt() {
	active, copies, news := w.orders.take()
	if !news {
		return
	}
	for _, s := range slices.Clone(w.order) {
		warmup, wanted := copies[s.id]
		switch {
		case !s.standby:
		case wanted:
			s.warmup, s.asked = warmup, time.Time{}
		case !active[s.id]:
			w.log.Info("standby ends", slog.String("task", s.id.String()))
			if err := w.remove(s); err != nil {
				w.log.Warn("standby did not close", slog.String("task", s.id.String()), slog.Any("error", err))
			}
		}
	}
	for id, warmup := range copies {
		if w.slots[id] == nil {
			w.log.Info("standby begins", slog.String("task", id.String()), slog.Bool("warmup", warmup))
			w.add(&slot{id: id, standby: true, warmup: warmup})
		}
	}
	w.o.OnChange()
}

// promote makes a copy the task itself: it keeps the databases, so the task opens
// where the copy is.
func (w *Worker) promote(s *slot) {
	s.standby, s.warmup, s.retryAt, s.restored = false, false, time.Time{}, 0
	if s.state != following {
		return
	}
	w.log.Info("standby takes over", slog.String("task", s.id.String()), slog.Int64("behind", s.unrestored()))
	w.kafka.EndRestore(slices.Collect(maps.Keys(s.restores)))
	err := errors.Join(s.task.Restored(), s.task.Close())
	s.task, s.restores, s.state = nil, nil, opening
	if err != nil {
		w.log.Warn("standby did not close", slog.String("task", s.id.String()), slog.Any("error", err))
		w.closeDirty(s)
	}
}

// beginFollow starts to read the changelogs of a copy.
func (w *Worker) beginFollow(s *slot, b bounds) error {
	from := map[TP]int64{}
	s.restores = map[TP]*restore{}
	for _, c := range s.task.Changelogs() {
		next := max(c.Position, b.starts[c.TP])
		from[c.TP] = next
		s.restores[c.TP] = &restore{store: c.Store, from: next, next: next, end: max(next, b.ends[c.TP]), logged: time.Now()}
	}
	s.state = following
	w.log.Info("standby follows", slog.String("task", s.id.String()), slog.Int64("behind", s.unrestored()))
	w.o.OnChange()
	if err := w.kafka.Restore(from); err != nil {
		return fmt.Errorf("follow task %s: %w", s.id, err)
	}
	return nil
}

// followed takes records of a changelog into a copy.
func (w *Worker) followed(s *slot, f *Fetched) error {
	r := s.restores[f.TP]
	if r == nil {
		return nil
	}
	next := max(r.next, f.Next)
	if next == r.next && f.End <= r.end {
		return nil
	}
	r.end = max(r.end, f.End, next)
	if next == r.next {
		return nil
	}
	r.next, s.fresh = next, true
	s.restored += int64(len(f.Messages))
	if err := s.task.Restore(f.Topic, f.Messages, next); err != nil {
		return err
	}
	w.o.Holdings.Set(s.id, s.task.Held(false))
	w.progress(s, f.Topic, r)
	return nil
}

// warmed tells the group once a warm-up has caught up, so that it may take over,
// and again after a while if it did not.
func (w *Worker) warmed() {
	for _, s := range w.order {
		if s.state == following && s.warmup && s.unrestored() <= w.o.AcceptableLag &&
			(s.asked.IsZero() || time.Since(s.asked) >= w.o.ProbingInterval) {
			s.asked = time.Now()
			w.log.Info("warm-up has caught up", slog.String("task", s.id.String()), slog.Int64("behind", s.unrestored()))
			w.kafka.Rejoin()
		}
	}
}

// applyCopies brings what copies read since the last time into their databases.
// All of it is committed.
func (w *Worker) applyCopies() error {
	for _, s := range w.order {
		if s.state == following && s.fresh {
			if err := s.task.Restored(); err != nil {
				return err
			}
			s.fresh = false
		}
	}
	return nil
}
