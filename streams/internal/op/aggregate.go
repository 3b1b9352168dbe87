package op

import "github.com/weirstream/weir/streams/processor"

// Aggregate folds the records of each key into the row of that key. The row's
// time is the latest of its records.
func Aggregate[K, V, A any](e *Env, operator string, table *Rows[K, A], fold Fold[K, V, A]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		switch {
		case r.NullKey:
			e.Drop(NullKey)
			return nil
		case r.NullValue:
			e.Drop(NullValue)
			return nil
		}
		e.Enter(operator)
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
	}
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
	table, err := OpenTable(e, s, next)
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
