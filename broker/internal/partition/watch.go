package partition

import (
	"sync"
	"sync/atomic"
)

// Watcher is told that a fetch on a partition may have more to return.
type Watcher interface {
	// Advanced is called when readable data grew, when the leader or the start of the log
	// changed, and when the partition was closed. Calls are joined: one may stand for many
	// appends. It runs on the goroutine that caused the change, outside the partition's locks,
	// and must not block. It may still be running, once, when the cancellation returns.
	Advanced(p *Partition)
}

// Watch is a place among those that watch a partition. Its holder makes it, and may use it again once
// it was cancelled.
type Watch struct {
	Watcher   Watcher
	partition *Partition // that was watched last
	at        int        // its index in the list and one; 0 outside
}

// Watch tells w's Watcher of every change from now on, until Cancel. Whoever looks at the partition
// after Watch returned misses nothing.
func (p *Partition) Watch(w *Watch) {
	w.partition = p
	p.watch.add(w)
}

// Cancel ends the watch, if there is one.
func (w *Watch) Cancel() {
	if w.partition != nil {
		w.partition.watch.remove(w)
	}
}

// watchers is a set from which entries leave in constant time.
type watchers struct {
	count atomic.Int32
	moved atomic.Bool // something changed that nobody was told of yet
	mu    sync.Mutex
	list  []*Watch
	spare sync.Pool // *[]Watcher
}

func (s *watchers) add(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, w)
	w.at = len(s.list)
	s.count.Store(int32(len(s.list)))
}

func (s *watchers) remove(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.at == 0 {
		return
	}
	last := len(s.list) - 1
	s.list[w.at-1] = s.list[last]
	s.list[w.at-1].at = w.at
	s.list[last] = nil
	s.list = s.list[:last]
	w.at = 0
	s.count.Store(int32(last))
}

// stir notes a change; stirred reports, once, that there was one.
func (s *watchers) stir()         { s.moved.Store(true) }
func (s *watchers) stirred() bool { return s.moved.Load() && s.moved.Swap(false) }

// notify tells every watcher. A change that is noted before a watcher was added is visible to
// that watcher's first look; one noted after it finds the watcher in the list.
func (s *watchers) notify(p *Partition) {
	if s.count.Load() == 0 {
		return
	}
	called, ok := s.spare.Get().(*[]Watcher)
	if !ok {
		called = new([]Watcher)
	}
	s.mu.Lock()
	for _, entry := range s.list {
		*called = append(*called, entry.Watcher)
	}
	s.mu.Unlock()
	for _, w := range *called {
		w.Advanced(p)
	}
	clear(*called)
	*called = (*called)[:0]
	s.spare.Put(called)
}
