package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/serde"
)

// GroupedTable is a table on its way to an aggregation: all rows of a group meet
// in one task. Using it twice with a name shares the repartition topic.
type GroupedTable[K, V any] struct {
	b     *Builder
	out   *flow[K, op.Swap[V]] // nil after a mistake
	key   serde.Serde[K]
	value serde.Serde[V]
	name  string               // of the repartition topic, "" to name it after the store
	moved *flow[K, op.Swap[V]] // behind the topic of that name
}

func (g *GroupedTable[K, V]) failed() bool { return g == nil || g.out == nil }

// GroupTableBy groups the rows of a table by a new key, with a new value. They go
// through a repartition topic, which says what leaves a group and what enters
// one, in one message if the row stays in its group (KIP-904). The rows of t are
// kept in a store. Options: [Named].
//
//	table         --a:x------b:x------a:y------------->
//	GroupTableBy  --x:+(a)---x:+(b)---x:-(a)--y:+(a)-->   (value, key)
func GroupTableBy[K, V, K2, V2 any](t *Table[K, V], f func(key K, value V) (K2, V2), key serde.Serde[K2], value serde.Serde[V2], opts ...Option) *GroupedTable[K2, V2] {
	if t.failed() {
		return &GroupedTable[K2, V2]{}
	}
	st := t.b.next("KTABLE-SELECT", collect(opts), setName)
	st.need(f != nil, "the function is nil")
	st.need(key != nil && value != nil, "a serde is nil")
	st.processor(t.out.Name)
	if !st.bad {
		t.view.tell(st, true)
	}
	if st.bad {
		return &GroupedTable[K2, V2]{}
	}
	out := &flow[K2, op.Swap[V2]]{Name: st.name}
	wiring.Pass(t.out, out, func(a *assembly, next op.Next[K2, op.Swap[V2]]) (op.Next[K, op.Change[V]], error) {
		return op.Regroup(a.Env, st.name, f, key, t.view.versioned, next), nil
	})
	return &GroupedTable[K2, V2]{b: t.b, out: out, key: key, value: value, name: st.o.name}
}

// regroup is what differs between aggregations of a grouped table.
type regroup[K, V, A any] struct {
	prefix  string
	nilFunc bool
	value   serde.Serde[A]
	how     op.Regrouped[K, V, A]
}

// aggregateTable adds an aggregation behind g. Kafka Streams' order of numbering
// is store, sink, source, operator.
func aggregateTable[K, V, A any](g *GroupedTable[K, V], r regroup[K, V, A], opts []Option) *Table[K, A] {
	if g.failed() {
		return &Table[K, A]{}
	}
	b, o := g.b, collect(opts)
	store, given := o.store, o.has(setStore)
	if !given {
		store = b.generate("KTABLE-AGGREGATE-STATE-STORE") // of reductions too
	}
	sink, src := b.generate("KSTREAM-SINK"), b.generate("KSTREAM-SOURCE")
	st := b.next(r.prefix, o, setName|setTable)
	if o.has(setName) {
		sink, src = o.name+"-sink", o.name+"-source"
	}
	st.need(!r.nilFunc, "the function is nil")
	if b.requireNames && !given {
		st.check(fmt.Errorf("%w: of the store; give one with Store", ErrUnnamed))
	}
	value, err := pick(o.value, r.value)
	st.check(err)
	in := g.moved
	if in == nil {
		in = g.reroute(st, sink, src, store, given)
	}
	if st.bad {
		return &Table[K, A]{}
	}
	st.processor(in.Name)
	st.keepIn(store)
	if st.bad {
		return &Table[K, A]{}
	}
	out := &flow[K, op.Change[A]]{Name: st.name}
	state := &op.State[K, A]{Operator: st.name, Store: store, Key: g.key, Value: value}
	wiring.Pass(in, out, func(a *assembly, next op.Next[K, op.Change[A]]) (op.Next[K, op.Swap[V]], error) {
		return op.AggregateSwaps(a.Env, *state, r.how, next)
	})
	return &Table[K, A]{b: b, out: out, key: g.key, value: value, view: stored(st, state, view[K, A]{})}
}

// reroute puts the repartition topic of a grouping behind it, which is named
// after the store if the grouping has no name.
func (g *GroupedTable[K, V]) reroute(st *step, sink, src, store string, given bool) *flow[K, op.Swap[V]] {
	topic := store + "-repartition"
	if g.name != "" {
		topic = g.name + "-repartition"
	}
	if st.b.requireNames && !given && g.name == "" {
		st.check(fmt.Errorf("%w: of the repartition topic; give one with Named", ErrUnnamed))
	}
	in := through(st, g.out, hop[K, op.Swap[V]]{
		topic: topic, sink: sink, source: src, parents: []string{g.out.Name}, key: g.key, value: op.SwapSerde(g.value),
	})
	if g.name != "" {
		g.moved = in
	}
	return in
}

// hop is a way through an internal topic: the nodes on it, what is written, and
// to which partition if the key does not decide.
type hop[K, V any] struct {
	topic, sink, source string
	parents             []string
	key                 serde.Serde[K]
	value               serde.Serde[V]
	partition           *op.Place[K, V]
}

// through sends a flow through an internal topic.
func through[K, V any](st *step, from *flow[K, V], h hop[K, V]) *flow[K, V] {
	if st.bad {
		return nil
	}
	b := st.b
	for _, err := range []error{
		b.graph.AddRepartition(graph.Repartition{Name: h.topic}),
		b.graph.AddSink(h.sink, h.topic, h.parents...),
		b.graph.AddSource(h.source, h.topic),
	} {
		if err != nil {
			st.check(fmt.Errorf("%w: %w", ErrDuplicate, err))
			return nil
		}
	}
	from.Then(func(a *assembly) (op.Next[K, V], error) {
		name := graph.RepartitionTopic(a.Env.ApplicationID(), h.topic)
		return op.SinkAt(a.Env, h.sink, name, h.key, h.value, h.partition), nil
	})
	b.sources[h.topic] = &source{Name: h.source, Topics: []string{h.topic}, Internal: true}
	out := &flow[K, V]{Name: h.source}
	wiring.Feed(b.sources[h.topic], out, h.key, h.value)
	return out
}
