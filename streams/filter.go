package streams

import "github.com/weirstream/weir/streams/internal/op"

// Filter keeps the records for which keep is true. Options: [Named].
//
//	in      --1--2--3--4-->
//	Filter  -----2-----4-->   (even)
func (s *Stream[K, V]) Filter(keep func(key K, value V) bool, opts ...Option) *Stream[K, V] {
	return filter(s, keep, true, opts)
}

// FilterNot drops the records for which drop is true. Options: [Named].
//
//	in         --1--2--3--4-->
//	FilterNot  --1-----3----->   (even)
func (s *Stream[K, V]) FilterNot(drop func(key K, value V) bool, opts ...Option) *Stream[K, V] {
	return filter(s, drop, false, opts)
}

func filter[K, V any](s *Stream[K, V], test func(K, V) bool, want bool, opts []Option) *Stream[K, V] {
	return add(s, same(s, "KSTREAM-FILTER", test == nil, opts),
		func(e *op.Env, name string, next op.Next[K, V]) op.Next[K, V] {
			return op.Filter(e, name, test, want, next)
		})
}
