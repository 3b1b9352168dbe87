package op

import (
	"fmt"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// State says which store an operator keeps its rows in, and how they are
// encoded.
type State[K, V any] struct {
	Operator string
	Store    string
	Cached   bool // changes go on when the store is flushed, not at once
	Key      serde.Serde[K]
	Value    serde.Serde[V]
}

// codec is a serde bound to the changelog topic of a store.
type codec[T any] struct {
	serde serde.Serde[T]
	topic string
}

// Append implements statestore.Codec.
func (c codec[T]) Append(dst []byte, v T) ([]byte, error) { return c.serde.Append(dst, c.topic, v) }

// Decode implements statestore.Codec.
func (c codec[T]) Decode(b []byte) (T, error) { return c.serde.Decode(c.topic, b) }

// OpenKeyValue returns a typed key-value store of a task.
func OpenKeyValue[K, V any](s processor.Stores, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.KeyValue[K, V], error) {
	raw, err := s.Store(name)
	if err != nil {
		return nil, err
	}
	topic := graph.ChangelogTopic(s.ApplicationID(), name)
	kv, err := statestore.AsKeyValue(raw, codec[K]{key, topic}, codec[V]{value, topic})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	return kv, nil
}

// row is the value of a key, if there is one, and its time.
type row[V any] struct {
	value V
	ok    bool
	at    int64
}

// forward hands a change to what comes after.
func forward[K, V any](next Next[K, Change[V]], key K, now, old row[V], h []processor.Header) error {
	return next(processor.Record[K, Change[V]]{
		Key: key, Value: Change[V]{New: now.value, Old: old.value, HasOld: old.ok}, NullValue: !now.ok,
		Timestamp: now.at, Headers: h,
	})
}

// rows is a timestamped key-value store that forwards its changes: at once, or
// when it is flushed if it is cached.
type rows[K, V any] struct {
	kv   statestore.KeyValue[K, V]
	next Next[K, Change[V]] // nil if the flush forwards
}

func openTable[K, V any](e *Env, s State[K, V], next Next[K, Change[V]]) (*rows[K, V], error) {
	return nil, nil
}
func (t *rows[K, V]) get(key K) (v V, at int64, ok bool, err error) { return }
func (t *rows[K, V]) put(key K, now, old row[V], h []processor.Header) error {
	return forward(t.next, key, now, old, h)
}

type windowRows[K, V any] struct {
	next Next[serde.Windowed[K], Change[V]] // nil if the flush forwards
}

func openWindows[K, V any](e *Env, s State[K, V], size int64, next Next[serde.Windowed[K], Change[V]]) (*windowRows[K, V], error) {
	return nil, nil
}
func (t *windowRows[K, V]) get(key K, start int64) (v V, at int64, ok bool, err error) { return }
func (t *windowRows[K, V]) put(key K, start int64, now, old row[V], h []processor.Header) error {
	return nil
}
