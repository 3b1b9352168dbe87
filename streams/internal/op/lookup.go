package op

import (
	"math"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Lookup reads the row of a key in a table, and its time. A versioned table
// answers as of a time, every other as of now.
type Lookup[K, V any] func(key K, asOf int64) (value V, at int64, ok bool, err error)

// Now is the asOf that asks for the latest row.
const Now int64 = math.MaxInt64

// OpenRows returns the lookup of a table in a key-value or versioned store.
func OpenRows[K, V any](e *Env, s State[K, V]) (Lookup[K, V], error) {
	raw, err := e.Store(s.Store)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	if raw.Spec().Kind == statestore.KindVersioned {
		versions, err := OpenVersioned(e, s.Store, s.Key, s.Value)
		if err != nil {
			return nil, fail(s.Operator, processor.Process, err)
		}
		return func(key K, asOf int64) (V, int64, bool, error) {
			r, ok, err := versions.GetAsOf(key, asOf)
			return r.Value, r.Timestamp, ok, err
		}, nil
	}
	kv, err := OpenKeyValue(e, s.Store, s.Key, s.Value)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	return func(key K, _ int64) (V, int64, bool, error) { return kv.GetAt(key) }, nil
}

// OpenWindowRows returns the lookup of a table in a window store.
func OpenWindowRows[K, V any](e *Env, s State[K, V]) (Lookup[serde.Windowed[K], V], error) {
	w, err := OpenWindow(e, s.Store, s.Key, s.Value)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	return func(key serde.Windowed[K], _ int64) (V, int64, bool, error) { return w.Get(key.Key, key.Start) }, nil
}

// OpenGlobalRows returns the lookup of a global table.
func OpenGlobalRows[K, V any](e *Env, store, topic string, key serde.Serde[K], value serde.Serde[V]) (Lookup[K, V], error) {
	rows, err := e.Global(store)
	if err != nil {
		return nil, err
	}
	var k, row []byte
	return func(of K, _ int64) (v V, at int64, ok bool, err error) {
		if k, err = key.Append(k[:0], topic, of); err != nil {
			return v, 0, false, err
		}
		if row, at, ok, err = rows.Get(row[:0], k); err != nil || !ok {
			return v, 0, false, err
		}
		v, err = value.Decode(topic, row)
		return v, at, err == nil, err
	}, nil
}
