package data

import (
	"slices"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/internal/env"
)

// fetchWatch watches one partition of a waiting fetch. Its fields are guarded by the fetch's mutex.
type fetchWatch struct {
	partition.Watch
	fetch *fetch
	wait  uint64 // of the fetch, that it belongs to
	on    *partition.Partition
	at    int // of the fetch's partitions
}

// begin begins the wait: it registers with every partition, and looks again. An append in between is
// either seen here or reported to Advanced.
func (f *fetch) begin() *route.Pending {
	f.mu.Lock()
	f.pending.Reset()
	f.wait++
	f.waiting = true
	if f.alarm == nil {
		f.alarm = &alarm{fetch: f}
		f.alarm.timer = f.deps.Clock.AfterFunc(f.request.maxWait, f.alarm.ring)
	} else {
		f.alarm.timer.Reset(f.request.maxWait)
	}
	ready := !f.register()
	ready = ready || f.look()
	f.mu.Unlock()
	if ready {
		f.Hurry()
	}
	return &f.pending
}

// register watches the partitions, up to one that there is none of, and says whether that was all. The
// caller holds the mutex.
func (f *fetch) register() bool {
	n := len(f.within.Partitions)
	f.watches = slices.Grow(f.watches[:0], n)[:n]
	finder := f.finder()
	for i := range f.watches {
		p, err := finder.find(&f.within.Partitions[i].Key)
		if err != nil {
			f.watches = f.watches[:i]
			return false
		}
		w := &f.watches[i]
		if w.fetch == nil { // nobody knows it yet
			w.fetch = f
		}
		w.wait, w.on, w.at, w.Watcher = f.wait, p, i, w
		p.Watch(&w.Watch)
	}
	return true
}

// Advanced ends the wait when the partition has something to tell.
func (w *fetchWatch) Advanced(p *partition.Partition) {
	f := w.fetch
	f.mu.Lock()
	if !f.waiting || w.wait != f.wait || w.on != p {
		f.mu.Unlock()
		return
	}
	wait := f.wait
	n, err := f.readable(p, f.readRequest(w.at))
	due := err != nil || n >= f.request.minBytes || len(f.within.Partitions) > 1 && f.request.minBytes > 1 && f.look()
	f.mu.Unlock()
	if due {
		f.end(wait, false)
	}
}

// alarm is the timer of a fetch. One that could not be stopped in time is no longer the fetch's, so that
// it ends no later wait.
type alarm struct {
	fetch *fetch
	timer env.Timer
}

// ring ends the wait whose time is up.
func (a *alarm) ring() {
	f := a.fetch
	f.mu.Lock()
	wait, due := f.wait, f.alarm == a
	f.mu.Unlock()
	if due {
		f.end(wait, true)
	}
}

var _ route.Poll = (*fetch)(nil)

// Hurry ends the wait: the answer is due. A connection that ends may do so too late, when the fetch is
// another's, which is answered early then.
func (f *fetch) Hurry() {
	f.mu.Lock()
	wait := f.wait
	f.mu.Unlock()
	f.end(wait, false)
}

// end ends a wait unless it is over; rung says that its alarm does.
func (f *fetch) end(wait uint64, rung bool) {
	f.mu.Lock()
	if !f.waiting || f.wait != wait {
		f.mu.Unlock()
		return
	}
	f.waiting = false
	if !rung && !f.alarm.timer.Stop() {
		f.alarm = nil
	}
	f.mu.Unlock()
	for i := range f.watches {
		f.watches[i].Cancel()
	}
	f.pending.Complete()
}
