package streams

import (
	"iter"

	"github.com/weirstream/weir/streams/internal/op"
)

// FlatMapValues replaces each record by any number of others with the same key,
// timestamp and headers. Options: [Named].
//
//	in             --(a,"x y")--------(b,"z")-->
//	FlatMapValues  --(a,x)--(a,y)-----(b,z)---->   (words)
func FlatMapValues[K, V, V2 any](s *Stream[K, V], f func(key K, value V) iter.Seq[V2], opts ...Option) *Stream[K, V2] {
	sp := spec[K, V2]{prefix: "KSTREAM-FLATMAPVALUES", opts: opts, nilFunc: f == nil}
	if !s.failed() {
		sp.key, sp.rekeyed = s.key, s.rekeyed
	}
	return add(s, sp, func(e *op.Env, name string, next op.Next[K, V2]) op.Next[K, V] {
		return op.FlatMapValues(e, name, f, next)
	})
}
