package streams

import (
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// To writes the stream to a topic, which exists already. Null keys and values
// are written as null. A record goes to the partition of its key, as the Java
// client would choose; a windowed key goes where its plain key goes. Options:
// [Named], [PartitionBy].
//
//	in     --a--b--c-->
//	topic  --a--b--c-->
func (s *Stream[K, V]) To(topic string, key serde.Serde[K], value serde.Serde[V], opts ...Option) {
	if s.failed() {
		return
	}
	st := s.b.next("KSTREAM-SINK", collect(opts), setName|setPartition)
	st.need(key != nil && value != nil, "a serde is nil")
	st.check(graph.Legal(topic))
	at := place[K, V](st)
	if !st.bad {
		st.check(s.b.graph.AddSink(st.name, topic, s.out.Name))
	}
	if st.bad {
		return
	}
	s.out.Then(func(a *assembly) (op.Next[K, V], error) {
		return op.SinkAt(a.Env, st.name, topic, key, value, at), nil
	})
}

// place is what the options say of the partition of a record; nil for nothing.
func place[K, V any](st *step) *op.Place[K, V] {
	if f := partitioner[func(K, V, int32) int32](st); f != nil {
		return &op.Place[K, V]{Choose: f}
	}
	return nil
}
