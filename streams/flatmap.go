package streams

import (
	"iter"

	"github.com/weirstream/weir/streams/internal/op"
)

// FlatMap replaces each record by any number of others, which carry its
// timestamp and headers. The keys count as changed. Options: [Named].
//
//	in       --(a,xy)----------(b,z)-->
//	FlatMap  --(x,a)--(y,a)----(z,b)-->
func FlatMap[K, V, K2, V2 any](s *Stream[K, V], f func(key K, value V) iter.Seq2[K2, V2], opts ...Option) *Stream[K2, V2] {
	return add(s, spec[K2, V2]{prefix: "KSTREAM-FLATMAP", opts: opts, nilFunc: f == nil, rekeyed: true},
		func(e *op.Env, name string, next op.Next[K2, V2]) op.Next[K, V] {
			return op.FlatMap(e, name, f, next)
		})
}
