package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
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

// kind is where plain, windowed and session aggregations part: the store, the
// keys of its rows, and what opens it. R are its rows.
type kind[K, KR, A, R any] struct {
	allowed setting
	closes  closes // zero if it makes no windows
	store   func(st *step, name string) graph.Store
	key     func(serde.Serde[K]) serde.Serde[KR]
	rows    func(*op.Env, op.State[K, A], op.Next[KR, op.Change[A]]) (R, error)
	view    func(*op.Env, op.State[K, A]) (op.Lookup[KR, A], error)
}

// aggregate adds an aggregation behind g, whose processor work makes. Kafka
// Streams' order of numbering is store, operator, repartition.
func aggregate[K, V, KR, A, R any](g *Grouped[K, V], f folder[K, V, A], k kind[K, KR, A, R], work func(*op.Env, string, R) op.Next[K, V], opts []Option) *Table[KR, A] {
	b, o := g.s.b, collect(opts)
	store, given := b.storeName(f.prefix, o)
	st := b.next(f.prefix, o, setName|setState|k.allowed)
	st.need(!f.nilFunc, "the function is nil")
	st.named(given)
	value, err := f.value(o)
	st.check(err)
	desc := k.store(st, store)
	in := g.partitioned(st, store)
	if in.failed() || st.bad {
		return &Table[KR, A]{}
	}
	st.processor(in.out.Name)
	st.addStore(desc)
	st.connect(store)
	if st.bad {
		return &Table[KR, A]{}
	}
	out := &flow[KR, op.Change[A]]{Name: st.name}
	state := &op.State[K, A]{Operator: st.name, Store: store, Key: in.key, Value: value}
	in.out.Then(func(a *assembly) (op.Next[K, V], error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		rows, err := k.rows(a.Env, *state, next)
		if err != nil {
			return nil, err
		}
		return work(a.Env, st.name, rows), nil
	})
	return k.table(b, o, out, state)
}

// table is the handle on what an aggregation makes.
func (k kind[K, KR, A, R]) table(b *Builder, o *options, out *flow[KR, op.Change[A]], state *op.State[K, A]) *Table[KR, A] {
	if k.closes.end != nil {
		b.closes[out.Name] = k.closes
	}
	rows := kept(state.Store, &state.Old, func(a *assembly) (op.Lookup[KR, A], error) { return k.view(a.Env, *state) })
	rows.versioned, rows.history = o.has(setVersioned), o.history
	return &Table[KR, A]{b: b, out: out, key: k.key(state.Key), value: state.Value, view: rows}
}

// storeName returns the name of the store of an operator, and whether the user
// gave it.
func (b *Builder) storeName(prefix string, o *options) (name string, given bool) {
	if o.has(setStore) {
		return o.store, true
	}
	return b.generate(prefix + "-STATE-STORE"), false
}

// named checks that a store has a name if all of them need one.
func (s *step) named(given bool) {
	if s.b.requireNames && !given {
		s.check(fmt.Errorf("%w: of the store; give one with Store", ErrUnnamed))
	}
}

// partitioned returns the stream of g with all records of a key in one task. The
// repartition topic that this may take is named after the grouping, or else the
// store.
func (g *Grouped[K, V]) partitioned(st *step, store string) *Stream[K, V] {
	switch {
	case !g.s.rekeyed:
		return g.s
	case g.name != "":
		return reroute(st, g.s, g.name)
	default:
		return reroute(st, g.s, store)
	}
}

// plainKind keeps a row for each key.
func plainKind[K, A any]() kind[K, K, A, *op.Rows[K, A]] {
	return kind[K, K, A, *op.Rows[K, A]]{
		allowed: setVersioned,
		store:   func(st *step, name string) graph.Store { return st.o.keyValue(name) },
		key:     func(key serde.Serde[K]) serde.Serde[K] { return key },
		rows:    op.OpenTable[K, A],
		view:    op.OpenRows[K, A],
	}
}

// plain aggregates all records of a key.
func plain[K, V, A any](g *Grouped[K, V], f folder[K, V, A], opts []Option) *Table[K, A] {
	if g.failed() {
		return &Table[K, A]{}
	}
	work := func(e *op.Env, name string, rows *op.Rows[K, A]) op.Next[K, V] {
		return op.Aggregate(e, name, rows, f.fold)
	}
	return aggregate(g, f, plainKind[K, A](), work, opts)
}

// windowed aggregates the records of a key in each window.
func windowed[K, V, A any](t *TimeWindowed[K, V], f folder[K, V, A], opts []Option) *Table[Windowed[K], A] {
	if t.failed() {
		return &Table[Windowed[K], A]{}
	}
	work := func(e *op.Env, name string, rows *op.WindowRows[K, A]) op.Next[K, V] {
		return window.Fold(t.w, e, name, rows, f.fold)
	}
	return aggregate(t.g, f, windowKind[K, A](t.w, t.emit), work, opts)
}
