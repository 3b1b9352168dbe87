// Package runtime runs the tasks of a topology: it reads their partitions,
// chooses the next record by time, commits, restores stores and shares tasks
// among workers.
//
// A [Task] has neither goroutine nor clock: whoever drives it hands it messages
// and asks it to process, flush and apply. A [Worker] is one such driver, with a
// Kafka client of its own behind [Log]; a test driver is another.
//
// The order of a commit is the law of this package. Stores flush (cached
// changes go on, all changes go to the changelogs), then the log commits (what
// was sent is acknowledged, then the offsets), then the changes and the
// changelog positions reach the database of the task. A crash between two steps
// leaves the database behind its changelog, which the next start replays. At least
// once, it may leave the committed offset behind the outputs too, which are then
// made again; exactly once, the log's commit is a transaction over outputs,
// changelogs and offsets, so a crash has either all of them or none. Nothing of a
// unit is in a database before it is committed, so no crash makes one unusable.
//
// A worker keeps copies of tasks that run elsewhere too: a slot that reads the
// changelogs into a database of the same kind, and never processes. When the group
// assigns the task here, the copy becomes the task, and its position is where the
// restore goes on.
package runtime

import (
	"errors"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// The types of a record's way, so that a [Log] needs no other room.
type (
	// TaskID names a task.
	TaskID = processor.TaskID
	// Message is a polled record.
	Message = processor.Message
	// Outgoing is a record to send.
	Outgoing = processor.Outgoing
	// Header is a record header.
	Header = processor.Header
)

// AnyPartition lets the collector choose the partition of a record.
const AnyPartition = processor.AnyPartition

// Program is what a task runs: a topology with its functions. It may be used
// from any goroutine.
type Program interface {
	// Graph returns the topology as a value.
	Graph() *graph.Topology
	// NewTask instantiates the operators of a sub-topology.
	NewTask(sub int, h processor.Host) (processor.Task, error)
}

// TP is one partition of a topic.
type TP struct {
	Topic     string
	Partition int32
}

// Offset is where the reading of a partition goes on.
type Offset struct {
	TP
	Offset   int64  // of the next record; -1 if nothing is committed
	Metadata string // the time of the partition, see [Task.Offsets]
}

// Collector takes the records that leave a task.
type Collector interface {
	// Send hands over one record; it copies what it keeps. It may block while
	// too many records are on their way. An [ErrRefused] is about this record
	// alone: it is not sent, and the unit goes on. Any other error, of this record
	// or of an earlier one, makes the next commit fail; it is an [ErrRetry] if
	// making the records again can help. So it is for records that were refused
	// after Send: when they are made again each is known by itself.
	Send(o *Outgoing) error
}

// The errors that decide what happens to a worker; they come wrapped.
var (
	// ErrRetry means that a commit or a request failed for now: the worker drops
	// what was not committed, goes back to the committed offsets and tries again
	// after a while.
	ErrRetry = errors.New("temporary failure")
	// ErrStale means that the database of a task does not belong to the
	// changelogs that exist: it is wiped and restored.
	ErrStale = errors.New("state does not belong to its changelog")
)
