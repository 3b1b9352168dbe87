package streams

import (
	"errors"
	"strconv"

	"github.com/weirstream/weir/streams/internal/op"
)

// Branches is a stream being split; see [Stream.Split].
type Branches[K, V any] struct {
	s     *Stream[K, V]
	name  string
	cases []branch[K, V]
	last  bool // has a default
}

type branch[K, V any] struct {
	test func(K, V) bool
	out  *flow[K, V]
}

// Split sends each record to the first branch that takes it; a record that none
// takes is dropped. Options: [Named], whose name is the prefix of the names of
// the branches.
//
//	in                --1--2--3--4-->
//	Branch (even)     -----2-----4-->
//	Branch (over 2)   --------3----->
//	Default           --1----------->
func (s *Stream[K, V]) Split(opts ...Option) *Branches[K, V] {
	b := &Branches[K, V]{s: s}
	if s.failed() {
		return b
	}
	st := s.b.next("KSTREAM-BRANCH", collect(opts), setName)
	st.processor(s.out.Name)
	if st.bad {
		b.s = broken[K, V]()
		return b
	}
	b.name = st.name
	s.out.Then(func(a *assembly) (op.Next[K, V], error) {
		cases := make([]op.Case[K, V], len(b.cases))
		for i, c := range b.cases {
			next, err := c.out.Build(a)
			if err != nil {
				return nil, err
			}
			cases[i] = op.Case[K, V]{Test: c.test, Next: next}
		}
		return op.Split(a.Env, st.name, cases), nil
	})
	return b
}

// Branch returns the stream of the records that take, and no branch before,
// takes. Options: [Named], which is appended to the name of the split.
func (b *Branches[K, V]) Branch(take func(key K, value V) bool, opts ...Option) *Stream[K, V] {
	return b.add(take, take == nil, strconv.Itoa(len(b.cases)+1), opts)
}

// Default returns the stream of the records that no branch takes. It comes
// last. Options: [Named], which is appended to the name of the split.
func (b *Branches[K, V]) Default(opts ...Option) *Stream[K, V] {
	out := b.add(nil, false, "0", opts)
	b.last = true
	return out
}

func (b *Branches[K, V]) add(take func(K, V) bool, nilFunc bool, suffix string, opts []Option) *Stream[K, V] {
	if b.s.failed() {
		return broken[K, V]()
	}
	st := b.s.b.next("KSTREAM-BRANCH", collect(opts), setName)
	if st.o.has(setName) {
		suffix = st.o.name
	}
	st.name = b.name + suffix
	st.need(!nilFunc, "the function is nil")
	if b.last {
		st.check(errors.New("a branch after the default gets no records"))
	}
	st.processor(b.name)
	if st.bad {
		return broken[K, V]()
	}
	out := &flow[K, V]{Name: st.name}
	b.cases = append(b.cases, branch[K, V]{take, out})
	return &Stream[K, V]{b: b.s.b, out: out, key: b.s.key, value: b.s.value, rekeyed: b.s.rekeyed}
}
