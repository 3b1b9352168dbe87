package op

import (
	"math"

	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Aggregate folds the records of each key into the row of that key. The row's
// time is the latest of its records.
func Aggregate[K, V, A any](e *Env, s State[K, A], fold Fold[K, V, A], next Next[K, Change[A]]) (Next[K, V], error) {
	table, err := openTable(e, s, next)
	if err != nil {
		return nil, err
	}
	return func(r processor.Record[K, V]) error {
		switch {
		case r.NullKey:
			e.Drop(NullKey)
			return nil
		case r.NullValue:
			e.Drop(NullValue)
			return nil
		}
		e.Enter(s.Operator)
		old, err := table.get(r.Key)
		if err != nil {
			return err
		}
		agg, ok := fold(r.Key, r.Value, false, old.value, old.ok)
		at := r.Timestamp
		if old.ok {
			at = max(at, old.at)
		}
		return table.put(r.Key, row[A]{value: agg, ok: ok, at: at}, old, r.Headers)
	}, nil
}

// Table keeps the latest value of each key. Without a store it forwards what
// comes, and knows no old values.
func Table[K, V any](e *Env, s State[K, V], next Next[K, Change[V]]) (Next[K, V], error) {
	if s.Store == "" {
		return func(r processor.Record[K, V]) error {
			if r.NullKey {
				e.Drop(NullKey)
				return nil
			}
			return next(processor.Record[K, Change[V]]{
				Key: r.Key, Value: Change[V]{New: r.Value}, NullValue: r.NullValue,
				Timestamp: r.Timestamp, Headers: r.Headers,
			})
		}, nil
	}
	table, err := openTable(e, s, next)
	if err != nil {
		return nil, err
	}
	return func(r processor.Record[K, V]) error {
		if r.NullKey {
			e.Drop(NullKey)
			return nil
		}
		e.Enter(s.Operator)
		old, err := table.replaced(r.Key)
		if err != nil {
			return err
		}
		return table.put(r.Key, row[V]{value: r.Value, ok: !r.NullValue, at: r.Timestamp}, old, r.Headers)
	}, nil
}

// NoEnd is the grace of windows that never close, in milliseconds.
const NoEnd int64 = math.MaxInt64

// Windows is how time is cut, in milliseconds.
type Windows struct{ Size, Advance, Grace int64 }

// first returns the start of the earliest window that holds a time.
func (w Windows) first(at int64) int64 {
	return max(0, at-w.Size+w.Advance) / w.Advance * w.Advance
}

// closed returns the time at or before which a window has to end to be closed,
// when stream time is at.
func (w Windows) closed(at int64) int64 {
	if w.Grace == NoEnd {
		return math.MinInt64
	}
	return at - w.Grace
}

// Window folds the records of each key into a row for each window that they
// fall into. A record raises stream time first, then is judged window by window:
// too late for one it may still be on time for the next. Records with a null
// value are folded like others.
func Window[K, V, A any](e *Env, s State[K, A], w Windows, fold Fold[K, V, A], next Next[serde.Windowed[K], Change[A]]) (Next[K, V], error) {
	table, err := openWindows(e, s, w.Size, next)
	if err != nil {
		return nil, err
	}
	streamTime := int64(-1)
	update := func(r *processor.Record[K, V], start int64) error {
		e.Enter(s.Operator)
		old, at, has, err := table.store.Get(r.Key, start)
		if err != nil {
			return fail(s.Operator, processor.Process, err)
		}
		agg, ok := fold(r.Key, r.Value, r.NullValue, old, has)
		if !has || r.Timestamp > at {
			at = r.Timestamp
		}
		return table.put(r.Key, start, row[A]{value: agg, ok: ok, at: at}, row[A]{value: old, ok: has}, r.Headers)
	}
	return func(r processor.Record[K, V]) error {
		if r.NullKey {
			e.Drop(NullKey)
			return nil
		}
		streamTime = max(streamTime, r.Timestamp)
		closed := w.closed(streamTime)
		for start := w.first(r.Timestamp); start <= r.Timestamp; start += w.Advance {
			if start+w.Size <= closed {
				e.Drop(Late)
				continue
			}
			if err := update(&r, start); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
