package streams

import (
	"fmt"
	"math"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// Windows says how time is cut: [Tumbling], [Hopping], [Sliding] or [Unlimited].
type Windows struct {
	shape                windowShape
	start                int64 // of unlimited windows
	size, advance, grace time.Duration
}

type windowShape int

const (
	aligned   windowShape = iota // [start, start+size), one every advance from the epoch on
	sliding                      // [start, start+size], wherever a record begins or ends one
	unlimited                    // [start, end of time)
)

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

// Size returns the length of a window, [Forever] if it has no end.
func (w Windows) Size() time.Duration { return w.size }

func (w Windows) check() error {
	least := time.Millisecond
	if w.shape == sliding {
		least = 0
	}
	switch {
	case w.shape == unlimited && w.start < 0:
		return fmt.Errorf("%w: they start before the epoch", ErrWindow)
	case w.shape != unlimited && (w.size < least || w.size%time.Millisecond != 0):
		return fmt.Errorf("%w: the size %v is not a positive number of milliseconds", ErrWindow, w.size)
	case w.shape == aligned && (w.advance < time.Millisecond || w.advance%time.Millisecond != 0 || w.advance > w.size):
		return fmt.Errorf("%w: the advance %v is not a number of milliseconds between 1 and the size", ErrWindow, w.advance)
	case w.grace < 0:
		return fmt.Errorf("%w: the grace %v is negative", ErrWindow, w.grace)
	default:
		return nil
	}
}

// millis returns a duration in milliseconds, in which Forever has no end.
func millis(d time.Duration) int64 {
	if d == Forever {
		return op.NoEnd
	}
	return d.Milliseconds()
}

// TimeWindowed is a grouped stream cut into windows.
type TimeWindowed[K, V any] struct {
	g    *Grouped[K, V]
	w    Windows
	emit EmitStrategy
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
	if g.s.b.wrong("WindowedBy of "+g.s.out.name, w.check()) {
		return &TimeWindowed[K, V]{}
	}
	return &TimeWindowed[K, V]{g: g, w: w}
}

// wrong keeps err, if there is one, for a call that is no operator.
func (b *Builder) wrong(call string, err error) bool {
	st := &step{b: b, name: call, o: &options{}}
	st.check(err)
	return st.bad
}

func (t *TimeWindowed[K, V]) failed() bool { return t == nil || t.g.failed() }

// windowKind keeps a row for each key and window.
func windowKind[K, A any](w Windows, emit EmitStrategy) kind[K, Windowed[K], A, *op.WindowRows[K, A]] {
	return kind[K, Windowed[K], A, *op.WindowRows[K, A]]{
		allowed: setRetention,
		closes:  closes{after: millis(w.grace), end: op.EndOfWindow[K]},
		store:   func(st *step, name string) graph.Store { return w.store(st, name, emit) },
		key:     func(key serde.Serde[K]) serde.Serde[Windowed[K]] { return serde.TimeWindowed(key, w.size) },
		rows: func(e *op.Env, s op.State[K, A], next op.Next[Windowed[K], op.Change[A]]) (*op.WindowRows[K, A], error) {
			return op.OpenWindows(e, s, millis(w.size), w.shape == sliding, next)
		},
		view: op.OpenWindowRows[K, A],
	}
}

// windowFold returns the processor that folds records into windows.
func windowFold[K, V, A any](w Windows, e *op.Env, name string, rows *op.WindowRows[K, A], fold op.Fold[K, V, A]) op.Next[K, V] {
	if w.shape == sliding {
		return op.Slide(e, name, rows, millis(w.size), millis(w.grace), fold)
	}
	return op.Window(e, name, rows, op.Windows{
		Start: w.start, Size: millis(w.size), Advance: w.advance.Milliseconds(), Grace: millis(w.grace),
	}, fold)
}

// store describes the window store of an aggregation over w.
func (w Windows) store(st *step, name string, emit EmitStrategy) graph.Store {
	s := st.o.keyValue(name)
	s.Kind, s.WindowSizeMs = graph.Window, millis(w.size)
	least := w.size
	if w.shape == sliding {
		least = sum(w.size, w.size)
	}
	st.retain(&s, sum(least, w.grace))
	if emit == OnWindowClose {
		s.Held, s.Cached = true, false
		if w.shape == aligned {
			s.SegmentMs = max(w.advance, time.Second).Milliseconds()
		}
	}
	return s
}

// sum adds durations; with Forever it is Forever.
func sum(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return Forever
	}
	return a + b
}

// retain sets how long a store of windows keeps its rows: for as long as it has
// to, or longer if the user says so.
func (s *step) retain(desc *graph.Store, least time.Duration) {
	if s.o.has(setRetention) {
		if s.o.retention < least {
			s.check(fmt.Errorf("%w: the retention %v is shorter than the windows need, which is %v", ErrWindow, s.o.retention, least))
		}
		least = s.o.retention
	}
	desc.RetentionMs = graph.Forever
	if least != Forever {
		desc.RetentionMs = max(1, least.Milliseconds())
	}
}
