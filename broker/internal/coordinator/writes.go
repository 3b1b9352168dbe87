package coordinator

import (
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
)

// writes are the records of one machine on their way into its log, counted since the load.
type writes struct {
	decided   uint64 // records that the machine has decided on
	committed uint64
	bytes     int // of pending
	pending   []*pendingBatch
	busy      bool // an append is under way
}

// pendingBatch collects records until the append before it has ended, or is a marker.
type pendingBatch struct {
	builder *record.Builder // nil for a marker
	txn     *machine.Txn
	marker  record.Batch
}

func (b *pendingBatch) size() int {
	if b.builder == nil {
		return len(b.marker)
	}
	return b.builder.Size()
}

// build returns the batch and how many records the machine replayed for it.
func (b *pendingBatch) build() (record.Batch, int) {
	if b.builder == nil {
		return b.marker, 1
	}
	return b.builder.Build(), b.builder.Count()
}

// write is one append under way.
type write struct {
	term    uint64
	log     Log
	batches []byte
	count   int
}

// add puts a record into the last pending batch, or into a new one where that is full or belongs to
// another transaction.
func (w *writes) add(timestamp int64, r machine.Record, limit int) {
	w.decided++
	last := w.last()
	if last == nil || last.builder == nil || !sameTxn(last.txn, r.Txn) || last.size()+r.Size() > limit {
		last = &pendingBatch{builder: record.NewBuilder(batchOptions(r.Txn)), txn: r.Txn}
		w.pending = append(w.pending, last)
		w.bytes += last.size()
	}
	before := last.size()
	last.builder.Append(timestamp, r.Key, r.Value, nil)
	w.bytes += last.size() - before
}

// mark adds a marker behind what was decided before it.
func (w *writes) mark(marker record.Batch) {
	w.decided++
	w.pending = append(w.pending, &pendingBatch{marker: marker})
	w.bytes += len(marker)
}

func (w *writes) last() *pendingBatch {
	if len(w.pending) == 0 {
		return nil
	}
	return w.pending[len(w.pending)-1]
}

// take returns the next append, or nil when there is none or one is under way. Batches go together as
// far as the limit allows: transactions and their markers do not each wait for an append of their own.
func (w *writes) take(limit int) *write {
	if w.busy || len(w.pending) == 0 {
		return nil
	}
	w.busy = true
	next := &write{}
	n := 0
	for ; n < len(w.pending) && (n == 0 || len(next.batches)+w.pending[n].size() <= limit); n++ {
		w.bytes -= w.pending[n].size()
		batch, count := w.pending[n].build()
		next.count += count
		if n == 0 {
			next.batches = batch
			continue
		}
		next.batches = append(next.batches, batch...)
	}
	if w.pending = w.pending[n:]; len(w.pending) == 0 {
		w.pending = nil
	}
	return next
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
