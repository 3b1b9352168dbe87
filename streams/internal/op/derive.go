package op

import "github.com/weirstream/weir/streams/processor"

// Each makes the row of a table from the row of another; either may be absent.
type Each[K, V, V2 any] func(key K, value V, ok bool) (V2, bool, error)

// Keep returns the rows for which test answers want.
func Keep[K, V any](e *Env, name string, test func(K, V) bool, want bool) Each[K, V, V] {
	return func(key K, value V, ok bool) (V, bool, error) {
		e.Enter(name)
		return value, ok && test(key, value) == want, nil
	}
}

// Replace makes another value of each row.
func Replace[K, V, V2 any](e *Env, name string, f func(K, V) V2) Each[K, V, V2] {
	return func(key K, value V, ok bool) (v V2, _ bool, err error) {
		if !ok {
			return v, false, nil
		}
		e.Enter(name)
		return f(key, value), true, nil
	}
}

// Derive makes each row of a table from one of another table, and keeps it if
// the state has a store. quiet drops changes from nothing to nothing, as far as
// old values are known.
func Derive[K, V, V2 any](e *Env, s State[K, V2], f Each[K, V, V2], quiet bool, next Next[K, Change[V2]]) (Next[K, Change[V]], error) {
	quiet = quiet && s.Old
	if s.Store == "" {
		return derive(s, f, quiet, next), nil
	}
	table, err := OpenTable(e, s, next)
	if err != nil {
		return nil, err
	}
	return func(r processor.Record[K, Change[V]]) error {
		now, ok, err := f(r.Key, r.Value.New, !r.NullValue)
		if err != nil {
			return fail(s.Operator, processor.Process, err)
		}
		old, err := table.replaced(r.Key)
		if err != nil || quiet && table.next != nil && !ok && !old.ok {
			return err
		}
		return table.put(r.Key, row[V2]{value: now, ok: ok, at: r.Timestamp}, old, r.Headers)
	}, nil
}

// derive is Derive without a store.
func derive[K, V, V2 any](s State[K, V2], f Each[K, V, V2], quiet bool, next Next[K, Change[V2]]) Next[K, Change[V]] {
	return func(r processor.Record[K, Change[V]]) error {
		now, ok, err := f(r.Key, r.Value.New, !r.NullValue)
		c := Change[V2]{New: now, Late: r.Value.Late}
		if s.Old && err == nil {
			c.Old, c.HasOld, err = f(r.Key, r.Value.Old, r.Value.HasOld)
		}
		if err != nil {
			return fail(s.Operator, processor.Process, err)
		}
		if quiet && !ok && !c.HasOld {
			return nil
		}
		return next(changed(r, c, ok))
	}
}

// changed returns r with another change.
func changed[K, V, V2 any](r processor.Record[K, Change[V]], c Change[V2], ok bool) processor.Record[K, Change[V2]] {
	return processor.Record[K, Change[V2]]{
		Key: r.Key, Value: c, NullValue: !ok, Timestamp: r.Timestamp, Headers: r.Headers,
	}
}

// Through returns the lookup of a table whose rows are made from those of
// another when they are read.
func Through[K, V, V2 any](rows Lookup[K, V], f Each[K, V, V2]) Lookup[K, V2] {
	return func(key K, asOf int64) (v V2, at int64, ok bool, err error) {
		value, at, ok, err := rows(key, asOf)
		if err != nil {
			return v, at, false, err
		}
		v, ok, err = f(key, value, ok)
		return v, at, ok, err
	}
}
