package segment

import (
	"sync"
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/record"
)

const (
	// windowSize is how much is read at once ahead of a reader of small ranges.
	windowSize = 64 << 10
	// patience bounds what windows cost where there are too few: of so many readers that find none
	// free, one takes the place of another segment's.
	patience = 16
)

// windows are the memory for what readers of small ranges will ask for next, of a bounded number of
// segments. Its bytes are those of the file; a segment that is cut or retired gives its window back.
type windows struct {
	most   int
	mu     sync.Mutex
	all    []*window
	free   []*window
	oldest int // of all, whose turn it is to make room
	asked  int // for room that there is not

	touched atomic.Uint32 // means nothing, and keeps Touch from being compiled to nothing
}

// window is a run of bytes of a segment's file. It may be filled again only after its segment and all
// its readers have let go of it.
type window struct {
	pool  *windows
	refs  atomic.Int32 // its segment, and readers
	owner *Segment     // that took it last; guarded by the pool's mutex
	at    int64        // position of the bytes
	bytes []byte
}

// take returns a window for a segment, without bytes and with one reference, or nil.
func (p *windows) take(s *Segment) *window {
	p.mu.Lock()
	defer p.mu.Unlock()
	var w *window
	switch n := len(p.free); {
	case n > 0:
		w, p.free = p.free[n-1], p.free[:n-1]
	case len(p.all) < p.most:
		w = &window{pool: p, bytes: make([]byte, windowSize)}
		p.all = append(p.all, w)
	default:
		w = p.displace()
	}
	if w != nil {
		w.owner = s
		w.refs.Store(1)
	}
	return w
}

// displace takes a window from its segment, once in a while, unless readers hold it. The caller holds
// the mutex.
func (p *windows) displace() *window {
	if p.asked++; p.asked < patience || len(p.all) == 0 {
		return nil
	}
	p.asked = 0
	w := p.all[p.oldest]
	p.oldest = (p.oldest + 1) % len(p.all)
	if w.owner.window.CompareAndSwap(w, nil) && w.refs.Add(-1) == 0 {
		return w
	}
	return nil
}

// release lets go of a window; the last to do so gives it back.
func (w *window) release() {
	if w.refs.Add(-1) > 0 {
		return
	}
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.pool.free = append(w.pool.free, w)
}

// hold adds a reader, unless nobody holds the window any more.
func (w *window) hold() bool {
	for n := w.refs.Load(); n > 0; n = w.refs.Load() {
		if w.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// from returns n bytes of the file from pos on, or nil where the window does not have them.
func (w *window) from(pos int64, n int) []byte {
	off := pos - w.at
	if off < 0 || off+int64(n) > int64(len(w.bytes)) {
		return nil
	}
	return w.bytes[off : off+int64(n) : off+int64(n)]
}

// within returns the segment's window, to be released, if it has n bytes from pos on.
func (s *Segment) within(pos int64, n int) *window {
	w := s.window.Load()
	if w == nil || !w.hold() {
		return nil
	}
	if s.window.Load() == w && w.from(pos, n) != nil {
		return w
	}
	w.release()
	return nil
}

// readAhead makes a window of what follows pos, of which n bytes are wanted now, and returns it, to be
// released. It returns nil where little follows, where no window is to be had, and where the file cannot
// be read, of which the reader will hear.
func (s *Segment) readAhead(sc *Scanner, pos int64, n int) *window {
	size := min(s.size.Load()-pos, windowSize) // no cut that the scanner does not know of has come before
	if size < int64(2*n) {
		return nil
	}
	s.dropWindow()
	w := s.Log.pool.windows.take(s)
	if w == nil {
		return nil
	}
	w.at, w.bytes = pos, w.bytes[:size]
	if sc.ReadFull(w.bytes, pos) != nil {
		w.release()
		return nil
	}
	w.refs.Add(1)
	if old := s.window.Swap(w); old != nil {
		old.release()
	}
	if s.reached.cuts.Load() != sc.cuts {
		if s.window.CompareAndSwap(w, nil) {
			w.release()
		}
		w.release()
		return nil
	}
	return w
}

// forget makes void what was learnt of the file's bytes, by those too who are reading now.
func (s *Segment) forget() {
	s.reached.forget()
	s.dropWindow()
}

// dropWindow gives the segment's window back.
func (s *Segment) dropWindow() {
	if w := s.window.Swap(nil); w != nil {
		w.release()
	}
}

// Touched is how many segments are touched at a time at most.
const Touched = 32

// Touch brings what there is to reading small ranges, from an offset of each segment on, into the
// processor's caches; a segment may be nil. Each step reads a little of all, so that the processor waits
// for many at a time, where in reading one after the other it would wait for each.
func Touch(segs []*Segment, from []int64) {
	var windows [Touched]*window
	var at [Touched]int64
	for i, s := range segs {
		if s != nil {
			windows[i], at[i] = s.window.Load(), s.hinted(from[i])
		}
	}
	sum := uint32(0)
	for i, s := range segs {
		if w := windows[i]; w != nil {
			sum += uint32(w.refs.Load()) + uint32(s.Log.pool.max)
		}
	}
	for i, s := range segs {
		if windows[i] != nil {
			windows[i] = s.within(at[i], record.HeaderSize)
		}
	}
	for i, w := range windows {
		if w != nil {
			head := w.from(at[i], record.HeaderSize)
			sum += uint32(head[0]) + uint32(head[record.HeaderSize-1])
		}
	}
	for _, w := range windows {
		if w != nil {
			w.pool.touched.Store(sum)
			w.release()
		}
	}
}
