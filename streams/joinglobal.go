package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// GlobalTable is a handle on a table that every instance of the application has
// whole, whatever the partitions of its topic.
type GlobalTable[K, V any] struct {
	b     *Builder
	store string // "" after a mistake
	topic string
	key   serde.Serde[K]
	value serde.Serde[V]
}

// GlobalTableFrom reads a topic as a global table. All of it is read before the
// first task runs; then it follows the topic, beside the tasks and without
// regard to their time. The topic is its changelog. Options: [Named], [Store].
//
//	topic            --(k,1)--(l,5)--(k,2)--(k,~)-->
//	GlobalTableFrom  --k:1----l:5----k:2----k gone-->
func GlobalTableFrom[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...Option) *GlobalTable[K, V] {
	o := collect(opts)
	store := o.store
	if !o.has(setStore) {
		store = b.generate(topic + "-STATE-STORE")
	}
	source := b.generate("KSTREAM-SOURCE")
	if o.has(setName) {
		source = o.name + "-source"
	}
	s := b.next("KTABLE-SOURCE", o, setName|setStore)
	s.need(key != nil && value != nil, "a serde is nil")
	s.check(graph.Legal(topic))
	s.check(graph.Legal(store))
	if s.bad {
		return &GlobalTable[K, V]{}
	}
	if err := b.graph.AddGlobal(source, s.name, graph.Global{Topic: topic, Store: store}); err != nil {
		s.check(fmt.Errorf("%w: %w", ErrDuplicate, err))
		return &GlobalTable[K, V]{}
	}
	return &GlobalTable[K, V]{b: b, store: store, topic: topic, key: key, value: value}
}

func (g *GlobalTable[K, V]) failed() bool { return g == nil || g.store == "" }

// JoinGlobal joins each record with a row of a global table, as the table is at
// that moment: the one whose key rowKey returns, false for none. A record
// without a row is dropped. Nothing goes through a repartition topic, and
// partition counts do not matter. Options: [Named].
//
//	s                        --(1,x)-----------(2,x)-->
//	g                        ---------(x,9)----------->
//	JoinGlobal by the value  ------------------(2,x9)->
func JoinGlobal[K, V, KG, VG, O any](s *Stream[K, V], g *GlobalTable[KG, VG], rowKey func(key K, value V) (KG, bool), join func(key K, value V, row VG) O, opts ...Option) *Stream[K, O] {
	return joinGlobal(s, g, rowKey, rowJoiner[K, V, VG, O]{nilFunc: join == nil, both: join}, opts)
}

// LeftJoinGlobal is [JoinGlobal] and shows records without a row as well, with
// a nil row.
//
//	s                            --(1,x)---------(2,x)-->
//	g                            ---------(x,9)--------->
//	LeftJoinGlobal by the value  --(1,x)---------(2,x9)->
func LeftJoinGlobal[K, V, KG, VG, O any](s *Stream[K, V], g *GlobalTable[KG, VG], rowKey func(key K, value V) (KG, bool), join func(key K, value V, row *VG) O, opts ...Option) *Stream[K, O] {
	return joinGlobal(s, g, rowKey, leftRows(join), opts)
}

func joinGlobal[K, V, KG, VG, O any](s *Stream[K, V], g *GlobalTable[KG, VG], rowKey func(K, V) (KG, bool), f rowJoiner[K, V, VG, O], opts []Option) *Stream[K, O] {
	if s.failed() || g.failed() {
		return broken[K, O]()
	}
	st := s.b.next("KSTREAM-LEFTJOIN", collect(opts), setName)
	st.need(s.b == g.b, "stream and table belong to different builders")
	st.need(!f.nilFunc && rowKey != nil, "the function is nil")
	st.processor(s.out.Name)
	if st.bad {
		return broken[K, O]()
	}
	if f.alone != nil {
		s.b.graph.TakeNullKeys(st.name)
	}
	join := op.RowJoin[K, V, KG, VG, O]{
		Operator: st.name, Both: f.both, Alone: f.alone,
		Key: func(r *processor.Record[K, V]) (KG, bool) { return rowKey(r.Key, r.Value) },
	}
	rows := func(a *assembly) (op.Lookup[KG, VG], error) {
		return op.OpenGlobalRows(a.Env, g.store, g.topic, g.key, g.value)
	}
	return lookUp(s, join, view[KG, VG]{open: rows}, s.rekeyed, func(_ *op.Env, next op.Next[K, V]) (op.Next[K, V], error) { return next, nil })
}
