package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/processor"
)

// RowTransformer makes the value of each row of a table anew, with stores at
// hand; see [TransformTableValues].
type RowTransformer[K, V, V2 any] = processor.RowTransformer[K, V, V2]

// TransformTableValues replaces the value of each row by what a transformer of
// the user makes of it, which may read and write stores. supplier makes one for
// each task. A row that is gone is shown too. It is also called to read a row,
// and for old values, so it should answer the same for the same row. Options:
// those of [Table.Filter] and any number of [StoreRef].
//
//	table                 --a:1--b:2--a gone-->
//	TransformTableValues  --a:?--b:?--a:?----->
func TransformTableValues[K, V, V2 any](t *Table[K, V], supplier func() RowTransformer[K, V, V2], opts ...Option) *Table[K, V2] {
	return derive(t, derived[K, V, V2]{
		prefix: "KTABLE-TRANSFORMVALUES", opts: opts, allowed: setRef, nilFunc: supplier == nil,
		each: func(st *step, a *assembly) op.Each[K, V, V2] {
			r := op.NewTransform(a.Env, st.name, st.o.refs, supplier())
			a.Run(r.Init, r.Close)
			return r.Each
		},
	})
}
