package runtime

import (
	"cmp"
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

// StandbyStep says what happens to a copy of a store.
type StandbyStep int

// The steps (KIP-988). A copy that is suspended ended, for a [SuspendReason]; one that
// starts again after a failure is suspended too.
const (
	StandbyStart StandbyStep = iota
	StandbyBatch
	StandbySuspended
)

// String returns the name of the step.
func (s StandbyStep) String() string {
	return cmp.Or(map[StandbyStep]string{StandbyStart: "start", StandbyBatch: "batch", StandbySuspended: "suspended"}[s], "unknown")
}

// SuspendReason says why a copy ended.
type SuspendReason int

// The reasons.
const (
	Migrated SuspendReason = iota // it closed: the copy goes elsewhere, or the app ends
	Promoted                      // it became the task itself
)

// String returns the name of the reason.
func (r SuspendReason) String() string {
	return cmp.Or(map[SuspendReason]string{Migrated: "migrated", Promoted: "promoted"}[r], "unknown")
}

// StandbyEvent is a step of the copy of one store that follows one changelog.
type StandbyEvent struct {
	Step            StandbyStep
	Reason          SuspendReason // of a suspension
	Task            TaskID
	Store           string
	Changelog       TP
	From, Next, End int64 // offsets: where it began, where it goes on, where the changelog ends as far as is known
	Records         int64 // of the batch; since it began when it is suspended
}

func (w *Worker) standbyStep(step StandbyStep, why SuspendReason, s *slot, tp TP, records int64) {
	if r := s.restores[tp]; w.o.OnStandby != nil {
		w.o.OnStandby(StandbyEvent{
			Step: step, Reason: why, Task: s.id, Store: r.store, Changelog: tp, From: r.from, Next: r.next, End: r.end, Records: records,
		})
	}
}

// endFollow ends the reading of the changelogs of a copy.
func (w *Worker) endFollow(s *slot, why SuspendReason) error {
	w.kafka.EndRestore(slices.Collect(maps.Keys(s.restores)))
	err := s.task.Restored()
	for tp, r := range s.restores {
		w.standbyStep(StandbySuspended, why, s, tp, r.records)
	}
	return err
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
	err := errors.Join(w.endFollow(s, Promoted), s.task.Close())
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
		w.standbyStep(StandbyStart, 0, s, c.TP, 0)
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
	r.records += int64(len(f.Messages))
	w.o.Holdings.Set(s.id, s.task.Held(false))
	w.standbyStep(StandbyBatch, 0, s, f.TP, int64(len(f.Messages)))
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
