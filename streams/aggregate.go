package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// Aggregate folds the records of each key into a value of another type: initial
// makes the one before the first record, add returns it with one more record.
// add may change and return the aggregate that it gets. Records with a null key
// or value are dropped. Options: those of [Grouped.Count].
//
//	in                --(a,x)----(b,y)----(a,z)---->
//	Aggregate (list)  --a:[x]----b:[y]----a:[x z]-->
func Aggregate[K, V, A any](g *Grouped[K, V], initial func() A, add func(key K, value V, aggregate A) A, value serde.Serde[A], opts ...Option) *Table[K, A] {
	return plain(g, aggregator(initial, add, value), opts)
}

// AggregateWindow is [Aggregate] for each key and window. Options: those of
// [TimeWindowed.Count].
//
//	in                 --(a,x)@1--------(a,y)@8----------(a,z)@12-------->
//	list, Tumbling 10  --a[0,10):[x]@1--a[0,10):[x y]@8--a[10,20):[z]@12->
func AggregateWindow[K, V, A any](t *TimeWindowed[K, V], initial func() A, add func(key K, value V, aggregate A) A, value serde.Serde[A], opts ...Option) *Table[Windowed[K], A] {
	return windowed(t, aggregator(initial, add, value), opts)
}

func aggregator[K, V, A any](initial func() A, add func(K, V, A) A, value serde.Serde[A]) folder[K, V, A] {
	return folder[K, V, A]{
		prefix: "KSTREAM-AGGREGATE", nilFunc: initial == nil || add == nil,
		value: func(o *options) (serde.Serde[A], error) { return pick(o.value, value) },
		fold:  op.Aggregator(initial, add),
	}
}
