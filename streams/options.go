package streams

import (
	"fmt"
	"maps"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Forever is a grace or a retention without end.
const Forever = window.Forever

// Option configures one operator. An option that does not apply to its operator
// is an error of Build.
type Option interface {
	apply(o *options)
}

// setting is one option as a bit, so that an operator can say which it takes.
type setting uint32

const (
	setName setting = 1 << iota
	setStore
	setKey
	setValue
	setRetention
	setCache
	setMemory
	setLog
	setTopicConfig
	setPartitions
	setTimestamp
	setRef
	setVersioned
	setOther
	setGrace
	setLabel
	setPartition
	setReset
	// setState is what every operator with a store of its own takes.
	setState = setStore | setValue | setCache | setMemory | setLog | setTopicConfig
	// setTable is what every table takes: its store may be versioned.
	setTable = setState | setVersioned
)

func (s setting) String() string {
	names := [...]string{
		"Named", "Store", "KeySerde", "ValueSerde", "Retention", "NoCache", "InMemory",
		"NoChangelog", "TopicConfig", "Partitions", "TimestampFrom", "a store reference", "Versioned",
		"OtherSerde", "Grace", "Label", "PartitionBy", "ResetTo",
	}
	for i, name := range names {
		if s&(1<<i) != 0 {
			return name
		}
	}
	return "option"
}

type options struct {
	set         setting
	name        string
	store       string
	key, value  any // serdes
	other       any // serde of the values of the right side
	retention   time.Duration
	topicConfig map[string]string
	partitions  int32
	history     time.Duration
	grace       time.Duration
	label       string
	times       wiring.Times
	reset       graph.Reset
	partition   any        // func(K, V, int32) int32, or func(K, int32) int32
	refs        []string   // names of stores
	owners      []*Builder // of the stores, index by index
}

type option struct {
	bit setting
	do  func(*options)
}

func (f option) apply(o *options) {
	o.set |= f.bit
	f.do(o)
}

func collect(opts []Option) *options {
	o := &options{}
	for _, f := range opts {
		if f != nil {
			f.apply(o)
		}
	}
	return o
}

func (o *options) has(s setting) bool { return o.set&s != 0 }

// only returns an error if an option outside of allowed was given.
func (o *options) only(allowed setting) error {
	if extra := o.set &^ allowed; extra != 0 {
		return fmt.Errorf("%w: %s", ErrOption, extra)
	}
	return nil
}

// Named gives an operator its name: in the description, in errors and, for
// GroupBy, GroupByKey and Repartition, in the name of the repartition topic.
func Named(name string) Option { return option{setName, func(o *options) { o.name = name }} }

// Store gives the store of an aggregation or a table its name, and with it the
// changelog topic.
func Store(name string) Option { return option{setStore, func(o *options) { o.store = name }} }

// KeySerde says how to encode the keys of a stream where the operator needs
// them as bytes. Without it that is how the stream was read or grouped, and
// else what fits the type: the serde of the same name for string, []byte,
// int32, int64 and float64, JSON for any other type.
func KeySerde[K any](s serde.Serde[K]) Option {
	return option{setKey, func(o *options) { o.key = s }}
}

// ValueSerde is [KeySerde] for values.
func ValueSerde[V any](s serde.Serde[V]) Option {
	return option{setValue, func(o *options) { o.value = s }}
}

// OtherSerde is [ValueSerde] for the values of the right side of a join.
func OtherSerde[V any](s serde.Serde[V]) Option {
	return option{setOther, func(o *options) { o.other = s }}
}

// Retention keeps the rows of a windowed store for longer than size plus grace,
// counted in stream time.
func Retention(d time.Duration) Option {
	return option{setRetention, func(o *options) { o.retention = d }}
}

// NoCache lets every change of a store go on at once. Without it changes are
// held back, and merged by key, until the next commit.
func NoCache() Option { return option{setCache, func(*options) {}} }

// InMemory keeps a store in memory; its changelog still restores it.
func InMemory() Option { return option{setMemory, func(*options) {}} }

// NoChangelog keeps a store without a changelog topic: its content is lost when
// the task moves or the disk is.
func NoChangelog() Option { return option{setLog, func(*options) {}} }

// TopicConfig overrides configuration of the changelog topic of a store, under
// the keys of Kafka.
func TopicConfig(config map[string]string) Option {
	config = maps.Clone(config)
	return option{setTopicConfig, func(o *options) { o.topicConfig = config }}
}

// Versioned lets the store of a table keep the versions of each row for a while,
// so that a stream can be joined with the row of its time (KIP-889). Rows may be
// that late; later ones are dropped. Joins and aggregations of such a table drop
// what is not the latest row of its key (KIP-914). The table is not cached.
func Versioned(history time.Duration) Option {
	return option{setVersioned, func(o *options) { o.history = history }}
}

// Grace lets a stream wait for late rows of the versioned table that it is joined
// with: a record meets its row once stream time is d after it, and finds the row
// of its own time. Records go on in the order of time, key and arrival; one that
// comes later than d after stream time meets its row at once. What waits has a
// changelog.
func Grace(d time.Duration) Option { return option{setGrace, func(o *options) { o.grace = d }} }

// Label is what [Stream.Print] begins each line with.
func Label(label string) Option { return option{setLabel, func(o *options) { o.label = label }} }

// Partitions fixes the partition count of a repartition topic. Without it there
// are as many as the largest source upstream has.
func Partitions(n int32) Option { return option{setPartitions, func(o *options) { o.partitions = n }} }

// TimestampFrom takes the time of a source's records, in milliseconds since the
// epoch, from the message instead of its timestamp field. A negative time and an
// error are what [OnInvalidTime] says.
func TimestampFrom(f func(m *processor.Message) (int64, error)) Option {
	return option{setTimestamp, func(o *options) { o.times.From = f }}
}

// WallClockTime takes the time at which a task gets to a record for its time.
func WallClockTime() Option { return option{setTimestamp, func(o *options) { o.times.Wall = true }} }

// InvalidTime says what becomes of a record whose time is negative or cannot be
// told.
type InvalidTime = wiring.InvalidTime

// What can become of a record without a time.
const (
	// FailOnInvalid makes it an error of the record. It is the default.
	FailOnInvalid = wiring.FailOnInvalid
	// LogAndSkip drops it.
	LogAndSkip = wiring.LogAndSkip
	// UsePartitionTime gives it the largest time that a record of its partition had
	// before; the first record of a partition fails.
	UsePartitionTime = wiring.UsePartitionTime
)

// OnInvalidTime says what a source does with records that have no time.
func OnInvalidTime(what InvalidTime) Option {
	return option{setTimestamp, func(o *options) { o.times.Invalid = what }}
}

// OffsetReset is where the reading of a partition begins.
type OffsetReset = graph.Reset

// The places to begin at.
const (
	Earliest = graph.Earliest
	Latest   = graph.Latest
)

// ResetTo says where a source begins to read a partition that has no commit, instead
// of [Config.ResetToEnd] (auto.offset.reset of Kafka Streams' Consumed).
func ResetTo(where OffsetReset) Option {
	return option{setReset, func(o *options) { o.reset = where }}
}

// PartitionBy lets f choose the partition of each record that is written to a
// topic of so many partitions. A negative number leaves it to the key. f may be
// called from any goroutine. Without it records go where the Java client would put
// their keys, and joins and tables downstream count on it.
func PartitionBy[K, V any](f func(key K, value V, partitions int32) int32) Option {
	return option{setPartition, func(o *options) { o.partition = f }}
}

// PartitionForeignBy tells a foreign-key join where the right table has a key, if
// its topic is not partitioned as the Java client would do it.
func PartitionForeignBy[K any](f func(key K, partitions int32) int32) Option {
	return option{setPartition, func(o *options) { o.partition = f }}
}

// partitioner returns the function of an option that chooses partitions; nil
// leaves that to the keys.
func partitioner[F any](st *step) (f F) {
	if st.o.has(setPartition) {
		var ok bool
		f, ok = st.o.partition.(F)
		st.need(ok, "%T does not choose partitions here, where %T does", st.o.partition, f)
	}
	return f
}

// pick returns the serde of an option, else the one that the stream knows, else
// the one that fits the type.
func pick[T any](given any, known serde.Serde[T]) (serde.Serde[T], error) {
	if given != nil {
		s, ok := given.(serde.Serde[T])
		if !ok {
			return nil, fmt.Errorf("serde %T does not encode %T", given, *new(T))
		}
		return s, nil
	}
	if known != nil {
		return known, nil
	}
	return natural[T](), nil
}

// natural returns the serde that fits the type T.
func natural[T any]() serde.Serde[T] {
	var s any
	switch any(*new(T)).(type) {
	case string:
		s = serde.String()
	case []byte:
		s = serde.Bytes()
	case int32:
		s = serde.Int32()
	case int64:
		s = serde.Int64()
	case float64:
		s = serde.Float64()
	}
	if fits, ok := s.(serde.Serde[T]); ok {
		return fits
	}
	return serde.JSON[T]()
}
