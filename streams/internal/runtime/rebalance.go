package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// Assigned implements Rebalancer. The tasks open at the next step of Run: a
// restore may take long, and a rebalance must not.
func (w *Worker) Assigned(ctx context.Context, tps []TP) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, tp := range tps {
		id, ok := w.o.Setup.Layout.Task(tp)
		if !ok {
			w.fatal = fmt.Errorf("the group assigns %s-%d, which no task reads: do its members run the same topology", tp.Topic, tp.Partition)
			continue
		}
		s := w.slots[id]
		if s == nil {
			s = &slot{id: id}
			w.add(s)
			w.log.Info("task assigned", slog.String("task", id.String()))
		} else if s.standby {
			w.promote(s)
		} else if s.task != nil {
			w.settle(ctx) // it gets another partition, and starts again with all of them
			w.closeDirty(s)
			w.kafka.Pause(s.tps)
		}
		s.tps = append(s.tps, tp)
		w.byTP[tp] = s
	}
	if len(tps) > 0 {
		w.kafka.Pause(tps)
	}
	w.joined = true
	w.o.OnChange()
}

// Revoked implements Rebalancer: it commits what the tasks did and closes them. A
// task that keeps partitions, as the topic of others is gone, starts again with
// those.
func (w *Worker) Revoked(ctx context.Context, tps []TP) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := w.owners(tps)
	if len(gone) == 0 {
		return
	}
	w.settle(ctx)
	for _, s := range gone {
		if kept := slices.DeleteFunc(slices.Clone(s.tps), func(tp TP) bool { return slices.Contains(tps, tp) }); len(kept) > 0 {
			w.closeDirty(s)
			w.release(tps)
			w.kafka.Pause(kept)
			s.tps = kept
			continue
		}
		w.log.Info("task revoked", slog.String("task", s.id.String()))
		if err := w.remove(s); err != nil {
			w.log.Warn("task did not close", slog.String("task", s.id.String()), slog.Any("error", err))
		}
	}
	w.orders.again() // to keep copies
	w.o.OnChange()
}

// Lost implements Rebalancer: somebody else may work on the tasks already, so
// nothing is committed.
func (w *Worker) Lost(ctx context.Context, tps []TP) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := w.owners(tps)
	w.joined = false
	if len(lost) == 0 {
		w.o.OnChange()
		return
	}
	if err := w.reset(ctx, 0); err != nil {
		w.fatal = err
	}
	for _, s := range lost {
		w.log.Warn("task lost", slog.String("task", s.id.String()))
		if err := w.remove(s); err != nil {
			w.log.Warn("task did not close", slog.String("task", s.id.String()), slog.Any("error", err))
		}
	}
	w.orders.again()
	w.o.OnChange()
}

// add gives a task or a copy its turn.
func (w *Worker) add(s *slot) {
	s.trials = Trials{}
	w.slots[s.id] = s
	w.order = append(w.order, s)
	slices.SortFunc(w.order, func(a, b *slot) int { return compareTasks(a.id, b.id) })
}

// settle commits before tasks close. If that fails, all of them start again:
// they were part of the same commit.
func (w *Worker) settle(ctx context.Context) {
	err := w.commit(ctx)
	if err == nil {
		return
	}
	w.log.Warn("tasks move without a commit and are repeated", slog.Any("error", err))
	if err := w.reset(ctx, 0); err != nil {
		w.fatal = err
	}
}

func (w *Worker) owners(tps []TP) []*slot {
	var found []*slot
	for _, tp := range tps {
		if s := w.byTP[tp]; s != nil && !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	return found
}
