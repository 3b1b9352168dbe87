package streams

import "github.com/weirstream/weir/streams/internal/op"

// MapValues replaces the value of each record and keeps its key. Options:
// [Named].
//
//	in         --(a,1)--(b,2)-->
//	MapValues  --(a,10)-(b,20)->   (times ten)
func MapValues[K, V, V2 any](s *Stream[K, V], f func(key K, value V) V2, opts ...Option) *Stream[K, V2] {
	sp := spec[K, V2]{prefix: "KSTREAM-MAPVALUES", opts: opts, nilFunc: f == nil}
	if !s.failed() {
		sp.key, sp.rekeyed = s.key, s.rekeyed
	}
	return add(s, sp, func(e *op.Env, name string, next op.Next[K, V2]) op.Next[K, V] {
		return op.MapValues(e, name, f, next)
	})
}
