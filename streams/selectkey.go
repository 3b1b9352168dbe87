package streams

import "github.com/weirstream/weir/streams/internal/op"

// SelectKey gives each record a new key. Nothing moves yet: the next
// aggregation goes through a repartition topic. Options: [Named].
//
//	in         --(a,1)--(b,2)-->
//	SelectKey  --(1,1)--(2,2)-->   (the value)
func SelectKey[K, V, K2 any](s *Stream[K, V], f func(key K, value V) K2, opts ...Option) *Stream[K2, V] {
	return selectKey(s, f, opts)
}

func selectKey[K, V, K2 any](s *Stream[K, V], f func(K, V) K2, opts []Option) *Stream[K2, V] {
	sp := spec[K2, V]{prefix: "KSTREAM-KEY-SELECT", opts: opts, nilFunc: f == nil, rekeyed: true}
	if !s.failed() {
		sp.value = s.value
	}
	return add(s, sp, func(e *op.Env, name string, next op.Next[K2, V]) op.Next[K, V] {
		return op.SelectKey(e, name, f, next)
	})
}
