package streams

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/serde"
)

// Cogrouped is several grouped streams on their way into one aggregate.
type Cogrouped[K, A any] struct {
	b       *Builder // nil after a mistake
	members []member[K, A]
}

// member is one stream of a cogroup.
type member[K, A any] struct {
	nilFunc bool
	// enter returns the node that feeds the member, in the tasks of its keys, and
	// lets work put its records into rows.
	enter func(st *step, store string, work func(a *assembly) (*cogroupWork[K, A], error)) (parent string, key serde.Serde[K])
}

// cogroupWork is a member in a task: one of the three kinds of rows.
type cogroupWork[K, A any] struct {
	e        *op.Env
	operator string
	initial  func() A

	plain    *op.Rows[K, A]
	windowed *op.WindowRows[K, A]
	windows  Windows
	sessions *op.SessionRows[K, A]
	session  SessionWindows
	join     op.Join[K, A]
}

// Cogroup starts to aggregate several streams into one row for each key: add
// returns the aggregate with one more record of g. The other streams follow by
// [CogroupWith].
//
//	one            --(a,x)--------(b,y)------------->
//	two            --------(a,1)---------(a,2)------>
//	Cogroup (list) --a:[x]-a:[x 1]-b:[y]-a:[x 1 2]-->
func Cogroup[K, V, A any](g *Grouped[K, V], add func(key K, value V, aggregate A) A) *Cogrouped[K, A] {
	if g.failed() {
		return &Cogrouped[K, A]{}
	}
	return CogroupWith(&Cogrouped[K, A]{b: g.s.b}, g, add)
}

// CogroupWith adds another stream, with the same keys and any values.
func CogroupWith[K, V, A any](c *Cogrouped[K, A], g *Grouped[K, V], add func(key K, value V, aggregate A) A) *Cogrouped[K, A] {
	if c.failed() || g.failed() {
		return &Cogrouped[K, A]{}
	}
	if g.s.b != c.b && c.b.wrong("CogroupWith "+g.s.out.Name, errors.New("the streams belong to different builders")) {
		return &Cogrouped[K, A]{}
	}
	m := member[K, A]{nilFunc: add == nil}
	m.enter = func(st *step, store string, work func(a *assembly) (*cogroupWork[K, A], error)) (string, serde.Serde[K]) {
		in := g.partitioned(st, store)
		if in.failed() {
			return "", nil
		}
		in.out.Then(func(a *assembly) (op.Next[K, V], error) {
			w, err := work(a)
			if err != nil {
				return nil, err
			}
			return fold(w, op.Aggregator(w.initial, add)), nil
		})
		return in.out.Name, in.key
	}
	return &Cogrouped[K, A]{b: c.b, members: append(slices.Clip(c.members), m)}
}

func fold[K, V, A any](w *cogroupWork[K, A], f op.Fold[K, V, A]) op.Next[K, V] {
	switch {
	case w.windowed != nil:
		return window.Fold(w.windows, w.e, w.operator, w.windowed, f)
	case w.sessions != nil:
		return op.Session(w.e, w.operator, w.sessions, window.OfSessions(w.session), f, w.join)
	default:
		return op.Aggregate(w.e, w.operator, w.plain, f)
	}
}

func (c *Cogrouped[K, A]) failed() bool { return c == nil || c.b == nil }

// Aggregate folds the records of all streams of each key into one value; initial
// makes the one before the first record. Options: those of [Grouped.Count].
func (c *Cogrouped[K, A]) Aggregate(initial func() A, value serde.Serde[A], opts ...Option) *Table[K, A] {
	return cogroup(c, initial, value, plainKind[K, A](), func(rows *op.Rows[K, A]) *cogroupWork[K, A] {
		return &cogroupWork[K, A]{plain: rows}
	}, opts)
}

// CogroupedWindows are cogrouped streams cut into windows.
type CogroupedWindows[K, A any] struct {
	c *Cogrouped[K, A]
	w Windows
}

// WindowedBy cuts the streams into windows of record time.
func (c *Cogrouped[K, A]) WindowedBy(w Windows) *CogroupedWindows[K, A] {
	if c.failed() || c.b.wrong("WindowedBy of a cogroup", window.Check(w)) {
		return &CogroupedWindows[K, A]{}
	}
	return &CogroupedWindows[K, A]{c: c, w: w}
}

// Aggregate is [Cogrouped.Aggregate] for each key and window. Options: those of
// [TimeWindowed.Count].
func (t *CogroupedWindows[K, A]) Aggregate(initial func() A, value serde.Serde[A], opts ...Option) *Table[Windowed[K], A] {
	return cogroup(t.c, initial, value, windowKind[K, A](t.w, OnWindowUpdate), func(rows *op.WindowRows[K, A]) *cogroupWork[K, A] {
		return &cogroupWork[K, A]{windowed: rows, windows: t.w}
	}, opts)
}

// CogroupedSessions are cogrouped streams cut into sessions.
type CogroupedSessions[K, A any] struct {
	c *Cogrouped[K, A]
	w SessionWindows
}

// WindowedBySession cuts the records of each key, of all streams together, into
// sessions.
func (c *Cogrouped[K, A]) WindowedBySession(w SessionWindows) *CogroupedSessions[K, A] {
	if c.failed() || c.b.wrong("WindowedBySession of a cogroup", window.CheckSessions(w)) {
		return &CogroupedSessions[K, A]{}
	}
	return &CogroupedSessions[K, A]{c: c, w: w}
}

// Aggregate is [Cogrouped.Aggregate] for each key and session; merge is that of
// [AggregateSession]. Options: those of [TimeWindowed.Count].
func (t *CogroupedSessions[K, A]) Aggregate(initial func() A, merge func(key K, a, b A) A, value serde.Serde[A], opts ...Option) *Table[Windowed[K], A] {
	if merge == nil {
		initial = nil
	}
	return cogroup(t.c, initial, value, sessionKind[K, A](t.w, OnWindowUpdate), func(rows *op.SessionRows[K, A]) *cogroupWork[K, A] {
		return &cogroupWork[K, A]{sessions: rows, session: t.w, join: op.MergeJoin(initial, merge)}
	}, opts)
}

// cogroup adds an aggregation of several streams. Kafka Streams' order of
// numbering is store, repartitions, an operator for each stream, and one that
// merges them.
func cogroup[K, KR, A, R any](c *Cogrouped[K, A], initial func() A, value serde.Serde[A], k kind[K, KR, A, R], use func(R) *cogroupWork[K, A], opts []Option) *Table[KR, A] {
	if c.failed() {
		return &Table[KR, A]{}
	}
	b, o := c.b, collect(opts)
	store, given := b.storeName("COGROUPKSTREAM-AGGREGATE", o)
	out := &flow[KR, op.Change[A]]{}
	state := &op.State[K, A]{Store: store}
	names := make([]string, len(c.members)) // of the operators, known once all repartitions are
	work := func(i int) func(a *assembly) (*cogroupWork[K, A], error) {
		return func(a *assembly) (*cogroupWork[K, A], error) {
			rows, err := wiring.Once(a, store, func() (rows R, err error) {
				next, err := out.Build(a)
				if err != nil {
					return rows, err
				}
				return k.rows(a.Env, *state, next)
			})
			if err != nil {
				return nil, err
			}
			w := use(rows)
			w.e, w.operator, w.initial = a.Env, names[i], initial
			return w, nil
		}
	}
	st := &step{b: b, o: o, name: "the cogroup"}
	st.need(initial != nil, "the function is nil")
	st.named(given)
	var err error
	state.Value, err = pick(o.value, value)
	st.check(err)
	parents := make([]string, len(c.members))
	for i, m := range c.members {
		st.need(!m.nilFunc, "the function is nil")
		var key serde.Serde[K]
		if parents[i], key = m.enter(st, store, work(i)); i == 0 {
			state.Key = key
		}
	}
	for i := range c.members {
		names[i] = b.cogroupNode("COGROUPKSTREAM-AGGREGATE", o, "-cogroup-agg-"+strconv.Itoa(i), st, parents[i])
	}
	merge := b.cogroupNode("COGROUPKSTREAM-MERGE", o, "-cogroup-merge", st, names...)
	st.check(o.only(setName | setState | k.allowed))
	st.addStore(k.store(st, store))
	for _, name := range names {
		if !st.bad {
			st.check(b.graph.Connect(name, store))
		}
	}
	if st.bad {
		return &Table[KR, A]{}
	}
	b.graph.Copartition(fmt.Sprintf("%s (%s)", merge, caller()), names...)
	out.Name, state.Operator = merge, merge
	return k.table(b, o, out, state)
}

// cogroupNode adds one of the nodes of a cogroup, which share one given name.
func (b *Builder) cogroupNode(prefix string, o *options, suffix string, st *step, parents ...string) string {
	name := b.generate(prefix)
	if o.has(setName) {
		name = o.name + suffix
	}
	if st.bad {
		return name
	}
	st.check(graph.Legal(name))
	st.check(b.graph.AddProcessor(name, parents...))
	return name
}
