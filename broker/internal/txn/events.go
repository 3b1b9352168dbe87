// Package txn decides what a transaction coordinator does: a pure machine on one partition of
// __transaction_state (KIP-98, KIP-360, KIP-447, KIP-890), in Kafka's record formats.
package txn

import (
	"errors"
	"regexp"
	"time"
)

// The events that a Machine decides on, besides those of package machine. They are handed over as
// pointers. Each names the value that its reply carries; a failure of the whole request, such as
// INVALID_PRODUCER_ID_MAPPING or PRODUCER_FENCED, is the reply's error. What an event holds is not
// changed after it was handed over.

// ErrProducerIDNeeded is the reply to an event that lacks a NewProducerID and turned out to need one:
// take one and hand the event in again.
var ErrProducerIDNeeded = errors.New("a new producer id is needed")

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Producer is the producer id and epoch that a client is to use from now on.
type Producer struct {
	ID    int64
	Epoch int16
}

// InitProducer is an InitProducerId request with a transactional id. The reply is a Producer.
type InitProducer struct {
	TransactionalID string
	Timeout         time.Duration
	ProducerID      int64 // what the producer has so far (KIP-360), or -1
	ProducerEpoch   int16
	NewProducerID   int64 // for when it needs another, or -1; see ErrProducerIDNeeded
}

// AddPartitions is an AddPartitionsToTxn or AddOffsetsToTxn request, or what a partition leader asks
// before it appends the first batch of a transaction (KIP-890). The reply is an []error with one
// place for each partition, nil where it is part of the ongoing transaction; it leaves once that is
// durable. While the transaction before is being completed it waits for that.
type AddPartitions struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	Partitions      []TopicPartition
	Verify          bool // only say whether they are part of it, and add nothing; TRANSACTION_ABORTABLE where not
	Explicit        bool // asked for by a client that adds partitions before it produces: transactions v1
}

// EndTxn is an EndTxn request. The reply is the Producer for the next transaction; it leaves once
// the outcome is durable.
type EndTxn struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	Commit          bool
	Bump            bool  // transactions v2: each end has an epoch of its own (KIP-890)
	NewProducerID   int64 // for when the epochs are used up, or -1; see ErrProducerIDNeeded
}

// Describe asks for one transactional id. The reply is a *kmsg.DescribeTransactionsResponseTransactionState.
type Describe struct{ TransactionalID string }

// List asks for the transactional ids of this partition, sorted. An empty filter lets all through.
// The reply is a []kmsg.ListTransactionsResponseTransactionState.
type List struct {
	States      []string
	ProducerIDs []int64
	Duration    time.Duration  // transactions that run longer; negative: all
	Pattern     *regexp.Regexp // of the transactional id; may be nil
}

// WriteMarkers is the request of a machine.Send, as a pointer: the end of a transaction is to be
// written to partitions. It is answered when every marker is durable or refused, with an []error, one
// place for each partition and nil where the marker is written. UNKNOWN_TOPIC_OR_PARTITION says that
// the partition is deleted and needs none; any other error is tried again.
type WriteMarkers struct {
	TransactionalID  string // the sender's own affair
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Commit           bool
	Bumped           bool // transactions v2: the epoch is one beyond that of the transaction's batches
	Partitions       []TopicPartition
}
