//go:build go1.27

package streams

import (
	"iter"

	"github.com/weirstream/weir/streams/serde"
)

// The chained spelling: methods of the same names and meanings as the functions
// that bring in new types.

// Map is the function [Map].
func (s *Stream[K, V]) Map[K2, V2 any](f func(key K, value V) (K2, V2), opts ...Option) *Stream[K2, V2] {
	return Map(s, f, opts...)
}

// MapValues is the function [MapValues].
func (s *Stream[K, V]) MapValues[V2 any](f func(key K, value V) V2, opts ...Option) *Stream[K, V2] {
	return MapValues(s, f, opts...)
}

// FlatMap is the function [FlatMap].
func (s *Stream[K, V]) FlatMap[K2, V2 any](f func(key K, value V) iter.Seq2[K2, V2], opts ...Option) *Stream[K2, V2] {
	return FlatMap(s, f, opts...)
}

// FlatMapValues is the function [FlatMapValues].
func (s *Stream[K, V]) FlatMapValues[V2 any](f func(key K, value V) iter.Seq[V2], opts ...Option) *Stream[K, V2] {
	return FlatMapValues(s, f, opts...)
}

// SelectKey is the function [SelectKey].
func (s *Stream[K, V]) SelectKey[K2 any](f func(key K, value V) K2, opts ...Option) *Stream[K2, V] {
	return SelectKey(s, f, opts...)
}

// Process is the function [Process].
func (s *Stream[K, V]) Process[K2, V2 any](supplier func() Processor[K, V, K2, V2], opts ...Option) *Stream[K2, V2] {
	return Process(s, supplier, opts...)
}

// ProcessValues is the function [ProcessValues].
func (s *Stream[K, V]) ProcessValues[V2 any](supplier func() FixedProcessor[K, V, V2], opts ...Option) *Stream[K, V2] {
	return ProcessValues(s, supplier, opts...)
}

// GroupBy is the function [GroupBy].
func (s *Stream[K, V]) GroupBy[K2 any](f func(key K, value V) K2, key serde.Serde[K2], opts ...Option) *Grouped[K2, V] {
	return GroupBy(s, f, key, opts...)
}

// Aggregate is the function [Aggregate].
func (g *Grouped[K, V]) Aggregate[A any](initial func() A, add func(key K, value V, aggregate A) A, value serde.Serde[A], opts ...Option) *Table[K, A] {
	return Aggregate(g, initial, add, value, opts...)
}

// Aggregate is the function [AggregateWindow].
func (t *TimeWindowed[K, V]) Aggregate[A any](initial func() A, add func(key K, value V, aggregate A) A, value serde.Serde[A], opts ...Option) *Table[Windowed[K], A] {
	return AggregateWindow(t, initial, add, value, opts...)
}

// Join is the function [Join].
func (s *Stream[K, V]) Join[V2, O any](right *Stream[K, V2], join func(key K, left V, right V2) O, w JoinWindows, opts ...Option) *Stream[K, O] {
	return Join(s, right, join, w, opts...)
}

// LeftJoin is the function [LeftJoin].
func (s *Stream[K, V]) LeftJoin[V2, O any](right *Stream[K, V2], join func(key K, left V, right *V2) O, w JoinWindows, opts ...Option) *Stream[K, O] {
	return LeftJoin(s, right, join, w, opts...)
}

// OuterJoin is the function [OuterJoin].
func (s *Stream[K, V]) OuterJoin[V2, O any](right *Stream[K, V2], join func(key K, left *V, right *V2) O, w JoinWindows, opts ...Option) *Stream[K, O] {
	return OuterJoin(s, right, join, w, opts...)
}

// JoinTable is the function [JoinTable].
func (s *Stream[K, V]) JoinTable[VT, O any](t *Table[K, VT], join func(key K, value V, row VT) O, opts ...Option) *Stream[K, O] {
	return JoinTable(s, t, join, opts...)
}

// LeftJoinTable is the function [LeftJoinTable].
func (s *Stream[K, V]) LeftJoinTable[VT, O any](t *Table[K, VT], join func(key K, value V, row *VT) O, opts ...Option) *Stream[K, O] {
	return LeftJoinTable(s, t, join, opts...)
}

// Aggregate is the function [AggregateSession].
func (t *SessionWindowed[K, V]) Aggregate[A any](initial func() A, add func(key K, value V, aggregate A) A, merge func(key K, a, b A) A, value serde.Serde[A], opts ...Option) *Table[Windowed[K], A] {
	return AggregateSession(t, initial, add, merge, value, opts...)
}

// Cogroup is the function [Cogroup].
func (g *Grouped[K, V]) Cogroup[A any](add func(key K, value V, aggregate A) A) *Cogrouped[K, A] {
	return Cogroup(g, add)
}

// Cogroup is the function [CogroupWith].
func (c *Cogrouped[K, A]) Cogroup[V any](g *Grouped[K, V], add func(key K, value V, aggregate A) A) *Cogrouped[K, A] {
	return CogroupWith(c, g, add)
}

// JoinGlobal is the function [JoinGlobal].
func (s *Stream[K, V]) JoinGlobal[KG, VG, O any](g *GlobalTable[KG, VG], rowKey func(key K, value V) (KG, bool), join func(key K, value V, row VG) O, opts ...Option) *Stream[K, O] {
	return JoinGlobal(s, g, rowKey, join, opts...)
}

// LeftJoinGlobal is the function [LeftJoinGlobal].
func (s *Stream[K, V]) LeftJoinGlobal[KG, VG, O any](g *GlobalTable[KG, VG], rowKey func(key K, value V) (KG, bool), join func(key K, value V, row *VG) O, opts ...Option) *Stream[K, O] {
	return LeftJoinGlobal(s, g, rowKey, join, opts...)
}

// MapValues is the function [MapTableValues].
func (t *Table[K, V]) MapValues[V2 any](f func(key K, value V) V2, opts ...Option) *Table[K, V2] {
	return MapTableValues(t, f, opts...)
}

// TransformValues is the function [TransformTableValues].
func (t *Table[K, V]) TransformValues[V2 any](supplier func() RowTransformer[K, V, V2], opts ...Option) *Table[K, V2] {
	return TransformTableValues(t, supplier, opts...)
}

// ToStreamBy is the function [ToStreamBy].
func (t *Table[K, V]) ToStreamBy[K2 any](f func(key K, value V) K2, opts ...Option) *Stream[K2, V] {
	return ToStreamBy(t, f, opts...)
}

// GroupBy is the function [GroupTableBy].
func (t *Table[K, V]) GroupBy[K2, V2 any](f func(key K, value V) (K2, V2), key serde.Serde[K2], value serde.Serde[V2], opts ...Option) *GroupedTable[K2, V2] {
	return GroupTableBy(t, f, key, value, opts...)
}

// Aggregate is the function [AggregateTable].
func (g *GroupedTable[K, V]) Aggregate[A any](initial func() A, add, subtract func(key K, value V, aggregate A) A, value serde.Serde[A], opts ...Option) *Table[K, A] {
	return AggregateTable(g, initial, add, subtract, value, opts...)
}

// Join is the function [JoinTables].
func (t *Table[K, V]) Join[R, VR any](right *Table[K, R], f func(key K, left V, right R) VR, opts ...Option) *Table[K, VR] {
	return JoinTables(t, right, f, opts...)
}

// LeftJoin is the function [LeftJoinTables].
func (t *Table[K, V]) LeftJoin[R, VR any](right *Table[K, R], f func(key K, left V, right *R) VR, opts ...Option) *Table[K, VR] {
	return LeftJoinTables(t, right, f, opts...)
}

// OuterJoin is the function [OuterJoinTables].
func (t *Table[K, V]) OuterJoin[R, VR any](right *Table[K, R], f func(key K, left *V, right *R) VR, opts ...Option) *Table[K, VR] {
	return OuterJoinTables(t, right, f, opts...)
}

// JoinForeign is the function [JoinForeign].
func (t *Table[K, V]) JoinForeign[KF, R, VR any](right *Table[KF, R], foreign func(key K, left V) (KF, bool), f func(key K, left V, right R) VR, opts ...Option) *Table[K, VR] {
	return JoinForeign(t, right, foreign, f, opts...)
}

// LeftJoinForeign is the function [LeftJoinForeign].
func (t *Table[K, V]) LeftJoinForeign[KF, R, VR any](right *Table[KF, R], foreign func(key K, left V) (KF, bool), f func(key K, left V, right *R) VR, opts ...Option) *Table[K, VR] {
	return LeftJoinForeign(t, right, foreign, f, opts...)
}
