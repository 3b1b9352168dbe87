package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/serde"
)

// derived is what an operator that makes each row of a table from one of
// another has to say about itself.
type derived[K, V, V2 any] struct {
	prefix  string
	opts    []Option
	allowed setting // beside a name and what a store takes
	nilFunc bool
	value   serde.Serde[V2]
	quiet   bool // changes from nothing to nothing do not go on
	each    func(st *step, a *assembly) op.Each[K, V, V2]
}

// derive puts such an operator behind t. It keeps rows only in a store that the
// user names: others read through it.
func derive[K, V, V2 any](t *Table[K, V], d derived[K, V, V2]) *Table[K, V2] {
	if t.failed() {
		return &Table[K, V2]{}
	}
	st := t.b.next(d.prefix, collect(d.opts), setName|setTable|d.allowed)
	st.need(!d.nilFunc, "the function is nil")
	state := materialised(st, t.key, d.value, d.allowed)
	st.processor(t.out.Name)
	st.keepIn(state.Store)
	st.useRefs()
	if st.bad {
		return &Table[K, V2]{}
	}
	if d.quiet { // old values that cost no store tell what is nothing new
		state.Old = t.view.tell(st, false)
	}
	out := &flow[K, op.Change[V2]]{Name: st.name}
	each := func(a *assembly) op.Each[K, V, V2] {
		f, _ := wiring.Once(a, state, func() (op.Each[K, V, V2], error) { return d.each(st, a), nil })
		return f
	}
	wiring.Pass(t.out, out, func(a *assembly, next op.Next[K, op.Change[V2]]) (op.Next[K, op.Change[V]], error) {
		return op.Derive(a.Env, *state, each(a), d.quiet && !t.view.versioned, next)
	})
	through := view[K, V2]{
		keep:      t.view.keep,
		versioned: t.view.versioned,
		history:   t.view.history,
		open: func(a *assembly) (op.Lookup[K, V2], error) {
			rows, err := t.view.open(a)
			if err != nil {
				return nil, err
			}
			return op.Through(rows, each(a)), nil
		},
		tell: func(reader *step, force bool) bool {
			state.Old = t.view.tell(reader, force)
			return state.Old
		},
	}
	return &Table[K, V2]{b: t.b, out: out, key: t.key, value: state.Value, view: stored(st, state, through)}
}

// materialised is the state of a table that keeps its rows only if the user
// names a store. Options of a store do not apply to a table without one.
func materialised[K, V any](st *step, key serde.Serde[K], value serde.Serde[V], allowed setting) *op.State[K, V] {
	if !st.o.has(setStore) {
		st.check(st.o.only(setName | setValue | allowed))
	}
	keys, err := pick(nil, key)
	st.check(err)
	values, err := pick(st.o.value, value)
	st.check(err)
	return &op.State[K, V]{Operator: st.name, Store: st.o.store, Key: keys, Value: values}
}

// keepIn gives the operator a store for its rows, if it has a name.
func (s *step) keepIn(store string) {
	if store != "" {
		s.addStore(s.o.keyValue(store))
		s.connect(store)
	}
}

// stored is the view of a table with such a state; without a store it is that of
// what the rows are made from.
func stored[K, V any](st *step, state *op.State[K, V], otherwise view[K, V]) view[K, V] {
	if state.Store == "" {
		return otherwise
	}
	v := kept(state.Store, &state.Old, func(a *assembly) (op.Lookup[K, V], error) { return op.OpenRows(a.Env, *state) })
	v.versioned, v.history = st.o.has(setVersioned), st.o.history
	return v
}
