package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// Reduce combines the records of each key, two by two; the first one is the
// aggregate itself. Records with a null key or value are dropped. Options: those
// of [Grouped.Count]; [ValueSerde] decides how the store encodes.
//
//	in            --(a,1)--(b,5)--(a,2)-->
//	Reduce (sum)  --a:1----b:5----a:3---->
func (g *Grouped[K, V]) Reduce(combine func(aggregate, value V) V, opts ...Option) *Table[K, V] {
	if g.failed() {
		return &Table[K, V]{}
	}
	return plain(g, reducer[K](combine, g.s.value), opts)
}

// Reduce combines the records of each key in each window. Options: those of
// [TimeWindowed.Count].
//
//	in                         --(a,1)@1------(a,2)@8------(a,4)@12------>
//	Reduce (sum), Tumbling 10  --a[0,10):1@1--a[0,10):3@8--a[10,20):4@12->
func (t *TimeWindowed[K, V]) Reduce(combine func(aggregate, value V) V, opts ...Option) *Table[Windowed[K], V] {
	if t.failed() {
		return &Table[Windowed[K], V]{}
	}
	return windowed(t, reducer[K](combine, t.g.s.value), opts)
}

func reducer[K, V any](combine func(V, V) V, value serde.Serde[V]) folder[K, V, V] {
	return folder[K, V, V]{
		prefix: "KSTREAM-REDUCE", nilFunc: combine == nil, value: fixed(value), fold: op.Reduce[K](combine),
	}
}
