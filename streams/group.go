package streams

import (
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/serde"
)

// Grouped is a stream on its way to an aggregation: all records of one key meet
// in one task. Using it twice with a name shares the repartition topic; without
// a name each aggregation has its own.
type Grouped[K, V any] struct {
	s    *Stream[K, V]
	name string // of the repartition topic, "" to name it after the store
}

func (g *Grouped[K, V]) failed() bool { return g == nil || g.s.failed() }

// GroupBy groups by a new key, which goes through a repartition topic:
// "<application>-<name>-repartition". Options: [Named], [ValueSerde].
//
//	in       --(a,x)--(b,x)--(c,y)-->
//	GroupBy  --(x:x)--(x:x)--(y:y)-->   (the value)
func GroupBy[K, V, K2 any](s *Stream[K, V], f func(key K, value V) K2, key serde.Serde[K2], opts ...Option) *Grouped[K2, V] {
	if s.failed() {
		return &Grouped[K2, V]{}
	}
	o := collect(opts)
	var named []Option
	if o.has(setName) {
		named = append(named, Named(o.name))
	}
	out := selectKey(s, f, named)
	if out.failed() {
		return &Grouped[K2, V]{}
	}
	check := &step{b: s.b, name: out.out.Name, o: o}
	check.check(o.only(setName | setValue))
	check.need(key != nil, "a serde is nil")
	out.key = key
	return group(check, out)
}

// GroupByKey groups by the key that the records have. Only if an operator
// before may have changed it do they go through a repartition topic. Options:
// [Named], [KeySerde], [ValueSerde].
//
//	in          --(a,1)--(b,2)--(a,3)-->
//	GroupByKey  --(a:1)--(b:2)--(a:3)-->
func GroupByKey[K, V any](s *Stream[K, V], opts ...Option) *Grouped[K, V] {
	if s.failed() {
		return &Grouped[K, V]{}
	}
	o := collect(opts)
	check := &step{b: s.b, name: "GroupByKey of " + s.out.Name, o: o}
	check.check(o.only(setName | setKey | setValue))
	var err error
	again := *s
	again.key, err = pick(o.key, s.key)
	check.check(err)
	return group(check, &again)
}

// group finishes a grouping: s is grouped by its key.
func group[K, V any](check *step, s *Stream[K, V]) *Grouped[K, V] {
	o := check.o
	if o.has(setName) {
		check.check(graph.Legal(o.name))
	}
	var err error
	s.value, err = pick(o.value, s.value)
	check.check(err)
	if check.bad {
		return &Grouped[K, V]{}
	}
	return &Grouped[K, V]{s: s, name: o.name}
}
