package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// Count counts the records of each key. Records with a null key or value are
// dropped. Options: [Named], [Store], [Versioned], [NoCache], [InMemory],
// [NoChangelog], [TopicConfig], [ValueSerde] (of int64).
//
//	in     --(a,x)--(b,y)--(a,z)-->
//	Count  --a:1----b:1----a:2---->
func (g *Grouped[K, V]) Count(opts ...Option) *Table[K, int64] {
	return plain(g, counter[K, V](), opts)
}

// Count counts the records of each key in each window. Records with a null key
// are dropped, and so are, window by window, those that come after the grace.
// The time of a row is that of its latest record. Options: those of
// [Grouped.Count] and [Retention].
//
//	in                  --(a,x)@1------(a,y)@8------(a,z)@12------>
//	Count, Tumbling 10  --a[0,10):1@1--a[0,10):2@8--a[10,20):1@12->
func (t *TimeWindowed[K, V]) Count(opts ...Option) *Table[Windowed[K], int64] {
	return windowed(t, counter[K, V](), opts)
}

func counter[K, V any]() folder[K, V, int64] {
	return folder[K, V, int64]{prefix: "KSTREAM-AGGREGATE", value: fixed(serde.Int64()), fold: op.Count[K, V]}
}
