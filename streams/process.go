package streams

import (
	"errors"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// KV is a typed key-value store, as a [Processor] uses it.
type KV[K, V any] = statestore.KeyValue[K, V]

// StoreRef is a store of a topology, before it is opened. Given to [Process] as
// an option, it connects the processor to the store.
type StoreRef[K, V any] struct {
	b     *Builder
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]
}

func (r StoreRef[K, V]) apply(o *options) {
	o.set |= setRef
	o.refs = append(o.refs, r.name)
	o.owners = append(o.owners, r.b)
}

// Name returns the name of the store.
func (r StoreRef[K, V]) Name() string { return r.name }

// Open returns the store of a task. A processor calls it in Init.
func (r StoreRef[K, V]) Open(ctx processor.Stores) (KV[K, V], error) {
	return op.OpenKeyValue(ctx, r.name, r.key, r.value)
}

// NewStore declares a key-value store for processors. Tasks have one each, with
// the rows of their partition; processors that share a store share tasks.
// Options: [NoCache], [InMemory], [NoChangelog], [TopicConfig].
func NewStore[K, V any](b *Builder, name string, key serde.Serde[K], value serde.Serde[V], opts ...Option) StoreRef[K, V] {
	o := collect(opts)
	st := &step{b: b, name: name, o: o}
	st.check(o.only(setCache | setMemory | setLog | setTopicConfig))
	st.need(key != nil && value != nil, "a serde is nil")
	if b.built {
		st.check(errors.New("the topology is built already"))
	}
	desc := o.keyValue(name)
	desc.Timestamped = false
	st.addStore(desc)
	return StoreRef[K, V]{b: b, name: name, key: key, value: value}
}

// Process hands each record to a processor of the user, which forwards what it
// likes. supplier makes one processor for each task. The keys count as changed.
// Options: [Named] and any number of [StoreRef].
//
//	in       --a--b--c-->
//	Process  --?--?--?-->
func Process[KI, VI, KO, VO any](s *Stream[KI, VI], supplier func() Processor[KI, VI, KO, VO], opts ...Option) *Stream[KO, VO] {
	if s.failed() {
		return broken[KO, VO]()
	}
	o := collect(opts)
	st := s.b.next("KSTREAM-PROCESSOR", o, setName|setRef)
	if o.has(setName) {
		s.b.index-- // of all operators, only this one takes no number when it is named
	}
	st.need(supplier != nil, "the supplier is nil")
	st.processor(s.out.Name)
	for i, ref := range st.o.refs {
		st.need(o.owners[i] == s.b, "store %s belongs to another builder", ref)
		st.connect(ref)
	}
	if st.bad {
		return broken[KO, VO]()
	}
	out := &flow[KO, VO]{Name: st.name}
	s.out.Then(func(a *assembly) (op.Next[KI, VI], error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		p := op.NewUser(a.Env, st.name, st.o.refs, supplier(), next)
		a.Run(p.Init, p.Close)
		return p.Process, nil
	})
	return &Stream[KO, VO]{b: s.b, out: out, rekeyed: true}
}
