package streams

import (
	"errors"

	"github.com/weirstream/weir/streams/internal/op"
)

// Merge joins two streams of the same types into one. Records of one input keep
// their order; those of two inputs interleave by time within a task. The serdes
// of s count for what follows. Options: [Named].
//
//	s      --a-----b----->
//	other  -----1-----2-->
//	Merge  --a--1--b--2-->
func (s *Stream[K, V]) Merge(other *Stream[K, V], opts ...Option) *Stream[K, V] {
	if s.failed() || other.failed() {
		return broken[K, V]()
	}
	st := s.b.next("KSTREAM-MERGE", collect(opts), setName)
	if s.b != other.b {
		st.check(errors.New("the streams belong to different builders"))
	}
	st.processor(s.out.Name, other.out.Name)
	if st.bad {
		return broken[K, V]()
	}
	out := &flow[K, V]{Name: st.name}
	through := func(a *assembly) (op.Next[K, V], error) { return out.Build(a) }
	s.out.Then(through)
	other.out.Then(through)
	return &Stream[K, V]{b: s.b, out: out, key: s.key, value: s.value, rekeyed: s.rekeyed || other.rekeyed}
}
