package streams

import (
	"fmt"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/serde"
)

// Windows says how time is cut: [Tumbling], [Hopping], [Sliding] or [Unlimited].
// Grace lets a window take late records until stream time reaches its end plus
// that; [Forever] never closes a window: no record is late, and no row expires.
type Windows = window.Windows

// Tumbling returns windows that follow one another without gap or overlap, and
// without grace.
//
//	time      0.........10........20........30
//	Tumbling  [0,10)    [10,20)   [20,30)
func Tumbling(size time.Duration) Windows { return window.Aligned(size, size) }

// Hopping returns windows that overlap: a new one starts every advance. They
// have no grace.
//
//	time     0....5....10...15...20
//	Hopping  [0,10)    [10,20)
//	              [5,15)
func Hopping(size, advance time.Duration) Windows { return window.Aligned(size, advance) }

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
	if g.s.b.wrong("WindowedBy of "+g.s.out.Name, window.Check(w)) {
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
		closes:  closes{after: window.Millis(window.Grace(w)), end: op.EndOfWindow[K]},
		store: func(st *step, name string) graph.Store {
			s := st.o.keyValue(name)
			st.retain(&s, window.Store(w, &s, emit))
			return s
		},
		key: func(key serde.Serde[K]) serde.Serde[Windowed[K]] { return serde.TimeWindowed(key, w.Size()) },
		rows: func(e *op.Env, s op.State[K, A], next op.Next[Windowed[K], op.Change[A]]) (*op.WindowRows[K, A], error) {
			return op.OpenWindows(e, s, window.Millis(w.Size()), window.Slides(w), next)
		},
		view: op.OpenWindowRows[K, A],
	}
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
