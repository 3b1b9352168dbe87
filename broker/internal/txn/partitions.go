package txn

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// addPartitions takes partitions into the ongoing transaction and begins one where there is none, or
// only tells whether they are in it.
func (t *turn) addPartitions(e *AddPartitions) {
	x := t.find(e.TransactionalID)
	asker := Producer{e.ProducerID, e.ProducerEpoch}
	switch {
	case e.TransactionalID == "":
		t.refuse(kerr.InvalidRequest)
	case x == nil:
		t.refuse(kerr.InvalidProducerIDMapping)
	case x.state.completing() && x.told() == asker && !e.Verify:
		t.hold(e.TransactionalID, e)
	case x.producerID != e.ProducerID:
		t.refuse(kerr.InvalidProducerIDMapping)
	case x.epoch != e.ProducerEpoch:
		t.refuse(kerr.ProducerFenced)
	case x.state.completing():
		t.refuse(kerr.ConcurrentTransactions)
	case e.Verify:
		t.answer(verdicts(x, e.Partitions))
	default:
		t.join(e, x)
	}
}

func verdicts(x *transaction, partitions []TopicPartition) []error {
	errs := make([]error, len(partitions))
	for i, p := range partitions {
		if x.state != Ongoing || !x.has(p) {
			errs[i] = kerr.TransactionAbortable
		}
	}
	return errs
}

func (t *turn) join(e *AddPartitions, x *transaction) {
	isNew := func(p TopicPartition) bool { return !x.has(p) }
	if x.state == Ongoing && !slices.ContainsFunc(e.Partitions, isNew) {
		t.answer(make([]error, len(e.Partitions)))
		return
	}
	now := t.now.UnixMilli()
	next := x.to(Ongoing, now)
	if x.state != Ongoing {
		next.started, next.partitions = now, nil
	}
	next.partitions = next.with(e.Partitions)
	next.version = version2
	if e.Explicit {
		next.version = version1
	}
	if len(next.encode())+len(e.TransactionalID) > t.options.MaxRecordBytes {
		t.refuse(kerr.PolicyViolation)
		return
	}
	t.set(e.TransactionalID, next)
	t.watch()
	t.answer(make([]error, len(e.Partitions)))
}
