package coordinator

import (
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
)

// writes are the records of one machine on their way into its log, counted since the load.
type writes struct {
	decided   uint64 // records that the machine has decided on
	committed uint64
	bytes     int // of the batches in pending
	pending   []*pendingBatch
	busy      bool // an append is under way
}

// pendingBatch collects records until the append before it has ended.
type pendingBatch struct {
	builder *record.Builder
	txn     *machine.Txn
}

// write is one append under way.
type write struct {
	term  uint64
	log   Log
	batch record.Batch
	count int
}

// add puts a record into the last pending batch, or into a new one where that is full or belongs to
// another transaction.
func (w *writes) add(timestamp int64, r machine.Record, limit int) {
	w.decided++
	last := w.last()
	if last == nil || !sameTxn(last.txn, r.Txn) || last.builder.Size()+r.Size() > limit {
		last = &pendingBatch{builder: record.NewBuilder(batchOptions(r.Txn)), txn: r.Txn}
		w.pending = append(w.pending, last)
	}
	before := last.builder.Size()
	last.builder.Append(timestamp, r.Key, r.Value, nil)
	w.bytes += last.builder.Size() - before
}

func (w *writes) last() *pendingBatch {
	if len(w.pending) == 0 {
		return nil
	}
	return w.pending[len(w.pending)-1]
}

// take returns the next append, or nil when there is none or one is under way.
func (w *writes) take() *write {
	if w.busy || len(w.pending) == 0 {
		return nil
	}
	first := w.pending[0]
	if w.pending = w.pending[1:]; len(w.pending) == 0 {
		w.pending, w.bytes = nil, 0
	} else {
		w.bytes -= first.builder.Size() - record.HeaderSize
	}
	w.busy = true
	return &write{batch: first.builder.Build(), count: first.builder.Count()}
}

// done takes the commit of the append that was under way.
func (w *writes) done(d *write) {
	w.busy = false
	w.committed += uint64(d.count)
}

func sameTxn(a, b *machine.Txn) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func batchOptions(t *machine.Txn) record.Options {
	if t == nil {
		return record.Options{}
	}
	return record.Options{
		Transactional: true,
		Producer:      &record.Producer{ID: t.ProducerID, Epoch: t.ProducerEpoch, Sequence: record.NoSequence},
	}
}
