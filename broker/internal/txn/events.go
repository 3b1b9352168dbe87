// Package txn decides what a transaction coordinator does: a pure machine on one partition of
// __transaction_state (KIP-98, KIP-360, KIP-447, KIP-890), in Kafka's record formats.
package txn

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// AddPartitions is an AddPartitionsToTxn request, or what a partition leader asks before it appends
// the first batch of a transaction (KIP-890). The reply is an []error with one place for each
// partition, nil where it is part of the ongoing transaction; it leaves once that is durable.
type AddPartitions struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	Partitions      []TopicPartition
	Verify          bool // only say whether they are part of it, and add nothing
}

// WriteMarkers is the request of a machine.Send: the end of a transaction is to be written to
// partitions. It is answered when every marker is durable or refused, with an []error, one place for
// each partition and nil where the marker is written.
type WriteMarkers struct {
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Commit           bool
	Partitions       []TopicPartition
}
