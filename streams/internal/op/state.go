package op

import (
	"fmt"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// State says which store an operator keeps its rows in, and how they are
// encoded. Changes of a cached store go on when it is flushed, those of others
// at once.
type State[K, V any] struct {
	Operator string
	Store    string
	Key      serde.Serde[K]
	Value    serde.Serde[V]
	Old      bool // changes tell the old value, which those of a cached store do anyway
}

// changelog is the topic that serdes of a store are told.
func changelog(app, store string) string { return app + "-" + store + "-changelog" }

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
	topic := changelog(s.ApplicationID(), name)
	kv, err := statestore.AsKeyValue(raw, codec[K]{key, topic}, codec[V]{value, topic})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	return kv, nil
}

// OpenWindow returns a typed window store of a task.
func OpenWindow[K, V any](s processor.Stores, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.Window[K, V], error) {
	raw, err := s.Store(name)
	if err != nil {
		return nil, err
	}
	topic := changelog(s.ApplicationID(), name)
	w, err := statestore.AsWindow(raw, codec[K]{key, topic}, codec[V]{value, topic})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	return w, nil
}

// OpenVersioned returns a typed versioned store of a task.
func OpenVersioned[K, V any](s processor.Stores, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.Versioned[K, V], error) {
	raw, err := s.Store(name)
	if err != nil {
		return nil, err
	}
	topic := changelog(s.ApplicationID(), name)
	v, err := statestore.AsVersioned(raw, codec[K]{key, topic}, codec[V]{value, topic})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	return v, nil
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

// onFlush forwards the changes that a cached store held back, with the headers that
// were noted. A row that came and went between two flushes was never seen and is
// not shown.
func onFlush[K, KR, V any](e *Env, operator string, notes *noted[K], next Next[KR, Change[V]], key func(*statestore.Change[K, V]) KR) func(statestore.Change[K, V]) error {
	return func(c statestore.Change[K, V]) (err error) {
		headers, err := notes.take(c.Key, c.Start, c.End)
		if err != nil {
			return fail(operator, processor.Process, err)
		}
		if !c.HasOld && !c.HasNew {
			return nil
		}
		defer func() { err = e.Handle(err) }()
		defer e.Guard(&err)
		e.Enter(operator)
		return forward(next, key(&c),
			row[V]{value: c.New, ok: c.HasNew, at: c.Timestamp}, row[V]{value: c.Old, ok: c.HasOld}, headers)
	}
}

// Rows is the store of a table: key-value or versioned.
type Rows[K, V any] struct {
	operator string
	e        *Env
	kv       statestore.KeyValue[K, V]  // nil if versioned
	versions statestore.Versioned[K, V] // nil if not
	next     Next[K, Change[V]]         // nil if the flush forwards
	old      bool                       // next wants old values
	notes    *noted[K]                  // nil unless the flush forwards
}

// OpenTable opens the store of an operator, once for each task.
func OpenTable[K, V any](e *Env, s State[K, V], next Next[K, Change[V]]) (*Rows[K, V], error) {
	raw, err := e.Store(s.Store)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	t := &Rows[K, V]{operator: s.Operator, e: e, next: next, old: s.Old}
	if raw.Spec().Kind == statestore.KindVersioned {
		t.versions, err = OpenVersioned(e, s.Store, s.Key, s.Value)
		return t, fail(s.Operator, processor.Process, err)
	}
	t.kv, err = OpenKeyValue(e, s.Store, s.Key, s.Value)
	if err == nil && raw.Spec().Cached {
		t.next, t.notes = nil, newNoted(e, s, false)
		err = t.kv.OnFlush(onFlush(e, s.Operator, t.notes, next, func(c *statestore.Change[K, V]) K { return c.Key }))
	}
	return t, fail(s.Operator, processor.Process, err)
}

// get returns the latest row of a key.
func (t *Rows[K, V]) get(key K) (r row[V], err error) {
	if t.versions == nil {
		r.value, r.at, r.ok, err = t.kv.GetAt(key)
	} else {
		var v statestore.Row[K, V]
		v, r.ok, err = t.versions.Get(key)
		r.value, r.at = v.Value, v.Timestamp
	}
	return r, fail(t.operator, processor.Process, err)
}

// replaced returns the latest row of a key for the sake of those who want old
// values, and nothing if nobody does or the cache remembers it.
func (t *Rows[K, V]) replaced(key K) (row[V], error) {
	if t.next == nil || !t.old {
		return row[V]{}, nil
	}
	return t.get(key)
}

// put replaces the row of a key, or deletes it. A versioned table does not take
// what is older than its history.
func (t *Rows[K, V]) put(key K, now, old row[V], h []processor.Header) error {
	change := Change[V]{New: now.value}
	if t.old {
		change.Old, change.HasOld = old.value, old.ok
	}
	stored, err := true, error(nil)
	if t.versions == nil {
		err = t.set(key, now, h)
	} else {
		stored, change.Late, err = t.add(key, now)
	}
	switch {
	case err != nil:
		return fail(t.operator, processor.Process, err)
	case !stored:
		t.e.Drop(Late)
		return nil
	case t.next == nil:
		return nil
	}
	return t.next(processor.Record[K, Change[V]]{
		Key: key, Value: change, NullValue: !now.ok, Timestamp: now.at, Headers: h,
	})
}

func (t *Rows[K, V]) set(key K, now row[V], h []processor.Header) error {
	if t.notes != nil {
		if err := t.notes.note(key, 0, 0, h); err != nil {
			return err
		}
	}
	if !now.ok {
		return t.kv.DeleteAt(key, now.at)
	}
	return t.kv.PutAt(key, now.value, now.at)
}

// add puts a version. It is late if there is a newer one.
func (t *Rows[K, V]) add(key K, now row[V]) (stored, late bool, err error) {
	var until int64
	if now.ok {
		until, stored, err = t.versions.Put(key, now.value, now.at)
	} else {
		until, stored, err = t.versions.Delete(key, now.at)
	}
	return stored, until != statestore.Forever, err
}
