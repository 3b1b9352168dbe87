package op

import "github.com/weirstream/weir/streams/processor"

// RowJoin joins each record of a stream with a row of a table. The result has
// the time of the record; changes of the table send nothing.
type RowJoin[K, V, KT, VT, O any] struct {
	Operator string
	Key      func(r *processor.Record[K, V]) (KT, bool) // of the row; false if the record has none
	Rows     Lookup[KT, VT]
	Both     func(K, V, VT) O
	Alone    func(K, V) O // for records without a row; nil drops them
}

// Open returns the operator in front of what comes after it.
func (j RowJoin[K, V, KT, VT, O]) Open(e *Env, next Next[K, O]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(j.Operator)
		if r.NullValue {
			e.Drop(NullValue)
			return nil
		}
		key, ok := j.Key(&r)
		if !ok && j.Alone == nil {
			e.Drop(NullKey)
			return nil
		}
		var row VT
		if ok {
			var err error
			if row, _, ok, err = j.Rows(key, r.Timestamp); err != nil {
				return fail(j.Operator, processor.Process, err)
			}
		}
		switch {
		case ok:
			return next(withValue(r, j.Both(r.Key, r.Value, row)))
		case j.Alone != nil:
			return next(withValue(r, j.Alone(r.Key, r.Value)))
		default:
			return nil
		}
	}
}

// SameKey is the key of a row that has the key of the record.
func SameKey[K, V any](r *processor.Record[K, V]) (K, bool) { return r.Key, !r.NullKey }
