package txn

import (
	"github.com/twmb/franz-go/pkg/kerr"
)

// endTxn decides the outcome of a transaction.
func (t *turn) endTxn(e *EndTxn) {
	x := t.find(e.TransactionalID)
	switch {
	case e.TransactionalID == "":
		t.refuse(kerr.InvalidRequest)
	case x == nil:
		t.refuse(kerr.InvalidProducerIDMapping)
	case e.Bump:
		t.endVersion2(e, x)
	default:
		t.endVersion1(e, x)
	}
}

// endVersion1 is for clients whose epoch stays the same over transactions: what comes after the end
// with the same result is a repetition.
func (t *turn) endVersion1(e *EndTxn, x *transaction) {
	switch {
	case x.producerID != e.ProducerID:
		t.refuse(kerr.InvalidProducerIDMapping)
	case x.epoch != e.ProducerEpoch:
		t.refuse(kerr.ProducerFenced)
	case x.state == Ongoing:
		next := x.to(outcome(e.Commit), t.now.UnixMilli())
		next.version, next.nextID = version1, noProducer
		t.prepare(e, next)
	default:
		t.repeated(e, x)
	}
}

// endVersion2 is for clients that get a new epoch with each end (KIP-890). The epoch before the one
// in force is a repetition, the one in force is the next transaction: nothing was produced in that,
// so it can only be aborted.
func (t *turn) endVersion2(e *EndTxn, x *transaction) {
	asker := Producer{e.ProducerID, e.ProducerEpoch}
	retry := x.repeats(asker)
	switch {
	case x.state.completing() && x.told() == asker && !retry:
		t.hold(e.TransactionalID, e)
	case x.producerID != e.ProducerID && !retry:
		t.refuse(kerr.InvalidProducerIDMapping)
	case retry && (x.state == Ongoing || x.state == Empty):
		t.refuse(kerr.ProducerFenced)
	case retry:
		t.repeated(e, x)
	case x.epoch != e.ProducerEpoch || x.state.completing():
		t.refuse(kerr.ProducerFenced)
	case x.state != Ongoing && e.Commit:
		t.refuse(kerr.InvalidTxnState)
	default:
		t.bump(e, x)
	}
}

// repeats reports whether a producer has the identity that the last end took away. An end of version 1
// took none away. The very last epoch is only reached by fencing, or on the way to a new producer id.
func (x *transaction) repeats(p Producer) bool {
	if x.version < version2 {
		return false
	}
	if p.ID == x.producerID && int32(p.Epoch)+1 == int32(x.epoch) {
		return x.epoch < lastEpoch || x.nextID != noProducer
	}
	return p.ID == x.previousID && p.ID != x.producerID && p.Epoch == lastGivenAway && x.epoch == 0
}

// bump ends the transaction with the epoch that the next one has.
func (t *turn) bump(e *EndTxn, x *transaction) {
	now := t.now.UnixMilli()
	next := x.to(outcome(e.Commit), now)
	if x.state != Ongoing {
		next.started, next.partitions = now, nil
	}
	next.version, next.nextID = version2, noProducer
	if exhausted(x.epoch) {
		if e.NewProducerID == noProducer {
			t.refuse(ErrProducerIDNeeded)
			return
		}
		next.nextID = e.NewProducerID
	}
	next.epoch = int16(min(int32(x.epoch)+1, lastEpoch))
	t.before[e.TransactionalID] = x.epoch
	t.prepare(e, next)
}

func outcome(commit bool) State {
	if commit {
		return PrepareCommit
	}
	return PrepareAbort
}

func (t *turn) prepare(e *EndTxn, next *transaction) {
	t.set(e.TransactionalID, next)
	t.answer(next.told())
	t.complete(e.TransactionalID, next)
}

// repeated answers an EndTxn for a transaction that has ended.
func (t *turn) repeated(e *EndTxn, x *transaction) {
	same := x.state == CompleteCommit && e.Commit || x.state == CompleteAbort && !e.Commit
	switch {
	case same:
		t.answer(x.told())
	case x.state == outcome(e.Commit):
		t.refuse(kerr.ConcurrentTransactions)
	default:
		t.refuse(kerr.InvalidTxnState)
	}
}
