package streams

import "github.com/weirstream/weir/streams/internal/op"

// MapTableValues replaces the value of each row and keeps its key. Options: those
// of [Table.Filter].
//
//	table           --a:1-----b:2-----a gone-->
//	MapTableValues  --a:10----b:20----a gone-->   (times ten)
func MapTableValues[K, V, V2 any](t *Table[K, V], f func(key K, value V) V2, opts ...Option) *Table[K, V2] {
	return derive(t, derived[K, V, V2]{
		prefix: "KTABLE-MAPVALUES", opts: opts, nilFunc: f == nil,
		each: func(st *step, a *assembly) op.Each[K, V, V2] { return op.Replace(a.Env, st.name, f) },
	})
}
