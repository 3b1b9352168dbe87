package streams

import "github.com/weirstream/weir/streams/internal/op"

// Peek shows each record to f and passes it on unchanged. f runs again when a
// record is processed again after a failure. Options: [Named].
//
//	in    --a--b--c-->
//	Peek  --a--b--c-->   (f sees a, b, c)
func (s *Stream[K, V]) Peek(f func(key K, value V), opts ...Option) *Stream[K, V] {
	return add(s, same(s, "KSTREAM-PEEK", f == nil, opts),
		func(e *op.Env, name string, next op.Next[K, V]) op.Next[K, V] {
			return op.Peek(e, name, f, next)
		})
}

// ForEach shows each record to f and ends the stream. Options: [Named].
//
//	in       --a--b--c-->
//	ForEach  (f sees a, b, c)
func (s *Stream[K, V]) ForEach(f func(key K, value V), opts ...Option) {
	add(s, same(s, "KSTREAM-FOREACH", f == nil, opts),
		func(e *op.Env, name string, next op.Next[K, V]) op.Next[K, V] {
			return op.Peek(e, name, f, next)
		})
}
