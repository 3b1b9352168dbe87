package txn

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine/field"
)

// initProducer gives a producer an epoch that fences all earlier ones of its transactional id. An
// ongoing transaction is aborted first, and the producer has to ask again.
func (t *turn) initProducer(e *InitProducer) {
	x := t.find(e.TransactionalID)
	switch err := t.checkInit(e, x); {
	case err != nil:
		t.refuse(err)
	case x == nil:
		t.create(e)
	case x.state.completing():
		t.refuse(kerr.ConcurrentTransactions)
	case x.state == Ongoing:
		t.fence(e.TransactionalID, x)
		t.refuse(kerr.ConcurrentTransactions)
	default:
		t.renew(e, x)
	}
}

// checkInit refuses a timeout that is out of bounds, and a producer that was fenced (KIP-360): it must
// have the epoch that is in force, or the one before, whose answer it may have missed.
func (t *turn) checkInit(e *InitProducer, x *transaction) error {
	switch {
	case e.TransactionalID == "" || len(e.TransactionalID) > field.MaxString:
		return kerr.InvalidRequest
	case e.Timeout <= 0 || e.Timeout > t.options.MaxTimeout:
		return kerr.InvalidTransactionTimeout
	case x == nil || e.ProducerID == noProducer || x.state.completing():
		return nil
	case e.ProducerID != x.producerID && (e.ProducerID != x.previousID || !exhausted(e.ProducerEpoch)):
		return kerr.ProducerFenced
	case e.ProducerEpoch != x.epoch && (x.state == Ongoing || !t.isBefore(e, x)):
		return kerr.ProducerFenced
	}
	return nil
}

// isBefore reports whether a producer has the epoch before the one in force.
func (t *turn) isBefore(e *InitProducer, x *transaction) bool {
	before, known := t.before[e.TransactionalID]
	return known && before == e.ProducerEpoch && e.ProducerEpoch != x.epoch
}

func (t *turn) create(e *InitProducer) {
	if e.NewProducerID == noProducer {
		t.refuse(ErrProducerIDNeeded)
		return
	}
	t.admit(e, &transaction{producerID: e.NewProducerID, previousID: e.NewProducerID, nextID: noProducer})
}

// renew raises the epoch, or takes a new producer id where epochs are used up. A request whose answer
// was lost gets that answer again.
func (t *turn) renew(e *InitProducer, x *transaction) {
	next := x.to(Empty, t.now.UnixMilli())
	next.partitions = nil
	retry := e.ProducerID != noProducer && t.isBefore(e, x)
	switch {
	case retry:
		next.previousID = x.previousID
	case !exhausted(x.epoch):
		next.epoch++
	case e.NewProducerID == noProducer:
		t.refuse(ErrProducerIDNeeded)
		return
	default:
		next.producerID, next.epoch = e.NewProducerID, 0
	}
	switch {
	case retry:
	case e.ProducerID != noProducer:
		t.before[e.TransactionalID] = x.epoch
	default:
		delete(t.before, e.TransactionalID)
	}
	t.admit(e, next)
}

func (t *turn) admit(e *InitProducer, x *transaction) {
	x.state, x.timeout = Empty, int32(e.Timeout.Milliseconds())
	x.updated, x.started = t.now.UnixMilli(), -1
	t.set(e.TransactionalID, x)
	t.answer(Producer{x.producerID, x.epoch})
}

// fence aborts an ongoing transaction. Its producer must not take the new epoch for the one that its
// own EndTxn would have got, so the epoch goes up by two (KIP-890).
func (t *turn) fence(id string, x *transaction) {
	next := x.to(PrepareAbort, t.now.UnixMilli())
	next.epoch = int16(min(int32(x.epoch)+2, lastEpoch))
	next.version, next.nextID = version2, noProducer
	delete(t.before, id)
	t.set(id, next)
	t.complete(id, next)
}
