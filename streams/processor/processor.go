// Package processor is the contract between user code, the operators of the
// DSL and the runtime that drives them.
//
// Data runs one way: the runtime hands a [Message] (polled bytes) to a [Task],
// the task turns it into typed [Record] values that flow through its operators,
// and what leaves goes back to the runtime as [Outgoing] bytes through the
// task's [Host]. One goroutine drives a task, so nothing here locks.
package processor

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/weirstream/weir/statestore"
)

// TaskID names one task: a sub-topology and the partition it works on.
type TaskID struct {
	Subtopology int
	Partition   int32
}

// String returns the id as Kafka Streams writes it, for example "0_1".
func (t TaskID) String() string {
	return strconv.Itoa(t.Subtopology) + "_" + strconv.Itoa(int(t.Partition))
}

// Header is one record header. A nil value is a null header value.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record on its way through the operators of a task.
//
// A null key or value on the wire sets NullKey or NullValue and leaves the zero
// value in the field, so a lambda always gets a value. Headers are shared by
// every operator that the record passes: copy the slice before changing it.
type Record[K, V any] struct {
	Key       K
	Value     V
	NullKey   bool
	NullValue bool
	Timestamp int64 // milliseconds since the epoch
	Headers   []Header
}

// Message is one polled record in bytes. Its slices belong to the runtime and
// are valid only during the call that they are handed to. A nil key or value
// is null, an empty one is not.
type Message struct {
	Topic      string
	Partition  int32
	Offset     int64
	Key, Value []byte
	Timestamp  int64 // milliseconds since the epoch, as the extractor of the source decided
	Headers    []Header
}

// AnyPartition lets the partitioner choose: murmur2 of PartitionKey if there is
// one, else of Key, and round robin for a record without a key.
const AnyPartition int32 = -1

// Outgoing is one record in bytes on its way to a topic. Its slices are valid
// only during [Host.Send], which copies what it keeps.
type Outgoing struct {
	Topic        string
	Partition    int32                        // AnyPartition, or a partition number
	Choose       func(partitions int32) int32 // nil, or chooses for AnyPartition; a negative answer leaves it to the key
	PartitionKey []byte                       // nil: the key decides
	Key, Value   []byte
	Timestamp    int64 // milliseconds since the epoch
	Headers      []Header
}

// PunctuationType says which clock a schedule follows.
type PunctuationType int

// The two clocks of a schedule.
const (
	// StreamTime moves with the timestamps of the records of the task. Missed
	// intervals are skipped, and the first record fires the first punctuation.
	StreamTime PunctuationType = iota
	// WallClock moves with the clock of the runtime.
	WallClock
)

// String returns the name of the clock.
func (p PunctuationType) String() string {
	switch p {
	case StreamTime:
		return "stream_time"
	case WallClock:
		return "wall_clock"
	default:
		return "punctuation(" + strconv.Itoa(int(p)) + ")"
	}
}

// Host is what a running task gives its operators. All its methods are called
// from the goroutine that drives the task.
type Host interface {
	// ApplicationID returns the prefix of the application's internal topics.
	ApplicationID() string
	// TaskID returns the id of the task.
	TaskID() TaskID
	// Store returns the open store of that name; it is an error to ask for a
	// store that the sub-topology does not have.
	Store(name string) (statestore.Store, error)
	// Global returns the rows of a global table, for this task alone.
	Global(store string) (GlobalRows, error)
	// Send hands one record to the producer. It does not wait for the broker;
	// the error of an earlier record may come back here or at the next commit.
	Send(o Outgoing) error
	// Handle asks the application's error handler about an error that is of no
	// message, such as one in the flush of a store. It returns nil if the work goes
	// on without what failed.
	Handle(err error) error
	// StreamTime returns the largest timestamp that the task has processed, in
	// milliseconds, and -1 before the first.
	StreamTime() int64
	// Now returns the time of the wall clock.
	Now() time.Time
	// EmitInterval returns how long, by the wall clock, an operator waits before
	// it looks again for results that the passing of stream time made due.
	EmitInterval() time.Duration
	// Remember makes a number part of every commit from now on, under a name that
	// is unique in the task.
	Remember(name string, n int64)
	// Remembered returns the number of a name, as of the last commit when the task
	// has just started. Of a task whose partitions were committed apart it is the
	// largest.
	Remembered(name string) (n int64, ok bool)
	// Meta tells which message is being processed. It is not ok outside the
	// processing of a message, in a punctuation for example.
	Meta() (topic string, partition int32, offset int64, ok bool)
	// Schedule calls f every so often, on the goroutine of the task, until
	// cancel is called or the task closes; now is in milliseconds.
	Schedule(every time.Duration, t PunctuationType, f func(now int64) error) (cancel func())
	// RequestCommit asks for a commit as soon as the current record is done.
	RequestCommit()
	// Drop counts one record that an operator dropped.
	Drop(reason string)
	// Logger returns the logger of the task.
	Logger() *slog.Logger
}

// GlobalRows are the rows of a global table as its topic has them. They change
// while a task reads them: each read sees the latest.
type GlobalRows interface {
	// Get appends the value of a key to dst and returns its time in
	// milliseconds.
	Get(dst, key []byte) (value []byte, at int64, ok bool, err error)
}

// Task is one instance of a sub-topology.
type Task interface {
	// Timestamp returns the time of m in milliseconds, as its source says.
	// partitionTime is the largest one of its partition that was processed, and -1
	// before the first. ErrSkip says that m has no time and is to be left out.
	Timestamp(m *Message, partitionTime int64) (int64, error)
	// Process runs m through the operators, whole, before it returns. The
	// timestamp of m is the one that Timestamp returned. An error, be it of a
	// serde, a lambda (a panic becomes one) or a store, is an [*Error].
	Process(m *Message) error
	// Close closes the processors. The stores belong to the runtime.
	Close() error
}

// Processor is an operator written by the user. Each task has its own, made by
// the supplier given to the DSL, and calls it from one goroutine.
type Processor[KI, VI, KO, VO any] interface {
	// Init is called once, before the first record.
	Init(ctx Context[KO, VO]) error
	// Process handles one record and forwards any number through the context.
	Process(r Record[KI, VI]) error
	// Close is called once, after the last record.
	Close() error
}

// Stores finds a store by name. [Context] and [Host] are Stores.
type Stores interface {
	// Store returns the open store of that name, or an error if the operator
	// was not connected to it.
	Store(name string) (statestore.Store, error)
	// ApplicationID returns the prefix of the application's internal topics.
	ApplicationID() string
}

// RowTransformer makes the value of each row of a table. Each task has its own
// and calls it from one goroutine.
type RowTransformer[K, V, V2 any] interface {
	// Init is called once, before the first row.
	Init(ctx RowContext) error
	// Transform returns the value of a key, and whether it has one; with ok false
	// the row that it is made from is gone.
	Transform(key K, value V, ok bool) (V2, bool, error)
	// Close is called once, after the last row.
	Close() error
}

// RowContext is what a [RowTransformer] sees of its task: it can forward nothing.
type RowContext interface {
	Stores
	// TaskID returns the id of the task.
	TaskID() TaskID
	// StreamTime returns the largest timestamp that the task has processed, in
	// milliseconds, and -1 before the first.
	StreamTime() int64
	// Logger returns the logger of the task.
	Logger() *slog.Logger
}

// Context is what a [Processor] sees of its task. It is used from the goroutine
// that calls the processor, and from the functions that it schedules.
type Context[K, V any] interface {
	TaskContext
	// Forward hands r to every operator downstream and returns when they are
	// done with it.
	Forward(r Record[K, V]) error
}

// FixedProcessor is a [Processor] that forwards values only, so that every record
// keeps its key.
type FixedProcessor[K, V, V2 any] interface {
	// Init is called once, before the first record.
	Init(ctx FixedContext[V2]) error
	// Process handles one record and forwards any number through the context.
	Process(r Record[K, V]) error
	// Close is called once, after the last record.
	Close() error
}

// ErrSkip means that a message is to be left out, by decision of its source,
// which has counted and logged it.
var ErrSkip = errors.New("the message is left out")

// ErrNoKey means that a [FixedProcessor] forwarded a value while it processed no
// record whose key the value could have.
var ErrNoKey = errors.New("a value is forwarded outside of Process, without a key")

// FixedContext is what a [FixedProcessor] sees of its task. What it forwards has
// the key of the record that Process was called with; from elsewhere, a
// punctuation for example, that is [ErrNoKey].
type FixedContext[V any] interface {
	TaskContext
	// Forward hands a value to every operator downstream, with the time and the
	// headers of the record.
	Forward(value V) error
	// ForwardNull is Forward of a null value.
	ForwardNull() error
	// ForwardAt is Forward with another time, in milliseconds, and other headers.
	ForwardAt(value V, timestamp int64, headers []Header) error
}

// TaskContext is what code of the user sees of its task.
type TaskContext interface {
	Stores
	// TaskID returns the id of the task.
	TaskID() TaskID
	// Schedule calls f every so often until cancel is called; now is in
	// milliseconds.
	Schedule(every time.Duration, t PunctuationType, f func(now int64) error) (cancel func())
	// Commit asks for a commit as soon as the current record is done.
	Commit()
	// StreamTime returns the largest timestamp that the task has processed, in
	// milliseconds, and -1 before the first.
	StreamTime() int64
	// Now returns the time of the wall clock.
	Now() time.Time
	// Meta tells which message is being processed; not ok in a punctuation.
	Meta() (topic string, partition int32, offset int64, ok bool)
	// Drop counts one record as dropped.
	Drop(reason string)
	// Logger returns the logger of the task.
	Logger() *slog.Logger
}
