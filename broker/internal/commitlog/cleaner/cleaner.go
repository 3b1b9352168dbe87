// Package cleaner decides what a compaction leaves of a log: of each key the newest committed
// record, and whatever else readers still need. It is handed batches and hands back what is left
// of them; files are its caller's.
//
// A round goes over the log twice. Index takes the batches that no round has seen yet, and notes
// the newest offset of each key, as far as memory goes. Filter then takes every batch from the
// log's beginning on, and returns what stays:
//
//   - A record stays when it is its key's newest, or lies beyond what was indexed. One without a
//     key goes.
//   - A tombstone stays until the delete horizon of its batch has passed. The first round that
//     finds one there sets the horizon (KIP-534).
//   - Records of aborted transactions go, and count for nothing. A marker stays until a round has
//     met no batch of its transaction, and then until its own horizon has passed.
//   - The last batch of a producer that may write again stays, empty if need be: it carries the
//     sequence number.
//   - Offsets never change, and batches that lose nothing are not touched.
package cleaner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/record"
)

// Last is the newest that the log holds of a producer.
type Last struct {
	Offset int64 // of its last record; -1 when only a marker is known
	Epoch  int16
}

// Options are what a round goes by. Times are in milliseconds.
type Options struct {
	Map             *OffsetMap
	From            int64 // the first offset to be indexed
	Now             int64
	DeleteRetention int64               // how long tombstones and markers stay
	Aborted         []layout.AbortedTxn // all that have batches from From on
	Producers       map[int64]Last      // those that may write again
	Coders          *record.Coders      // may be nil
	MaxDecompressed int                 // bytes of one batch
}

// Round is one compaction of one log. It is not safe for concurrent use.
type Round struct {
	options  Options
	end      int64 // what lies from here on is not indexed
	txns     txns
	inflated []byte
	ahead    [64]entry // scratch of the records looked at together
	records  []byte    // scratch of what stays of a batch's records
	batch    []byte    // scratch of the batch made of them
}

// New returns a round that has seen nothing.
func New(o Options) *Round {
	r := &Round{options: o, end: o.From}
	r.txns.reset(o.Aborted, o.From)
	return r
}

// End is the offset up to which the round compacts: what follows the last record indexed.
func (r *Round) End() int64 { return r.end }

// Index takes the next batch from Options.From on, in offset order. full tells that the map has
// no room for more: the round ends before the first record without a place. Errors are those of a
// batch that cannot be read.
func (r *Round) Index(b record.Batch) (full bool, err error) {
	if err := b.Intact(); err != nil {
		return false, err
	}
	if b.NextOffset() <= r.end {
		return false, nil
	}
	r.txns.reach(b.LastOffset())
	if b.IsControl() {
		if _, err := r.txns.marker(b); err != nil {
			return false, err
		}
		r.end = b.NextOffset()
		return false, nil
	}
	if !r.txns.data(b) {
		if at, err := r.index(b); err != nil || at >= 0 {
			r.end = max(r.end, at)
			return at >= 0, err
		}
	}
	r.end = b.NextOffset()
	return false, nil
}

// index notes the records of a batch and returns the offset of the first without a place, or -1.
func (r *Round) index(b record.Batch) (full int64, err error) {
	body, err := r.body(b)
	if err != nil {
		return -1, err
	}
	w := b.Walk(body)
	for entries := r.next(&w); len(entries) > 0; entries = r.next(&w) {
		for i := range entries {
			e := &entries[i]
			if e.keyed && e.offset >= r.options.From && !r.options.Map.Put(e.hash, e.offset) {
				return e.offset, nil
			}
		}
	}
	return -1, w.Err()
}

// entry is what a round wants to know of a record.
type entry struct {
	offset, timestamp int64
	hash              Hash // when keyed
	keyed, tombstone  bool
	raw               []byte
}

// next returns the next records of a walk, valid until the next call, with their places in the
// offset map at hand; none ends the walk.
func (r *Round) next(w *record.Walker) []entry {
	n := 0
	for n < len(r.ahead) && w.Next() {
		r.ahead[n] = r.entry(w)
		n++
	}
	r.options.Map.touch(r.ahead[:n])
	return r.ahead[:n]
}

// entry is the record that a walk is at.
func (r *Round) entry(w *record.Walker) entry {
	rec := w.Record()
	e := entry{offset: rec.Offset, timestamp: rec.Timestamp, keyed: rec.Key != nil, tombstone: rec.Value == nil, raw: w.Raw()}
	if e.keyed {
		e.hash = r.options.Map.Hash(rec.Key)
	}
	return e
}

// body returns the records of a batch, valid until the next call.
func (r *Round) body(b record.Batch) ([]byte, error) {
	body, err := b.Body(r.options.Coders, r.inflated[:0], r.options.MaxDecompressed)
	if err == nil && b.Codec() != record.None {
		r.inflated = body
	}
	return body, err
}

// Rewind begins a walk of Filter at the log's beginning, with the aborted transactions that have
// batches in the log now. Index must not be called any more.
func (r *Round) Rewind(aborted []layout.AbortedTxn) { r.txns.reset(aborted, 0) }

// Filter takes the next batch from the log's beginning on and returns what stays of it: b itself,
// a smaller batch that is valid until the next call, or nil.
func (r *Round) Filter(b record.Batch) (record.Batch, error) {
	if err := b.Intact(); err != nil {
		return nil, err
	}
	r.txns.reach(b.LastOffset())
	if b.IsControl() {
		return r.filterControl(b)
	}
	gone := r.txns.data(b)
	left := b
	if !gone && b.Count() > 0 && b.BaseOffset() < r.end {
		var err error
		if left, err = r.filterRecords(b); err != nil {
			return nil, err
		}
		gone = left == nil
	}
	switch last, active := r.options.Producers[b.ProducerID()]; {
	case !gone && b.Count() > 0:
		return left, nil
	case !active || last.Offset != b.LastOffset():
		return nil, nil
	case b.Count() == 0:
		return b, nil
	}
	r.batch = b.Emptied(r.batch[:0])
	return r.batch, nil
}

// Rest returns what is to stay of the last batch of a segment although Filter gave nothing: where
// it ends must be known. The bytes are the caller's.
func Rest(b record.Batch) record.Batch {
	if b.IsControl() {
		return slices.Clone(b)
	}
	return b.Emptied(nil)
}

// filterRecords returns what stays of a batch with records.
func (r *Round) filterRecords(b record.Batch) (record.Batch, error) {
	body, err := r.body(b)
	if err != nil {
		return nil, err
	}
	expired := b.HasDeleteHorizon() && b.BaseTimestamp() <= r.options.Now
	kept := record.Kept{MaxTimestamp: record.NoTimestamp, Horizon: -1}
	out, whole, seen, tombstones := r.records[:0], true, 0, false
	w := b.Walk(body)
	for entries := r.next(&w); len(entries) > 0; entries = r.next(&w) {
		for i := range entries {
			e := &entries[i]
			if !r.stays(e, expired) {
				if whole {
					out, whole = append(out, body[:seen]...), false
				}
				continue
			}
			seen += len(e.raw)
			if !whole {
				out = append(out, e.raw...)
			}
			kept.Count++
			kept.MaxTimestamp = max(kept.MaxTimestamp, e.timestamp)
			tombstones = tombstones || e.tombstone
		}
	}
	r.records = out
	switch {
	case w.Err() != nil:
		return nil, w.Err()
	case kept.Count == 0:
		return nil, nil
	case tombstones && !b.HasDeleteHorizon():
		return r.withHorizon(b, body, kept)
	case whole:
		return b, nil
	}
	return r.keep(b, out, kept)
}

// stays decides about one record of a batch whose delete horizon has passed or not.
func (r *Round) stays(e *entry, expired bool) bool {
	switch {
	case e.offset >= r.end:
		return true
	case !e.keyed || e.tombstone && expired:
		return false
	}
	return e.offset >= r.options.Map.Get(e.hash)
}

func (r *Round) keep(b record.Batch, records []byte, kept record.Kept) (record.Batch, error) {
	out, err := b.Keep(r.options.Coders, r.batch[:0], records, kept)
	r.batch = out
	return out, err
}

// withHorizon writes the records that stay of a batch relative to the delete horizon that it gets.
func (r *Round) withHorizon(b record.Batch, body []byte, kept record.Kept) (record.Batch, error) {
	kept.Horizon = r.options.Now + r.options.DeleteRetention
	out := r.records[:0]
	w := b.Walk(body)
	for w.Next() {
		if e := r.entry(&w); b.IsControl() || r.stays(&e, false) {
			out = w.AppendRebased(out, kept.Horizon)
		}
	}
	r.records = out
	if w.Err() != nil {
		return nil, w.Err()
	}
	return r.keep(b, out, kept)
}

// filterControl returns what stays of a control batch: all of it, or nothing.
func (r *Round) filterControl(b record.Batch) (record.Batch, error) {
	needed, err := r.txns.marker(b)
	last, active := r.options.Producers[b.ProducerID()]
	switch {
	case err != nil:
		return nil, err
	case needed || active && last.Offset < 0 && last.Epoch == b.ProducerEpoch():
		return b, nil
	case b.Count() == 0:
		return nil, nil
	case !b.HasDeleteHorizon():
		return r.withHorizon(b, b[record.HeaderSize:], record.Kept{Count: b.Count(), MaxTimestamp: b.MaxTimestamp()})
	case b.BaseTimestamp() <= r.options.Now:
		return nil, nil
	}
	return b, nil
}

// TakeAborted returns the aborted transactions whose markers Filter has met since the last call
// and whose batches are not all gone, in the order of the markers.
func (r *Round) TakeAborted() []layout.AbortedTxn {
	out := r.txns.kept
	r.txns.kept = nil
	return out
}

// txns follows the transactions through a walk over the log.
type txns struct {
	ahead []layout.AbortedTxn // aborted, not reached yet, by first offset
	open  map[int64]*txn      // by producer
	kept  []layout.AbortedTxn
}

// txn is a transaction that the walk is in.
type txn struct {
	aborted bool
	entry   layout.AbortedTxn // when aborted
	met     bool              // some batch of it
}

// reset begins a walk that meets all markers from an offset on.
func (t *txns) reset(aborted []layout.AbortedTxn, from int64) {
	t.ahead = slices.DeleteFunc(slices.Clone(aborted), func(a layout.AbortedTxn) bool { return a.Last < from })
	slices.SortFunc(t.ahead, func(a, b layout.AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	t.open, t.kept = map[int64]*txn{}, nil
}

// reach opens the aborted transactions that begin at or before an offset.
func (t *txns) reach(offset int64) {
	for len(t.ahead) > 0 && t.ahead[0].First <= offset {
		t.open[t.ahead[0].ProducerID] = &txn{aborted: true, entry: t.ahead[0]}
		t.ahead = t.ahead[1:]
	}
}

// data tells whether a batch belongs to a transaction that is aborted.
func (t *txns) data(b record.Batch) (aborted bool) {
	if !b.IsTransactional() {
		return false
	}
	open := t.open[b.ProducerID()]
	if open == nil || open.aborted && open.entry.Last < b.BaseOffset() {
		open = &txn{} // and not the one before, had its marker been lost
		t.open[b.ProducerID()] = open
	}
	open.met = true
	return open.aborted
}

// marker ends a transaction, and tells whether some batch of it was met. Control batches that end
// none are always needed.
func (t *txns) marker(b record.Batch) (needed bool, err error) {
	if b.Count() == 0 {
		return false, nil // Kafka leaves these of a transaction that is all gone
	}
	c, err := b.Control()
	if err != nil {
		return false, fmt.Errorf("control batch at offset %d: %w", b.BaseOffset(), err)
	}
	if !c.IsEndTxn() {
		return true, nil
	}
	open := t.open[b.ProducerID()]
	delete(t.open, b.ProducerID())
	if open == nil || !open.met {
		return false, nil
	}
	if open.aborted {
		t.kept = append(t.kept, open.entry)
	}
	return true, nil
}
