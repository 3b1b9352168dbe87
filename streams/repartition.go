package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
)

// Repartition sends the stream through an internal topic, so that all records
// of a key meet in one task, whatever operators changed the keys before. Records
// without a key are dropped. Options: [Named], [Partitions], [KeySerde],
// [ValueSerde].
//
//	in           --(a,1)--(b,2)--(a,3)-->
//	topic        --(a,1)--(b,2)--(a,3)-->
//	Repartition  --(a,1)--(b,2)--(a,3)-->
func (s *Stream[K, V]) Repartition(opts ...Option) *Stream[K, V] {
	if s.failed() {
		return broken[K, V]()
	}
	o := collect(opts)
	st := &step{b: s.b, o: o, name: o.name}
	if o.has(setName) {
		st.check(legal(o.name))
	} else {
		st.name = s.b.generate("KSTREAM-REPARTITION")
	}
	st.check(o.only(setName | setPartitions | setKey | setValue))
	st.need(!o.has(setPartitions) || o.partitions > 0, "a topic needs at least one partition")
	in := *s
	var err error
	in.key, err = pick(o.key, s.key)
	st.check(err)
	in.value, err = pick(o.value, s.value)
	st.check(err)
	return reroute(st, &in, st.name, o.has(setName))
}

// shared is a repartition topic that other groupings of the same stream use too.
type shared[K, V any] struct {
	from *flow[K, V]
	out  *Stream[K, V]
}

// reroute puts a repartition topic behind s: a filter of null keys, a sink and,
// in the next sub-topology, a source. given says that base is the user's name.
func reroute[K, V any](st *step, s *Stream[K, V], base string, given bool) *Stream[K, V] {
	b, topic := s.b, base+"-repartition"
	sink, filter, src := b.generate("KSTREAM-SINK"), b.generate("KSTREAM-FILTER"), b.generate("KSTREAM-SOURCE")
	if given {
		sink, filter, src = topic+"-sink", topic+"-filter", topic+"-source"
		if old, ok := b.repartitions[topic].(shared[K, V]); ok && old.from == s.out {
			return old.out
		}
	} else if b.requireNames {
		st.check(fmt.Errorf("%w: of the repartition topic; give one with Named", ErrUnnamed))
	}
	if st.bad {
		return broken[K, V]()
	}
	for _, err := range []error{
		b.graph.AddRepartition(graph.Repartition{Name: topic, Partitions: st.o.partitions}),
		b.graph.AddProcessor(filter, s.out.name),
		b.graph.AddSink(sink, topic, filter),
		b.graph.AddSource(src, topic),
	} {
		if err != nil {
			st.check(fmt.Errorf("%w: %w", ErrDuplicate, err))
			return broken[K, V]()
		}
	}
	s.out.then(func(a *assembly) (op.Next[K, V], error) {
		name := graph.RepartitionTopic(a.env.ApplicationID(), topic)
		return op.DropNullKeys(a.env, op.Sink(a.env, sink, name, s.key, s.value)), nil
	})
	b.sources[topic] = &source{name: src, topic: topic, internal: true}
	out := &flow[K, V]{name: src}
	feed(b.sources[topic], out, s.key, s.value)
	stream := &Stream[K, V]{b: b, out: out, key: s.key, value: s.value}
	if given {
		b.repartitions[topic] = shared[K, V]{from: s.out, out: stream}
	}
	return stream
}
