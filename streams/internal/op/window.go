package op

import (
	"math"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// NoEnd is the grace of windows that never close, and the size of windows that
// never end, in milliseconds.
const NoEnd int64 = math.MaxInt64

// Windows is how time is cut, in milliseconds. An advance of 0 makes one window
// that starts at Start and never ends.
type Windows struct{ Start, Size, Advance, Grace int64 }

// first returns the start of the earliest window that holds a time.
func (w Windows) first(at int64) int64 {
	return max(0, at-w.Size+w.Advance) / w.Advance * w.Advance
}

// closed returns the time at or before which a window has to end to be closed,
// when stream time is at.
func (w Windows) closed(at int64) int64 { return before(at, w.Grace) }

// before returns at less some time, the beginning of time at the earliest.
func before(at, by int64) int64 {
	if by == NoEnd || at < math.MinInt64+by {
		return math.MinInt64
	}
	return at - by
}

// after returns at and some time more, the end of time at the latest.
func after(at, by int64) int64 {
	if at > NoEnd-by {
		return NoEnd
	}
	return at + by
}

// Window folds the records of each key into a row for each window that they
// fall into. A record raises stream time first, then is judged window by window:
// too late for one it may still be on time for the next. Records with a null
// value are folded like others.
func Window[K, V, A any](e *Env, operator string, rows *WindowRows[K, A], w Windows, fold Fold[K, V, A]) Next[K, V] {
	if w.Advance == 0 {
		return endless(e, operator, rows, w.Start, fold)
	}
	streamTime := int64(-1)
	return func(r processor.Record[K, V]) error {
		if r.NullKey {
			e.Drop(NullKey)
			return nil
		}
		streamTime = max(streamTime, r.Timestamp)
		closed := w.closed(streamTime)
		if err := rows.closed(closed, streamTime/w.Advance*w.Advance); err != nil {
			return err
		}
		for start := w.first(r.Timestamp); start <= r.Timestamp; start += w.Advance {
			if start+w.Size <= closed {
				e.Drop(Late)
				continue
			}
			if err := update(e, operator, rows, &r, start, fold); err != nil {
				return err
			}
		}
		return nil
	}
}

// endless is Window over one window without end.
func endless[K, V, A any](e *Env, operator string, rows *WindowRows[K, A], start int64, fold Fold[K, V, A]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		switch {
		case r.NullKey:
			e.Drop(NullKey)
			return nil
		case r.Timestamp < start:
			return nil
		}
		return update(e, operator, rows, &r, start, fold)
	}
}

// update folds a record into the row of one window.
func update[K, V, A any](e *Env, operator string, rows *WindowRows[K, A], r *processor.Record[K, V], start int64, fold Fold[K, V, A]) error {
	e.Enter(operator)
	old, at, has, err := rows.store.Get(r.Key, start)
	if err != nil {
		return fail(operator, processor.Process, err)
	}
	now := row[A]{value: old, ok: has, at: at}
	return fold.into(rows, r, start, now, now)
}

// into folds a record into the row of a window: old is what the window has, from
// what the fold starts with and may change.
func (f Fold[K, V, A]) into(rows *WindowRows[K, A], r *processor.Record[K, V], start int64, old, from row[A]) error {
	agg, ok := f(r.Key, r.Value, r.NullValue, from.value, from.ok)
	at := r.Timestamp
	if from.ok {
		at = max(at, from.at)
	}
	return rows.put(r.Key, start, row[A]{value: agg, ok: ok, at: at}, old, r.Headers)
}

// WindowRows is the window store of an operator, and what comes after it.
type WindowRows[K, V any] struct {
	operator string
	size     int64
	store    statestore.Window[K, V]
	cached   bool
	notes    *noted[K] // nil unless cached
	next     Next[serde.Windowed[K], Change[V]]
	closing  *closing[K, V] // nil if every update goes on
}

// OpenWindows opens the window store of an operator, once for each task. Its
// windows end size after their start. Changes go on as they happen, or as the
// cache is flushed; in a store that is held, each row goes on once, when its
// window has closed.
func OpenWindows[K, V any](e *Env, s State[K, V], size int64, inclusive bool, next Next[serde.Windowed[K], Change[V]]) (*WindowRows[K, V], error) {
	raw, err := e.Store(s.Store)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	store, err := OpenWindow(e, s.Store, s.Key, s.Value)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	spec := raw.Spec()
	t := &WindowRows[K, V]{operator: s.Operator, size: size, store: store, cached: spec.Cached, next: next}
	if spec.Cached {
		t.notes = newNoted(e, s, false)
		err = store.OnFlush(onFlush(e, s.Operator, t.notes, next, func(c *statestore.Change[K, V]) serde.Windowed[K] {
			return t.key(c.Key, c.Start)
		}))
	}
	if spec.Held {
		t.closing = newClosing(e, s, spec.RetentionMs, t.due, store.Expire, next)
		if t.closing.offset = 1 - size; inclusive {
			t.closing.offset = -size
		}
	}
	return t, fail(s.Operator, processor.Process, err)
}

func (t *WindowRows[K, V]) key(key K, start int64) serde.Windowed[K] {
	return serde.Windowed[K]{Key: key, Start: start, End: after(start, t.size)}
}

// closed emits what is due when windows up to a time have closed; see
// closing.run.
func (t *WindowRows[K, V]) closed(closeTime, latest int64) error {
	if t.closing == nil {
		return nil
	}
	return t.closing.run(closeTime, latest)
}

// due reads the rows that start between two times.
func (t *WindowRows[K, V]) due(from, to int64, add func(serde.Windowed[K], row[V]) error) error {
	for r, err := range t.store.FetchAll(from, to, statestore.Ascending) {
		if err == nil {
			err = add(t.key(r.Key, r.Start), row[V]{value: r.Value, ok: true, at: r.Timestamp})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put replaces the row of a key and window, or deletes it.
func (t *WindowRows[K, V]) put(key K, start int64, now, old row[V], h []processor.Header) error {
	var err error
	stored := true
	if now.ok {
		stored, err = t.store.Put(key, start, now.value, now.at)
	} else {
		err = t.store.Delete(key, start, now.at)
	}
	if err == nil && t.notes != nil && stored {
		err = t.notes.note(key, start, 0, h)
	}
	if err != nil || t.closing != nil || t.cached && stored {
		return fail(t.operator, processor.Process, err)
	}
	return forward(t.next, t.key(key, start), now, old, h)
}
