package streams

import (
	"fmt"
	"math"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
)

// Windows says how time is cut: into windows [start, start+size) that start
// every advance from the epoch on.
type Windows struct {
	size, advance, grace time.Duration
}

// Tumbling returns windows that follow one another without gap or overlap, and
// without grace.
//
//	time      0.........10........20........30
//	Tumbling  [0,10)    [10,20)   [20,30)
func Tumbling(size time.Duration) Windows { return Windows{size: size, advance: size} }

// Hopping returns windows that overlap: a new one starts every advance. They
// have no grace.
//
//	time     0....5....10...15...20
//	Hopping  [0,10)    [10,20)
//	              [5,15)
func Hopping(size, advance time.Duration) Windows { return Windows{size: size, advance: advance} }

// Grace lets a window take late records until stream time reaches its end plus
// d. [Forever] never closes a window: no record is late, and no row expires.
func (w Windows) Grace(d time.Duration) Windows {
	w.grace = d
	return w
}

// Size returns the length of a window.
func (w Windows) Size() time.Duration { return w.size }

func (w Windows) check() error {
	switch {
	case w.size < time.Millisecond || w.size%time.Millisecond != 0:
		return fmt.Errorf("%w: the size %v is not a positive number of milliseconds", ErrWindow, w.size)
	case w.advance < time.Millisecond || w.advance%time.Millisecond != 0 || w.advance > w.size:
		return fmt.Errorf("%w: the advance %v is not a number of milliseconds between 1 and the size", ErrWindow, w.advance)
	case w.grace < 0:
		return fmt.Errorf("%w: the grace %v is negative", ErrWindow, w.grace)
	default:
		return nil
	}
}

func (w Windows) millis() op.Windows {
	m := op.Windows{Size: w.size.Milliseconds(), Advance: w.advance.Milliseconds(), Grace: op.NoEnd}
	if w.grace != Forever {
		m.Grace = w.grace.Milliseconds()
	}
	return m
}

// TimeWindowed is a grouped stream cut into windows.
type TimeWindowed[K, V any] struct {
	g *Grouped[K, V]
	w Windows
}

// WindowedBy cuts the stream into windows of record time. What is aggregated
// from here on is one row for each key and window.
//
//	in                       --(a,1)@1--(a,2)@8--(a,3)@12-->
//	WindowedBy(Tumbling 10)  [0,10): 1 2          [10,20): 3
func (g *Grouped[K, V]) WindowedBy(w Windows) *TimeWindowed[K, V] {
	if g.failed() {
		return &TimeWindowed[K, V]{}
	}
	st := &step{b: g.s.b, name: "WindowedBy of " + g.s.out.name, o: &options{}}
	if st.check(w.check()); st.bad {
		return &TimeWindowed[K, V]{}
	}
	return &TimeWindowed[K, V]{g: g, w: w}
}

func (t *TimeWindowed[K, V]) failed() bool { return t == nil || t.g.failed() }

// store describes the window store of an aggregation over w.
func (w Windows) store(st *step, name string) graph.Store {
	s := st.o.keyValue(name)
	s.Kind, s.WindowSizeMs, s.RetentionMs = graph.Window, w.size.Milliseconds(), graph.Forever
	if w.grace < math.MaxInt64-w.size {
		s.RetentionMs = (w.size + w.grace).Milliseconds()
	}
	if !st.o.has(setRetention) {
		return s
	}
	if st.o.retention == Forever {
		s.RetentionMs = graph.Forever
		return s
	}
	least := s.RetentionMs
	s.RetentionMs = st.o.retention.Milliseconds()
	if s.RetentionMs < least {
		st.check(fmt.Errorf("%w: the retention %v is shorter than size plus grace", ErrWindow, st.o.retention))
	}
	return s
}
