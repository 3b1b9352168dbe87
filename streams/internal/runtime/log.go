package runtime

import (
	"context"
	"time"
)

// Reader answers what a group has committed and where partitions begin and end.
type Reader interface {
	// Committed returns what the application's group has committed; a partition
	// without a commit has offset -1.
	Committed(ctx context.Context, tps []TP) (map[TP]Offset, error)
	// Starts returns the first offset of each partition.
	Starts(ctx context.Context, tps []TP) (map[TP]int64, error)
	// Ends returns the offset after the last record of each partition.
	Ends(ctx context.Context, tps []TP) (map[TP]int64, error)
}

// Topic is one topic of a cluster, or one to create.
type Topic struct {
	Name       string
	ID         string // as the broker knows it; empty for none
	Partitions int32
	Internal   bool              // of the brokers
	Config     map[string]string // to create it with
}

// Admin manages topics. It may be used from any goroutine.
type Admin interface {
	Reader
	// Topics describes those of the named topics that exist.
	Topics(ctx context.Context, names []string) (map[string]Topic, error)
	// AllTopics describes every topic.
	AllTopics(ctx context.Context) (map[string]Topic, error)
	// Create creates topics; one that exists already is not an error. A
	// replication factor of -1 is the default of the cluster.
	Create(ctx context.Context, topics []Topic, replication int16) error
	// DeleteRecords deletes what is before an offset, partition by partition.
	DeleteRecords(ctx context.Context, before map[TP]int64) error
	// Close ends the connections.
	Close()
}

// Fetched is what a poll brought of one partition.
type Fetched struct {
	TP
	Messages []Message // the slice is valid until the next poll, the bytes stay
	Next     int64     // offset after the messages, markers included
	End      int64     // end of the partition as the broker told it
}

// Log is a Kafka as one worker sees it: a member of the application's group,
// and a producer. All methods but Subscribe and Kill are for one goroutine at a time.
//
// Between two commits lies a unit. At least once, Begin does nothing, Commit waits
// until everything that was sent is acknowledged and then commits the offsets, and
// Abort drops what was not sent and waits for the rest. Exactly once, a unit is a
// transaction: records and offsets count together or not at all, for whoever
// reads only what is committed, as Poll and Restored do.
type Log interface {
	Collector
	Reader
	// Poll returns records of the partitions that are assigned and not paused,
	// after at most wait; zero takes what is there. From its return to the next
	// call, no partition moves. An error that is not an [ErrRetry] is final.
	Poll(ctx context.Context, wait time.Duration, limit int) ([]Fetched, error)
	// Pause stops the fetching of partitions, and drops what was fetched ahead.
	Pause(tps []TP)
	// Resume undoes Pause.
	Resume(tps []TP)
	// Seek lets the reading of assigned partitions go on at an offset.
	Seek(to map[TP]int64)
	// Begin opens the unit that the next Commit or Abort ends. After it returned,
	// no earlier unit of this worker can become committed any more, and what
	// Committed answers is what the last one came to.
	Begin(ctx context.Context) error
	// Commit ends the unit. Exactly once, it fails unless the worker is still the
	// member of the group that the partitions were assigned to. After an error
	// the unit must be aborted. Whether it counts is known after the next Begin.
	Commit(ctx context.Context, offsets []Offset) error
	// Abort ends the unit after a failure, and forgets failures of records. An
	// error is final.
	Abort(ctx context.Context) error
	// Subscribe changes which topics the member reads, from any goroutine. It must
	// not be called while the worker is kept from a rebalance.
	Subscribe(topics []string)
	// Rejoin asks the group to assign anew, with what the worker holds by now. It
	// does not wait.
	Rejoin()
	// Acked returns, once, the offset of the last acknowledged record that was
	// sent to a partition of a changelog since the last call.
	Acked(tp TP) (int64, bool)
	// Restore starts to read partitions of changelogs, from the given offsets.
	Restore(from map[TP]int64) error
	// Restored returns records of those partitions, after at most wait.
	Restored(ctx context.Context, wait time.Duration, limit int) ([]Fetched, error)
	// EndRestore stops the reading of partitions of changelogs.
	EndRestore(tps []TP)
	// Close aborts the unit and ends the membership of the client, not that of the member: one that
	// comes back under its name within the session timeout takes over, unless
	// leave says that the group is to go on without it at once.
	Close(ctx context.Context, leave bool) error
	// Kill fails everything that waits, now and later. It may be called from any
	// goroutine.
	Kill()
}

// Rebalancer is told by a [Log] which partitions its worker has. The calls come
// one at a time, from any goroutine, during Poll or Close.
//
// Holds and Follow come from any goroutine at any time, and do not wait.
type Rebalancer interface {
	// Holds returns what the process of the worker has state of, as
	// assign.Member has it, and the tasks that the worker keeps copies of.
	Holds() (state map[TaskID]int64, following []TaskID)
	// Follow tells which tasks the worker is to run, once they are assigned, and
	// which ones it is to keep copies of.
	Follow(active, standby, warmup []TaskID)
	// Assigned hands over partitions, none at all included.
	Assigned(ctx context.Context, tps []TP)
	// Revoked takes partitions back; until it returns, nobody else has them.
	Revoked(ctx context.Context, tps []TP)
	// Lost takes back partitions that somebody else may have already.
	Lost(ctx context.Context, tps []TP)
}
