package op

import (
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// Slide folds the records of each key into a row for each window [s, s+diff],
// both ends included, that a record begins or ends: the window of a record ends
// at it, and one starts right after it if that would hold a record.
//
// Windows with the same records in them are one, so a new window starts from the
// row of the window whose records are all in it, and no record is read twice.
// Records with a null key or value are dropped.
func Slide[K, V, A any](e *Env, operator string, rows *WindowRows[K, A], diff, grace int64, fold Fold[K, V, A]) Next[K, V] {
	streamTime := int64(-1)
	w := &slider[K, V, A]{e: e, operator: operator, rows: rows, diff: diff, fold: fold}
	return func(r processor.Record[K, V]) error {
		switch {
		case r.NullKey:
			e.Drop(NullKey)
			return nil
		case r.NullValue:
			e.Drop(NullValue)
			return nil
		}
		streamTime = max(streamTime, r.Timestamp)
		w.closed = before(streamTime, grace)
		if r.Timestamp+1+diff <= w.closed {
			e.Drop(Late)
			return nil
		}
		if r.Timestamp < diff {
			return w.early(&r)
		}
		if err := rows.closed(w.closed, streamTime-diff); err != nil {
			return err
		}
		return w.add(&r)
	}
}

// slider adds one record at a time to the sliding windows of its key.
type slider[K, V, A any] struct {
	e        *Env
	operator string
	rows     *WindowRows[K, A]
	diff     int64
	closed   int64 // windows that end before are closed
	fold     Fold[K, V, A]
	found    []statestore.Row[K, A]
}

// near leaves the windows of a key that matter to a record in found, by start:
// those that hold it, the one right after it and those just before.
func (w *slider[K, V, A]) near(r *processor.Record[K, V]) error {
	w.e.Enter(w.operator)
	clear(w.found)
	w.found = w.found[:0]
	from := max(0, r.Timestamp-2*w.diff)
	for f, err := range w.rows.store.Fetch(r.Key, from, r.Timestamp+1, statestore.Ascending) {
		if err != nil {
			return fail(w.operator, processor.Process, err)
		}
		w.found = append(w.found, f)
	}
	return nil
}

func (w *slider[K, V, A]) starts(at int64) bool {
	for i := range w.found {
		if w.found[i].Start == at {
			return true
		}
	}
	return false
}

// neighbours is what the windows around a record tell about the records there.
type neighbours[A any] struct {
	right    row[A] // the newest window that holds the record, before the record was added
	left     row[A] // the newest window that ends before the record
	previous int64  // time of the last record before this one, as far as it matters; -1 for none
	twin     bool   // there was a record of this very time
}

// add updates the windows that hold a record, and makes those that it begins or
// ends.
func (w *slider[K, V, A]) add(r *processor.Record[K, V]) error {
	if err := w.near(r); err != nil {
		return err
	}
	n, err := w.hold(r)
	if err != nil || n.twin {
		return err
	}
	if n.previous >= 0 && n.previous+1+w.diff >= r.Timestamp && !w.starts(n.previous+1) {
		if err := w.update(r, n.previous+1, row[A]{}); err != nil {
			return err
		}
	}
	if begin := r.Timestamp - w.diff; !w.starts(begin) {
		if n.previous < begin {
			n.left = row[A]{}
		}
		if err := w.update(r, begin, n.left); err != nil {
			return err
		}
	}
	return w.right(r, n.right)
}

// hold updates the windows that hold a record, the newest first.
func (w *slider[K, V, A]) hold(r *processor.Record[K, V]) (n neighbours[A], err error) {
	n.previous = -1
	begin := r.Timestamp - w.diff
	for i := len(w.found) - 1; i >= 0; i-- {
		f := &w.found[i]
		switch {
		case f.Start > r.Timestamp:
			continue
		case f.Start < begin:
			n.left, n.previous = rowOf(f), f.Timestamp
			return n, nil
		case f.Start > begin && !n.right.ok:
			if n.right, err = w.reread(f); err != nil {
				return n, err
			}
		}
		if err := w.update(r, f.Start, rowOf(f)); err != nil {
			return n, err
		}
		if f.Start == begin {
			n.previous, n.twin = f.Timestamp, f.Timestamp >= r.Timestamp
			return n, nil
		}
	}
	return n, nil
}

// early is add for a record whose window would start before the epoch. One
// window [0, diff] holds all of those.
func (w *slider[K, V, A]) early(r *processor.Record[K, V]) error {
	if err := w.near(r); err != nil {
		return err
	}
	var all, right row[A]
	previous := int64(-1)
	for i := range w.found {
		f := &w.found[i]
		var err error
		switch {
		case f.Start > r.Timestamp:
		case f.Start == 0:
			all = rowOf(f)
			if f.Timestamp < r.Timestamp {
				previous = f.Timestamp
			} else if right, err = w.reread(f); err != nil {
				return err
			}
		default:
			if right, err = w.reread(f); err == nil {
				err = w.update(r, f.Start, rowOf(f))
			}
			if err != nil {
				return err
			}
		}
	}
	if err := w.right(r, right); err != nil {
		return err
	}
	if previous >= 0 && !w.starts(previous+1) {
		if err := w.update(r, previous+1, row[A]{}); err != nil {
			return err
		}
	}
	return w.update(r, 0, all)
}

// right makes the window right after a record if later records are in it: those
// of the newest window that holds the record.
func (w *slider[K, V, A]) right(r *processor.Record[K, V], later row[A]) error {
	if !later.ok || later.at <= r.Timestamp || w.starts(r.Timestamp+1) {
		return nil
	}
	return w.rows.put(r.Key, r.Timestamp+1, later, row[A]{}, r.Headers)
}

// update folds a record into the row of a window, unless that is closed.
func (w *slider[K, V, A]) update(r *processor.Record[K, V], start int64, from row[A]) error {
	if start+w.diff < w.closed {
		w.e.Drop(Late)
		return nil
	}
	old := row[A]{}
	if w.starts(start) {
		old = from
	}
	w.e.Enter(w.operator)
	return w.fold.into(w.rows, r, start, old, from)
}

func rowOf[K, A any](f *statestore.Row[K, A]) row[A] {
	return row[A]{value: f.Value, ok: true, at: f.Timestamp}
}

// reread returns a row anew: the fold may change the value that was read before.
func (w *slider[K, V, A]) reread(f *statestore.Row[K, A]) (row[A], error) {
	value, at, ok, err := w.rows.store.Get(f.Key, f.Start)
	return row[A]{value: value, ok: ok, at: at}, fail(w.operator, processor.Process, err)
}
