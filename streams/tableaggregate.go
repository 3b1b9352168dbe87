package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// Count counts the rows of each group. Options: [Named], [Store], [Versioned],
// [NoCache], [InMemory], [NoChangelog], [TopicConfig], [ValueSerde] (of int64).
//
//	rows of groups  --x:+a--x:+b--x:-a--y:+a-->
//	Count           --x:1---x:2---x:1---y:1--->
func (g *GroupedTable[K, V]) Count(opts ...Option) *Table[K, int64] {
	return aggregateTable(g, regroup[K, V, int64]{
		prefix: "KTABLE-AGGREGATE", value: serde.Int64(),
		how: op.Regrouped[K, V, int64]{
			Add:      func(_ K, _ V, old int64, _ bool) int64 { return old + 1 },
			Subtract: func(_ K, _ V, old int64) int64 { return old - 1 },
		},
	}, opts)
}

// Reduce combines the rows of each group: add takes a row in, subtract takes one
// out. The first row of a group is the aggregate itself. Options: those of
// [GroupedTable.Count].
//
//	rows of groups  --x:+5--x:+2--x:-5--y:+5-->
//	Reduce (sum)    --x:5---x:7---x:2---y:5--->
func (g *GroupedTable[K, V]) Reduce(add, subtract func(aggregate, value V) V, opts ...Option) *Table[K, V] {
	if g.failed() {
		return &Table[K, V]{}
	}
	return aggregateTable(g, regroup[K, V, V]{
		prefix: "KTABLE-REDUCE", nilFunc: add == nil || subtract == nil, value: g.value,
		how: op.Regrouped[K, V, V]{
			Add: func(_ K, value V, old V, has bool) V {
				if !has {
					return value
				}
				return add(old, value)
			},
			Subtract: func(_ K, value V, old V) V { return subtract(old, value) },
		},
	}, opts)
}

// AggregateTable folds the rows of each group into a value of another type:
// initial makes the one before the first row, add takes a row in and subtract
// takes one out. Both may change and return the aggregate that they get. Options:
// those of [GroupedTable.Count].
//
//	rows of groups         --x:+a--x:+b----x:-a--y:+a-->
//	AggregateTable (list)  --x:[a]-x:[a b]-x:[b]-y:[a]->
func AggregateTable[K, V, A any](g *GroupedTable[K, V], initial func() A, add, subtract func(key K, value V, aggregate A) A, value serde.Serde[A], opts ...Option) *Table[K, A] {
	return aggregateTable(g, regroup[K, V, A]{
		prefix: "KTABLE-AGGREGATE", nilFunc: initial == nil || add == nil || subtract == nil, value: value,
		how: op.Regrouped[K, V, A]{
			Add: func(key K, value V, old A, has bool) A {
				if !has {
					old = initial()
				}
				return add(key, value, old)
			},
			Subtract: subtract,
		},
	}, opts)
}
