package streams

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/serde"
)

// From reads a topic as a stream.
//
//	topic  --a--b--c--a-->
//	From   --a--b--c--a-->
//
// Reading a topic twice shares its source node. Options: [Named],
// [TimestampFrom], [WallClockTime], [OnInvalidTime], [ResetTo].
func From[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...Option) *Stream[K, V] {
	return FromTopics(b, []string{topic}, key, value, opts...)
}

// FromTopics reads several topics as one stream: a task reads the partition of its
// number in each. Records of one partition keep their order, those of several
// interleave by time. Reading the same topics twice shares their source node.
// Options: those of [From].
//
//	topic a     --a1-----a2-->
//	topic b     -----b1------>
//	FromTopics  --a1-b1--a2-->
func FromTopics[K, V any](b *Builder, topics []string, key serde.Serde[K], value serde.Serde[V], opts ...Option) *Stream[K, V] {
	s := b.next("KSTREAM-SOURCE", collect(opts), setName|setTimestamp|setReset)
	s.need(key != nil && value != nil, "a serde is nil")
	return read(s, s.source(topics, s.name, false), key, value)
}

// FromPattern reads every topic whose whole name matches an expression as one
// stream, as [FromTopics] does: those that exist when the app starts, and those that
// appear while it runs, which it notices within [Config.MetadataMaxAge] or from
// another instance. Topics that are deleted are read no more.
//
//	topic a1          --x-------z-->
//	topic a2          -----y------->   (made later)
//	FromPattern a\d+  --x--y----z-->
//
// What brokers call internal, and what the app makes for itself, its dead letters
// too, never match. A topic that another source reads must not match either, nor one
// two patterns: it is an error, of Build where the names are known by then, else of
// the app. The same pattern twice shares its source node. Options: those of [From].
func FromPattern[K, V any](b *Builder, topics *regexp.Regexp, key serde.Serde[K], value serde.Serde[V], opts ...Option) *Stream[K, V] {
	s := b.next("KSTREAM-SOURCE", collect(opts), setName|setTimestamp|setReset)
	s.need(key != nil && value != nil, "a serde is nil")
	s.need(topics != nil, "the pattern is nil")
	return read(s, s.matching(topics), key, value)
}

// read lets a source decode for a new stream.
func read[K, V any](s *step, src *source, key serde.Serde[K], value serde.Serde[V]) *Stream[K, V] {
	if s.bad {
		return broken[K, V]()
	}
	out := &flow[K, V]{Name: src.Name}
	wiring.Feed(src, out, key, value)
	return &Stream[K, V]{b: s.b, out: out, key: key, value: value}
}

// matching adds the node that reads what matches an expression, or finds the one
// that does.
func (s *step) matching(topics *regexp.Regexp) *source {
	if s.bad {
		return nil
	}
	p := graph.NewPattern(topics)
	if old, ok := s.b.patterns[p.String()]; ok {
		s.once()
		return old
	}
	if err := s.b.graph.AddPattern(s.name, p); err != nil {
		s.check(fmt.Errorf("%w: %w", ErrDuplicate, err))
		return nil
	}
	src := &source{Name: s.name, Pattern: p, Times: s.o.times}
	s.b.patterns[p.String()] = src
	s.b.graph.Reset(s.name, s.o.reset)
	return src
}

// source adds the node that reads user topics, or finds the one that does.
func (s *step) source(topics []string, name string, table bool) *source {
	topics = slices.Sorted(slices.Values(topics))
	s.need(len(topics) > 0, "no topic is named")
	for i, topic := range topics {
		s.check(graph.Legal(topic))
		s.need(i == 0 || topic != topics[i-1], "topic %s is named twice", topic)
	}
	if s.bad {
		return nil
	}
	for _, topic := range topics {
		if old, ok := s.b.sources[topic]; ok {
			s.shared(old, topics, topic, table)
			return old
		}
	}
	if err := s.b.graph.AddSource(name, topics...); err != nil {
		s.check(fmt.Errorf("%w: %w", ErrDuplicate, err))
		return nil
	}
	s.b.graph.Reset(name, s.o.reset)
	src := &source{Name: name, Topics: topics, Table: table, Times: s.o.times}
	for _, topic := range topics {
		s.b.sources[topic] = src
	}
	return src
}

// shared checks that a source may be read once more.
func (s *step) shared(old *source, topics []string, topic string, table bool) {
	switch {
	case old.Internal:
		s.check(fmt.Errorf("%w: topic %s is a repartition topic", ErrDuplicate, topic))
	case old.Table || table:
		s.check(fmt.Errorf("%w: topic %s is already read by %s; a topic is either a table or streams",
			ErrDuplicate, topic, old.Name))
	case !slices.Equal(old.Topics, topics):
		s.check(fmt.Errorf("%w: topic %s is already read by %s, with other topics", ErrDuplicate, topic, old.Name))
	default:
		s.once()
	}
}

// once checks that a source that exists already is not configured again.
func (s *step) once() {
	if s.o.has(setTimestamp | setReset) {
		s.check(errors.New("what decides the time, and where to begin, belongs to the first reading of a topic"))
	}
}

// TableFrom reads a topic as a table: each record replaces the row of its key,
// a null value deletes it, a record without a key is dropped.
//
//	topic      --(k,1)--(l,5)--(k,2)--(k,~)-->
//	TableFrom  --k:1----l:5----k:2----k gone-->
//
// The table has a store, and a changelog, only if [Store] names it or another
// operator reads its rows; without one it forwards changes without knowing the
// old value. Options: [Named], [Store], [Versioned], [NoCache], [InMemory],
// [NoChangelog], [TopicConfig], [TimestampFrom], [WallClockTime], [OnInvalidTime],
// [ResetTo].
func TableFrom[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...Option) *Table[K, V] {
	o := collect(opts)
	generated := ""
	if !o.has(setStore) {
		generated = b.generate(topic + "-STATE-STORE")
	}
	sourceName := b.generate("KSTREAM-SOURCE")
	if o.has(setName) {
		sourceName = o.name + "-source"
	}
	s := b.next("KTABLE-SOURCE", o, setName|setTable&^setValue|setTimestamp|setReset)
	s.need(key != nil && value != nil, "a serde is nil")
	if !o.has(setStore) {
		s.check(o.only(setName | setTimestamp | setReset))
	}
	src := s.source([]string{topic}, sourceName, true)
	s.processor(sourceName)
	s.keepIn(o.store)
	if s.bad {
		return &Table[K, V]{}
	}
	in := &flow[K, V]{Name: sourceName}
	wiring.Feed(src, in, key, value)
	return tableOf(s, in, &op.State[K, V]{Operator: s.name, Store: o.store, Key: key, Value: value}, generated)
}

// tableOf makes a table of the latest value of each key of a flow. Without a
// store it gets one, under the generated name, when somebody has to read it.
func tableOf[K, V any](s *step, in *flow[K, V], state *op.State[K, V], generated string) *Table[K, V] {
	out := &flow[K, op.Change[V]]{Name: s.name}
	wiring.Pass(in, out, func(a *assembly, next op.Next[K, op.Change[V]]) (op.Next[K, V], error) {
		return op.Table(a.Env, *state, next)
	})
	keep := func(reader *step) []string {
		if state.Store == "" {
			reader.need(!s.b.requireNames, "%w: of the store of table %s; give one with Store", ErrUnnamed, s.name)
			state.Store = generated
			s.keepIn(generated)
		}
		return []string{state.Store}
	}
	return &Table[K, V]{b: s.b, out: out, key: state.Key, value: state.Value, view: view[K, V]{
		keep:      keep,
		open:      func(a *assembly) (op.Lookup[K, V], error) { return op.OpenRows(a.Env, *state) },
		versioned: s.o.has(setVersioned),
		history:   s.o.history,
		tell: func(reader *step, force bool) bool {
			if state.Store == "" && !force {
				return false
			}
			keep(reader)
			state.Old = true
			return true
		},
	}}
}

// keyValue describes a timestamped key-value or versioned store with these
// options.
func (o *options) keyValue(name string) graph.Store {
	s := graph.Store{
		Name: name, Kind: graph.KeyValue, Timestamped: true,
		Logged: !o.has(setLog), Cached: !o.has(setCache), Persistent: !o.has(setMemory),
		TopicConfig: o.topicConfig,
	}
	if o.has(setVersioned) {
		s.Kind, s.Cached, s.RetentionMs = graph.Versioned, false, graph.Forever
		if o.history != Forever {
			s.RetentionMs = o.history.Milliseconds()
		}
	}
	return s
}
