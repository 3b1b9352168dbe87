package streams

import (
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// The contracts of user code, under the names that topologies use.
type (
	// Record is one record inside a topology.
	Record[K, V any] = processor.Record[K, V]
	// Header is one record header.
	Header = processor.Header
	// Message is one record in bytes, as polled.
	Message = processor.Message
	// Processor is an operator written by the user; see [Process].
	Processor[KI, VI, KO, VO any] = processor.Processor[KI, VI, KO, VO]
	// Context is what a [Processor] sees of its task.
	Context[K, V any] = processor.Context[K, V]
	// FixedProcessor is a [Processor] that cannot change keys; see [ProcessValues].
	FixedProcessor[K, V, V2 any] = processor.FixedProcessor[K, V, V2]
	// FixedContext is what a [FixedProcessor] sees of its task.
	FixedContext[V any] = processor.FixedContext[V]
	// Windowed is a key in a window [Start, End), in milliseconds.
	Windowed[K any] = serde.Windowed[K]
)

// Stream is a handle on an unbounded flow of records. It is a value of the
// topology: any number of operators may read it, each gets every record.
type Stream[K, V any] struct {
	b       *Builder
	out     *flow[K, V]    // nil after a mistake
	key     serde.Serde[K] // nil if not known
	value   serde.Serde[V]
	rekeyed bool // keys changed since the last partitioning
}

// failed reports whether an earlier operator of the handle is broken.
func (s *Stream[K, V]) failed() bool { return s == nil || s.out == nil }

// broken returns the handle of an operator that could not be added.
func broken[K, V any]() *Stream[K, V] { return &Stream[K, V]{} }

// maker instantiates an operator of a task in front of what comes after it.
type maker[K, V, K2, V2 any] func(e *op.Env, name string, next op.Next[K2, V2]) op.Next[K, V]

// spec is what the operators without state have to say about themselves.
type spec[K2, V2 any] struct {
	prefix  string
	opts    []Option
	nilFunc bool    // the caller gave no function
	allowed setting // beside a name
	key     serde.Serde[K2]
	value   serde.Serde[V2]
	rekeyed bool
}

// add puts an operator without state behind s.
func add[K, V, K2, V2 any](s *Stream[K, V], sp spec[K2, V2], mk maker[K, V, K2, V2]) *Stream[K2, V2] {
	if s.failed() {
		return broken[K2, V2]()
	}
	st := s.b.next(sp.prefix, collect(sp.opts), setName|sp.allowed)
	st.need(!sp.nilFunc, "the function is nil")
	st.processor(s.out.Name)
	if st.bad {
		return broken[K2, V2]()
	}
	out := &flow[K2, V2]{Name: st.name}
	s.out.Then(func(a *assembly) (op.Next[K, V], error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		return mk(a.Env, st.name, next), nil
	})
	return &Stream[K2, V2]{b: s.b, out: out, key: sp.key, value: sp.value, rekeyed: sp.rekeyed}
}

// same is the spec of an operator that keeps the types of s.
func same[K, V any](s *Stream[K, V], prefix string, nilFunc bool, opts []Option) spec[K, V] {
	if s.failed() {
		return spec[K, V]{}
	}
	return spec[K, V]{
		prefix: prefix, opts: opts, nilFunc: nilFunc, key: s.key, value: s.value, rekeyed: s.rekeyed,
	}
}

// The clocks that a processor can schedule on.
const (
	// StreamTime moves with the timestamps of the records of the task.
	StreamTime = processor.StreamTime
	// WallClock moves with the clock of the machine.
	WallClock = processor.WallClock
)
