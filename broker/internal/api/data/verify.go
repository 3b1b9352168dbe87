package data

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/txn"
)

// Transactions are the coordinators of transactions, wherever they are. Safe for concurrent use; no
// method blocks.
type Transactions interface {
	// AddPartitions asks the coordinator of a transactional id. done is called once, from any goroutine,
	// with one error for each partition or one for all.
	AddPartitions(e *txn.AddPartitions, done func(errs []error, err error))
	// WriteMarkers ends a transaction on partitions of this broker. done is called once, from any
	// goroutine, when every marker is durable or refused, with one error for each partition.
	WriteMarkers(w *txn.WriteMarkers, done func(errs []error))
}

// The Produce versions of clients that know TRANSACTION_ABORTABLE, and of those that leave it to the
// broker to add partitions to their transactions (KIP-890).
const (
	produceAbortable = 11
	produceAdds      = 12
)

// transactional says that a batch belongs to a transaction.
func transactional(records []byte) bool {
	return len(records) >= record.HeaderSize && record.Batch(records).IsTransactional()
}

// transactional says that any batch of the request belongs to a transaction.
func (o *produce) transactional() bool {
	for i := range o.parts {
		if transactional(o.parts[i].records) {
			return true
		}
	}
	return false
}

// asked is a partition whose first batch of a transaction waits for the coordinator.
type asked struct {
	partition txn.TopicPartition
	*partition.Verification
}

// verify asks the coordinator about all partitions at once. A request speaks for one producer.
func (d *Deps) verify(transactionalID string, version int16, all []asked) {
	first := all[0]
	e := &txn.AddPartitions{
		TransactionalID: transactionalID, ProducerID: first.ProducerID, ProducerEpoch: first.ProducerEpoch,
		Verify: version < produceAdds,
	}
	same := all[:0]
	for _, a := range all {
		if a.ProducerID != first.ProducerID || a.ProducerEpoch != first.ProducerEpoch {
			a.Answer(kerr.InvalidProducerIDMapping)
			continue
		}
		same = append(same, a)
		e.Partitions = append(e.Partitions, a.partition)
	}
	d.Transactions.AddPartitions(e, func(errs []error, err error) {
		for i, a := range same {
			if err != nil {
				a.Answer(unverified(err, version))
			} else {
				a.Answer(unverified(errs[i], version))
			}
		}
	})
}

// unverified turns what a coordinator answers into what producers understand: they know no
// coordinator in Produce, and old ones neither of the other codes.
func unverified(err error, version int16) error {
	switch {
	case errors.Is(err, kerr.ProducerFenced):
		return kerr.InvalidProducerEpoch
	case errors.Is(err, kerr.TransactionAbortable) && version < produceAbortable:
		return kerr.InvalidTxnState
	case errors.Is(err, kerr.ConcurrentTransactions), errors.Is(err, kerr.NotCoordinator),
		errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.CoordinatorLoadInProgress):
		return kerr.NotEnoughReplicas // is tried again, without a look for another leader
	}
	return err
}
