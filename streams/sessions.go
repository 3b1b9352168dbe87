package streams

import (
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/serde"
)

// SessionWindows says when a session ends. Grace lets a session take late
// records until stream time has passed its end, the gap and that; [Forever]
// never closes a session.
type SessionWindows = window.SessionWindows

// Sessions returns sessions that end after a gap without records; records just
// the gap apart are in one. They have no grace.
//
//	time         0....5....10...15...20...25
//	records      a  a  a                a
//	Sessions 10  [0,     6]           [19,19]
func Sessions(gap time.Duration) SessionWindows { return window.Sessions(gap) }

// SessionWindowed is a grouped stream cut into sessions.
type SessionWindowed[K, V any] struct {
	g    *Grouped[K, V]
	w    SessionWindows
	emit EmitStrategy
}

// WindowedBySession cuts the records of each key into sessions. What is
// aggregated from here on is one row for each key and session, whose time is the
// end of the session. A record that prolongs or joins sessions deletes their
// rows and makes one of them all.
//
//	in                 --(a,x)@1---(a,y)@8----------------(a,z)@30----->
//	Count, Sessions 10 --a[1,1]:1--a[1,1] gone--a[1,8]:2--a[30,30]:1-->
func (g *Grouped[K, V]) WindowedBySession(w SessionWindows) *SessionWindowed[K, V] {
	if g.failed() || g.s.b.wrong("WindowedBySession of "+g.s.out.Name, window.CheckSessions(w)) {
		return &SessionWindowed[K, V]{}
	}
	return &SessionWindowed[K, V]{g: g, w: w}
}

func (t *SessionWindowed[K, V]) failed() bool { return t == nil || t.g.failed() }

// Count counts the records of each key in each session. Records with a null key
// are dropped, and so are those that come after the grace. Options: those of
// [TimeWindowed.Count].
func (t *SessionWindowed[K, V]) Count(opts ...Option) *Table[Windowed[K], int64] {
	return sessions(t, counter[K, V](), op.SumJoin[K], opts)
}

// Reduce combines the records of each key in each session, and what two sessions
// have made when they join. Options: those of [TimeWindowed.Count].
func (t *SessionWindowed[K, V]) Reduce(combine func(aggregate, value V) V, opts ...Option) *Table[Windowed[K], V] {
	if t.failed() {
		return &Table[Windowed[K], V]{}
	}
	return sessions(t, reducer[K](combine, t.g.s.value), op.ReduceJoin[K](combine), opts)
}

// AggregateSession is [Aggregate] for each key and session. merge puts what an
// older session has made into the aggregate, which is initial's at first; then
// add does its work. Options: those of [TimeWindowed.Count].
//
//	in                --(a,x)@1-----(a,y)@8------------------>
//	list, Sessions 10 --a[1,1]:[x]--a[1,1] gone--a[1,8]:[x y]->
func AggregateSession[K, V, A any](t *SessionWindowed[K, V], initial func() A, add func(key K, value V, aggregate A) A, merge func(key K, a, b A) A, value serde.Serde[A], opts ...Option) *Table[Windowed[K], A] {
	f := aggregator(initial, add, value)
	f.nilFunc = f.nilFunc || merge == nil
	return sessions(t, f, op.MergeJoin(initial, merge), opts)
}

// sessions aggregates the records of a key in each session.
func sessions[K, V, A any](t *SessionWindowed[K, V], f folder[K, V, A], join op.Join[K, A], opts []Option) *Table[Windowed[K], A] {
	if t.failed() {
		return &Table[Windowed[K], A]{}
	}
	work := func(e *op.Env, name string, rows *op.SessionRows[K, A]) op.Next[K, V] {
		return op.Session(e, name, rows, window.OfSessions(t.w), f.fold, join)
	}
	return aggregate(t.g, f, sessionKind[K, A](t.w, t.emit), work, opts)
}

// sessionKind keeps a row for each key and session.
func sessionKind[K, A any](w SessionWindows, emit EmitStrategy) kind[K, Windowed[K], A, *op.SessionRows[K, A]] {
	return kind[K, Windowed[K], A, *op.SessionRows[K, A]]{
		allowed: setRetention,
		closes:  closes{after: window.Millis(window.OpenFor(w)), end: op.EndOfWindow[K]},
		store: func(st *step, name string) graph.Store {
			s := st.o.keyValue(name)
			window.SessionStore(&s, emit)
			st.retain(&s, window.OpenFor(w))
			return s
		},
		key:  serde.SessionWindowed[K],
		rows: op.OpenSessions[K, A],
		view: op.OpenSessionRows[K, A],
	}
}
