package streams

import "github.com/weirstream/weir/streams/internal/op"

// Process hands each record to a processor of the user, which forwards what it
// likes. supplier makes one processor for each task. The keys count as changed.
// Options: [Named] and any number of [StoreRef], [WindowStoreRef] and
// [SessionStoreRef].
//
//	in       --a--b--c-->
//	Process  --?--?--?-->
func Process[KI, VI, KO, VO any](s *Stream[KI, VI], supplier func() Processor[KI, VI, KO, VO], opts ...Option) *Stream[KO, VO] {
	out := process(s, "KSTREAM-PROCESSOR", supplier == nil, opts, func(a *assembly, st *step, next op.Next[KO, VO]) op.Next[KI, VI] {
		p := op.NewUser(a.Env, st.name, st.o.refs, supplier(), next)
		a.Run(p.Init, p.Close)
		return p.Process
	})
	out.rekeyed = true
	return out
}

// ProcessValues is [Process] for processors that cannot change the key: they
// forward values, under the key of the record that they process. So no
// repartition topic follows.
//
//	in             --(a,1)--(b,2)-->
//	ProcessValues  --(a,?)--(b,?)-->
func ProcessValues[K, V, V2 any](s *Stream[K, V], supplier func() FixedProcessor[K, V, V2], opts ...Option) *Stream[K, V2] {
	out := process(s, "KSTREAM-PROCESSVALUES", supplier == nil, opts, func(a *assembly, st *step, next op.Next[K, V2]) op.Next[K, V] {
		p := op.NewFixed(a.Env, st.name, st.o.refs, supplier(), next)
		a.Run(p.Init, p.Close)
		return p.Process
	})
	if !out.failed() {
		out.key, out.rekeyed = s.key, s.rekeyed
	}
	return out
}

// process puts code of the user behind s.
func process[KI, VI, KO, VO any](s *Stream[KI, VI], prefix string, nilFunc bool, opts []Option, open func(a *assembly, st *step, next op.Next[KO, VO]) op.Next[KI, VI]) *Stream[KO, VO] {
	if s.failed() {
		return broken[KO, VO]()
	}
	o := collect(opts)
	st := s.b.next(prefix, o, setName|setRef)
	if o.has(setName) {
		s.b.index-- // of all operators, only these take no number when they are named
	}
	st.need(!nilFunc, "the supplier is nil")
	st.processor(s.out.Name)
	st.useRefs()
	if st.bad {
		return broken[KO, VO]()
	}
	out := &flow[KO, VO]{Name: st.name}
	s.out.Then(func(a *assembly) (op.Next[KI, VI], error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		return open(a, st, next), nil
	})
	return &Stream[KO, VO]{b: s.b, out: out}
}

// useRefs connects the operator to the stores that the user gave it.
func (s *step) useRefs() {
	for i, ref := range s.o.refs {
		s.need(s.o.owners[i] == s.b, "store %s belongs to another builder", ref)
		s.connect(ref)
	}
}
