package streams

import (
	"fmt"
	"strings"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
)

// Repartition sends the stream through an internal topic, so that all records
// of a key meet in one task, whatever operators changed the keys before. Records
// without a key are dropped, unless a left or outer join downstream makes
// something of them. Options: [Named], [Partitions], [PartitionBy], [KeySerde],
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
		st.check(graph.Legal(o.name))
	} else {
		st.name = s.b.generate("KSTREAM-REPARTITION")
	}
	st.check(o.only(setName | setPartitions | setPartition | setKey | setValue))
	st.need(!o.has(setPartitions) || o.partitions > 0, "a topic needs at least one partition")
	return reroute(st, s.encoded(st), st.name)
}

// shared is a repartition topic that other operators on the same stream use too.
type shared[K, V any] struct {
	from *flow[K, V]
	out  *Stream[K, V]
}

// reroute puts a repartition topic behind s: a filter of null keys, a sink and,
// in the next sub-topology, a source.
func reroute[K, V any](st *step, s *Stream[K, V], base string) *Stream[K, V] {
	b, topic, given := s.b, base+"-repartition", !generated(base)
	sink, filter, src := b.generate("KSTREAM-SINK"), b.generate("KSTREAM-FILTER"), b.generate("KSTREAM-SOURCE")
	if given {
		sink, filter, src = topic+"-sink", topic+"-filter", topic+"-source"
	}
	if old, ok := b.repartitions[topic].(shared[K, V]); ok && old.from == s.out {
		return old.out
	}
	at := place[K, V](st)
	st.need(given || !b.requireNames, "%w: of the repartition topic; give one with Named", ErrUnnamed)
	if st.bad {
		return broken[K, V]()
	}
	for _, err := range []error{
		b.graph.AddRepartition(graph.Repartition{Name: topic, Partitions: st.o.partitions}),
		b.graph.AddProcessor(filter, s.out.Name),
		b.graph.AddSink(sink, topic, filter),
		b.graph.AddSource(src, topic),
	} {
		if err != nil {
			st.check(fmt.Errorf("%w: %w", ErrDuplicate, err))
			return broken[K, V]()
		}
	}
	s.out.Then(func(a *assembly) (op.Next[K, V], error) {
		name := graph.RepartitionTopic(a.Env.ApplicationID(), topic)
		write := op.SinkAt(a.Env, sink, name, s.key, s.value, at)
		if b.graph.NullKeysCount(filter) {
			return write, nil
		}
		return op.DropNullKeys(a.Env, write), nil
	})
	b.sources[topic] = &source{Name: src, Topics: []string{topic}, Internal: true}
	out := &flow[K, V]{Name: src}
	wiring.Feed(b.sources[topic], out, s.key, s.value)
	stream := &Stream[K, V]{b: b, out: out, key: s.key, value: s.value}
	b.repartitions[topic] = shared[K, V]{from: s.out, out: stream}
	return stream
}

// generated reports whether the builder made up a name, or would have: Kafka
// Streams looks at no more than this.
func generated(name string) bool {
	const digits = 10
	n := len(name) - digits - 1
	if n < 0 || name[n] != '-' || !strings.HasPrefix(name, "KSTREAM") {
		return false
	}
	return strings.Trim(name[n+1:], "0123456789") == ""
}
