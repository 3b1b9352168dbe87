package query

import (
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// KeyValue reads a key-value store.
type KeyValue[K, V any] struct {
	store[K, V, statestore.KeyValue[K, V]]
}

// NewKeyValue returns a reader of a key-value store: that of a table, a plain
// aggregation or a processor.
func NewKeyValue[K, V any](app App, name string, key serde.Serde[K], value serde.Serde[V]) *KeyValue[K, V] {
	return &KeyValue[K, V]{store[K, V, statestore.KeyValue[K, V]]{app, name, key, value, op.OpenKeyValue[K, V]}}
}

// Get returns the row of a key. If it is not found while a task that may have it
// is not ready, the error is that of [App.Query].
func (q *KeyValue[K, V]) Get(key K) (row Row[K, V], ok bool, err error) {
	return q.one(func(s statestore.KeyValue[K, V]) (Row[K, V], bool, error) {
		v, at, ok, err := s.GetAt(key)
		return Row[K, V]{Key: key, Value: v, Timestamp: at}, ok, err
	})
}

// Range returns the rows of the keys from one to another, both included, by the
// bytes of their keys within each task.
func (q *KeyValue[K, V]) Range(from, to K, order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.KeyValue[K, V]) walk[K, V] { return walk[K, V](s.Range(from, to, order)) })
}

// Prefix returns the rows whose keys, as bytes, start with a prefix.
func (q *KeyValue[K, V]) Prefix(prefix []byte, order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.KeyValue[K, V]) walk[K, V] { return walk[K, V](s.Prefix(prefix, order)) })
}

// All returns all rows.
func (q *KeyValue[K, V]) All(order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.KeyValue[K, V]) walk[K, V] { return walk[K, V](s.All(order)) })
}

// Window reads a window store.
type Window[K, V any] struct {
	store[K, V, statestore.Window[K, V]]
}

// NewWindow returns a reader of a window store, that of a windowed aggregation.
func NewWindow[K, V any](app App, name string, key serde.Serde[K], value serde.Serde[V]) *Window[K, V] {
	return &Window[K, V]{store[K, V, statestore.Window[K, V]]{app, name, key, value, op.OpenWindow[K, V]}}
}

// Get returns the row of a key in the window that starts at a time.
func (q *Window[K, V]) Get(key K, start int64) (row Row[K, V], ok bool, err error) {
	return q.one(func(s statestore.Window[K, V]) (row Row[K, V], ok bool, err error) {
		for r, err := range s.Fetch(key, start, start, statestore.Ascending) {
			return r, err == nil, err
		}
		return row, false, nil
	})
}

// Fetch returns the rows of a key in windows that start from one time to another,
// both included, by start.
func (q *Window[K, V]) Fetch(key K, from, to int64, order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.Window[K, V]) walk[K, V] { return walk[K, V](s.Fetch(key, from, to, order)) })
}

// FetchAll is Fetch of all keys. Rows of one key come by start; keys may mix.
func (q *Window[K, V]) FetchAll(from, to int64, order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.Window[K, V]) walk[K, V] { return walk[K, V](s.FetchAll(from, to, order)) })
}

// Session reads a session store.
type Session[K, V any] struct {
	store[K, V, statestore.Session[K, V]]
}

// NewSession returns a reader of a session store.
func NewSession[K, V any](app App, name string, key serde.Serde[K], value serde.Serde[V]) *Session[K, V] {
	return &Session[K, V]{store[K, V, statestore.Session[K, V]]{app, name, key, value, op.OpenSession[K, V]}}
}

// Get returns the session of a key with this start and end.
func (q *Session[K, V]) Get(key K, start, end int64) (row Row[K, V], ok bool, err error) {
	return q.one(func(s statestore.Session[K, V]) (Row[K, V], bool, error) {
		v, ok, err := s.Get(key, start, end)
		return Row[K, V]{Key: key, Value: v, Start: start, End: end, Timestamp: end}, ok, err
	})
}

// Fetch returns the sessions of a key that end at or after earliestEnd and start
// at or before latestStart, by end and then by start.
func (q *Session[K, V]) Fetch(key K, earliestEnd, latestStart int64, order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.Session[K, V]) walk[K, V] {
		return walk[K, V](s.FetchSessions(key, earliestEnd, latestStart, order))
	})
}

// All returns all sessions. Those of one key come by end; keys may mix.
func (q *Session[K, V]) All(order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.Session[K, V]) walk[K, V] { return walk[K, V](s.All(order)) })
}

// Versioned reads a versioned store (KIP-889).
type Versioned[K, V any] struct {
	store[K, V, statestore.Versioned[K, V]]
}

// NewVersioned returns a reader of a versioned store, that of a table with
// streams.Versioned.
func NewVersioned[K, V any](app App, name string, key serde.Serde[K], value serde.Serde[V]) *Versioned[K, V] {
	return &Versioned[K, V]{store[K, V, statestore.Versioned[K, V]]{app, name, key, value, op.OpenVersioned[K, V]}}
}

// Get returns the latest version of a key.
func (q *Versioned[K, V]) Get(key K) (row Row[K, V], ok bool, err error) {
	return q.one(func(s statestore.Versioned[K, V]) (Row[K, V], bool, error) { return s.Get(key) })
}

// AsOf returns the version of a key that was valid at a time.
func (q *Versioned[K, V]) AsOf(key K, at int64) (row Row[K, V], ok bool, err error) {
	return q.one(func(s statestore.Versioned[K, V]) (Row[K, V], bool, error) { return s.GetAsOf(key, at) })
}

// Versions returns the versions of a key that were valid at some moment from one
// time to another, both included, by time.
func (q *Versioned[K, V]) Versions(key K, from, to int64, order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.Versioned[K, V]) walk[K, V] { return walk[K, V](s.Versions(key, from, to, order)) })
}

// All returns the latest versions of all keys.
func (q *Versioned[K, V]) All(order statestore.Order) ([]Row[K, V], error) {
	return q.all(func(s statestore.Versioned[K, V]) walk[K, V] { return walk[K, V](s.All(order)) })
}
