package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// folder is what differs between aggregations: how a record changes the
// aggregate, and how the aggregate is stored.
type folder[K, V, A any] struct {
	prefix  string // of generated names: the operator's, and with STATE-STORE its store's
	nilFunc bool   // the caller left out a function
	value   func(*options) (serde.Serde[A], error)
	fold    op.Fold[K, V, A]
}

// fixed returns the serde of an aggregate that the operator itself decides.
func fixed[A any](s serde.Serde[A]) func(*options) (serde.Serde[A], error) {
	return func(o *options) (serde.Serde[A], error) { return pick(o.value, s) }
}

// wiring is where plain and windowed aggregations part: the store, and the
// processor on it.
type wiring[K, V, KR, A any] struct {
	allowed setting
	store   func(st *step, name string) graph.Store
	build   func(*op.Env, op.State[K, A], op.Fold[K, V, A], op.Next[KR, op.Change[A]]) (op.Next[K, V], error)
	open    func(*op.Env, op.State[K, A]) (op.Lookup[KR, A], error)
}

// aggregate adds an aggregation behind g. Kafka Streams' order of numbering is
// store, operator, repartition.
func aggregate[K, V, KR, A any](g *Grouped[K, V], f folder[K, V, A], w wiring[K, V, KR, A], opts []Option) *Table[KR, A] {
	b, o := g.s.b, collect(opts)
	store, given := o.store, o.has(setStore)
	if !given {
		store = b.generate(f.prefix + "-STATE-STORE")
	}
	st := b.next(f.prefix, o, setName|setState|w.allowed)
	st.need(!f.nilFunc, "the function is nil")
	if b.requireNames && !given {
		st.check(fmt.Errorf("%w: of the store; give one with Store", ErrUnnamed))
	}
	value, err := f.value(o)
	st.check(err)
	desc := w.store(st, store)
	in := g.s
	if in.rekeyed {
		base := store
		if g.name != "" {
			base = g.name
		}
		in = reroute(st, in, base)
	}
	if in.failed() || st.bad {
		return &Table[KR, A]{}
	}
	st.processor(in.out.name)
	st.addStore(desc)
	st.connect(store)
	if st.bad {
		return &Table[KR, A]{}
	}
	out := &flow[KR, op.Change[A]]{name: st.name}
	state := op.State[K, A]{Operator: st.name, Store: store, Key: in.key, Value: value}
	in.out.then(func(a *assembly) (op.Next[K, V], error) {
		next, err := out.build(a)
		if err != nil {
			return nil, err
		}
		return w.build(a.env, state, f.fold, next)
	})
	rows := kept(store, &state.Old, func(e *op.Env) (op.Lookup[KR, A], error) { return w.open(e, state) })
	rows.versioned = o.has(setVersioned)
	return &Table[KR, A]{b: b, out: out, value: value, view: rows}
}

// plain aggregates all records of a key.
func plain[K, V, A any](g *Grouped[K, V], f folder[K, V, A], opts []Option) *Table[K, A] {
	if g.failed() {
		return &Table[K, A]{}
	}
	t := aggregate(g, f, wiring[K, V, K, A]{
		allowed: setVersioned,
		store: func(st *step, name string) graph.Store { return st.o.keyValue(name) },
		build: op.Aggregate[K, V, A],
		open:  op.OpenRows[K, A],
	}, opts)
	t.key = g.s.key
	return t
}

// windowed aggregates the records of a key in each window.
func windowed[K, V, A any](t *TimeWindowed[K, V], f folder[K, V, A], opts []Option) *Table[Windowed[K], A] {
	if t.failed() {
		return &Table[Windowed[K], A]{}
	}
	return aggregate(t.g, f, wiring[K, V, Windowed[K], A]{
		allowed: setRetention,
		store:   t.w.store,
		build: func(e *op.Env, s op.State[K, A], fold op.Fold[K, V, A], next op.Next[Windowed[K], op.Change[A]]) (op.Next[K, V], error) {
			return op.Window(e, s, t.w.millis(), fold, next)
		},
		open: op.OpenWindowRows[K, A],
	}, opts)
}
