package streams

import (
	"time"

	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/serde"
)

// Table is a handle on the latest value of each key, and on its changes.
type Table[K, V any] struct {
	b     *Builder
	out   *flow[K, op.Change[V]] // nil after a mistake
	key   serde.Serde[K]         // nil if not known
	value serde.Serde[V]
	view  view[K, V]
}

// view is how other operators read the rows of a table.
type view[K, V any] struct {
	// keep makes sure that the rows are stored, and returns the stores that a
	// reader is to be connected to.
	keep func(reader *step) []string
	open func(a *assembly) (op.Lookup[K, V], error)
	// tell asks the changes to carry the old values. With force the rows are kept
	// if that takes it. It reports whether the changes do.
	tell      func(reader *step, force bool) bool
	versioned bool // open answers as of a time, and changes can be late
	history   time.Duration
}

// kept is the view of a table whose rows are always stored. old is set if the
// changes are to carry the old values.
func kept[K, V any](store string, old *bool, open func(*assembly) (op.Lookup[K, V], error)) view[K, V] {
	return view[K, V]{
		keep: func(*step) []string { return []string{store} },
		open: open,
		tell: func(*step, bool) bool { *old = true; return true },
	}
}

func (t *Table[K, V]) failed() bool { return t == nil || t.out == nil }

// ToStream returns the changes of the table as records: the new value of a key,
// or a null value for a row that is gone. The keys of a windowed table are
// [Windowed]. Options: [Named].
//
//	table     --a:1----b:5----a:2----a gone-->
//	ToStream  --(a,1)--(b,5)--(a,2)--(a,~)--->
func (t *Table[K, V]) ToStream(opts ...Option) *Stream[K, V] {
	if t.failed() {
		return broken[K, V]()
	}
	st := t.b.next("KTABLE-TOSTREAM", collect(opts), setName)
	st.processor(t.out.Name)
	if st.bad {
		return broken[K, V]()
	}
	out := &flow[K, V]{Name: st.name}
	wiring.Pass(t.out, out, func(a *assembly, next op.Next[K, V]) (op.Next[K, op.Change[V]], error) {
		return op.ToStream(next), nil
	})
	return &Stream[K, V]{b: t.b, out: out, key: t.key, value: t.value}
}

// ToStreamBy is [Table.ToStream] with another key for each record. The keys count
// as changed. Options: [Named], of the first of its two operators.
//
//	table       --a:1----b:5----a:2-->
//	ToStreamBy  --(1,1)--(5,5)--(2,2)-->   (the value)
func ToStreamBy[K, V, K2 any](t *Table[K, V], f func(key K, value V) K2, opts ...Option) *Stream[K2, V] {
	return SelectKey(t.ToStream(opts...), f)
}
