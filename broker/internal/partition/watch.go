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

// Watch tells w of every change from now on, until cancel. Whoever looks at the partition after
// Watch returned misses nothing.
func (p *Partition) Watch(w Watcher) (cancel func()) {
	entry := p.watch.add(w)
	return func() { p.watch.remove(entry) }
}

type watching struct {
	watcher Watcher
	at      int // its index in the list; -1 once removed
}

// watchers is a set from which entries leave in constant time.
type watchers struct {
	count atomic.Int32
	moved atomic.Bool // something changed that nobody was told of yet
	mu    sync.Mutex
	list  []*watching
	spare sync.Pool // *[]Watcher
}

func (s *watchers) add(w Watcher) *watching {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &watching{watcher: w, at: len(s.list)}
	s.list = append(s.list, entry)
	s.count.Store(int32(len(s.list)))
	return entry
}

func (s *watchers) remove(entry *watching) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry.at < 0 {
		return
	}
	last := len(s.list) - 1
	s.list[entry.at] = s.list[last]
	s.list[entry.at].at = entry.at
	s.list[last] = nil
	s.list = s.list[:last]
	entry.at = -1
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
		*called = append(*called, entry.watcher)
	}
	s.mu.Unlock()
	for _, w := range *called {
		w.Advanced(p)
	}
	clear(*called)
	*called = (*called)[:0]
	s.spare.Put(called)
}
