package streams

import "github.com/weirstream/weir/streams/internal/op"

// Map replaces key and value of each record. The keys count as changed: the
// next aggregation goes through a repartition topic. Options: [Named].
//
//	in   --(a,1)--(b,2)-->
//	Map  --(1,a)--(2,b)-->
func Map[K, V, K2, V2 any](s *Stream[K, V], f func(key K, value V) (K2, V2), opts ...Option) *Stream[K2, V2] {
	return add(s, spec[K2, V2]{prefix: "KSTREAM-MAP", opts: opts, nilFunc: f == nil, rekeyed: true},
		func(e *op.Env, name string, next op.Next[K2, V2]) op.Next[K, V] {
			return op.Map(e, name, f, next)
		})
}
