package partition

import (
	"context"
	"log/slog"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
)

// synced is told by the log how far its bytes are durable, or that they never will be.
func (p *Partition) synced(upTo int64, err error) {
	p.mu.Lock()
	if err != nil {
		p.logger.Error("sync failed", slog.Any("err", err))
		p.failed = err
		p.queue.fail(err)
	} else {
		p.advance(p.durableEnd())
	}
	p.mu.Unlock()
	p.settle()
}

// durableEnd is as far as the high watermark of a sole replica may go.
func (p *Partition) durableEnd() int64 {
	if p.config.Load().Durability == commitlog.PageCache || p.faults.WatermarkBeforeSync {
		return p.log.EndOffset()
	}
	return p.log.SyncedOffset()
}

// advance moves the high watermark up to an offset and releases the waiters below it. The caller
// holds the mutex and calls settle after releasing it.
func (p *Partition) advance(to int64) {
	if _, leader := p.leadership(); !leader || to <= p.hw.Load() {
		return
	}
	p.hw.Store(to)
	p.producers.Passed(to)
	p.lso.Store(p.stable(to))
	p.log.SetHighWatermark(to)
	p.queue.reach(to)
	p.watch.stir()
}

// Behind says whether the leader's log has records that nobody may read yet.
func (p *Partition) Behind() bool {
	_, leader := p.leadership()
	return leader && p.hw.Load() < p.log.EndOffset()
}

// CatchUp returns once what was appended before the call is below the high watermark: a producer
// that was answered earlier, as acks 1 and 0 are, looks for the end of the log and finds what it
// wrote. It gives up at the deadline, when ctx ends, and when a failed sync, another leader or
// Close means that it would wait in vain.
func (p *Partition) CatchUp(ctx context.Context, deadline time.Time) {
	p.mu.Lock()
	if !p.Behind() || p.closed != nil || p.failed != nil {
		p.mu.Unlock()
		return
	}
	done := make(caughtUp)
	p.queue.push(waiter{need: p.log.EndOffset(), deadline: deadline, done: done})
	p.arm(deadline)
	p.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// caughtUp is closed by whatever ends a wait.
type caughtUp chan struct{}

// Appended ends the wait.
func (c caughtUp) Appended(int, AppendResult, error) { close(c) }

// stable is the last stable offset under a high watermark. The caller holds the mutex.
func (p *Partition) stable(hw int64) int64 {
	if p.faults.StableAtWatermark {
		return hw
	}
	return p.producers.LastStable(hw)
}

// settle answers the waiters that are due, in the order of their appends, and wakes the watchers
// if the readable data grew. One goroutine answers at a time; others leave their waiters to it,
// and so does a completion that calls the partition. The caller must not hold the mutex.
func (p *Partition) settle() {
	p.mu.Lock()
	if !p.settling {
		p.settling = true
		for w, ok := p.queue.pop(); ok; w, ok = p.queue.pop() {
			p.mu.Unlock()
			w.done.Appended(w.token, w.result, w.err)
			p.mu.Lock()
		}
		p.settling = false
	}
	p.mu.Unlock()
	if p.watch.stirred() {
		p.watch.notify(p)
	}
}

// indexAborted hands the transactions that were found aborted to the log's index, which passes
// over those that it kept through a recovery.
func (p *Partition) indexAborted() {
	var all []commitlog.AbortedTxn
	for _, a := range p.producers.TakeAborted() {
		all = append(all, commitlog.AbortedTxn(a))
	}
	if err := p.log.AppendAborted(all...); err != nil {
		p.logger.Error("aborted transactions not indexed", slog.Int("transactions", len(all)), slog.Any("err", err))
	}
}
