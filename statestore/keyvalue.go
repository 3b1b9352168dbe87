package statestore

import "iter"

// AsKeyValue returns the typed front of a key-value store. It is used from the
// goroutine of the store, like every other front of it.
func AsKeyValue[K, V any](s Store, key Codec[K], value Codec[V]) (KeyValue[K, V], error) {
	h, err := newHandle(s, KindKeyValue, key, value)
	if err != nil {
		return nil, err
	}
	return keyValue[K, V]{byKey[K, V]{h}}, nil
}

type keyValue[K, V any] struct{ byKey[K, V] }

// Get implements KeyValue.
func (s keyValue[K, V]) Get(key K) (value V, ok bool, err error) {
	value, _, ok, err = s.GetAt(key)
	return value, ok, err
}

// GetAt implements KeyValue.
func (s keyValue[K, V]) GetAt(key K) (value V, timestamp int64, ok bool, err error) {
	if err := s.locate(key); err != nil {
		return value, NoTimestamp, false, err
	}
	return s.look()
}

// Put implements KeyValue.
func (s keyValue[K, V]) Put(key K, value V) error { return s.PutAt(key, value, NoTimestamp) }

// PutAt implements KeyValue.
func (s keyValue[K, V]) PutAt(key K, value V, timestamp int64) error {
	if err := s.locate(key); err != nil {
		return err
	}
	return s.write(value, timestamp)
}

// PutIfAbsent implements KeyValue.
func (s keyValue[K, V]) PutIfAbsent(key K, value V) (old V, present bool, err error) {
	old, present, err = s.Get(key)
	if err != nil || present {
		return old, present, err
	}
	return old, false, s.write(value, NoTimestamp)
}

// Delete implements KeyValue.
func (s keyValue[K, V]) Delete(key K) error { return s.DeleteAt(key, NoTimestamp) }

// DeleteAt implements KeyValue.
func (s keyValue[K, V]) DeleteAt(key K, timestamp int64) error {
	if err := s.locate(key); err != nil {
		return err
	}
	return s.set(s.row, nil, false, timestamp)
}

// byKey is a store with a row for each key.
type byKey[K, V any] struct{ *handle[K, V] }

// locate leaves the DB's key of a row in the handle.
func (s byKey[K, V]) locate(key K) error {
	row, err := s.key.Append(s.layout.beginKeys(s.row[:0]), key)
	if err != nil {
		return s.encodeKey(key)
	}
	s.row = row
	return nil
}

// Range implements KeyValue and Versioned.
func (s byKey[K, V]) Range(from, to K, order Order) iter.Seq2[Row[K, V], error] {
	return s.rows(order, everything, func() ([]bounds, error) {
		var b bounds
		if err := s.locate(from); err != nil {
			return nil, err
		}
		b.from = append(b.from, s.row...)
		if err := s.locate(to); err != nil {
			return nil, err
		}
		b.to = append(append(b.to, s.row...), 0)
		return []bounds{b}, nil
	})
}

// Prefix implements KeyValue and Versioned.
func (s byKey[K, V]) Prefix(prefix []byte, order Order) iter.Seq2[Row[K, V], error] {
	return s.rows(order, everything, func() ([]bounds, error) {
		from := append(s.layout.beginKeys(nil), prefix...)
		return []bounds{{from: from, to: after(from)}}, nil
	})
}

// All implements KeyValue and Versioned.
func (s byKey[K, V]) All(order Order) iter.Seq2[Row[K, V], error] { return s.Prefix(nil, order) }

func everything(span) bool { return true }
