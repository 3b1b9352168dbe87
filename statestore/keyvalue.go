package statestore

import "iter"

// AsKeyValue returns the typed front of a key-value store. It is used from the
// goroutine of the store, like every other front of it.
func AsKeyValue[K, V any](s Store, key Codec[K], value Codec[V]) (KeyValue[K, V], error) {
	h, err := newHandle(s, KindKeyValue, key, value)
	if err != nil {
		return nil, err
	}
	return &keyValue[K, V]{h}, nil
}

type keyValue[K, V any] struct{ h *handle[K, V] }

// Get implements KeyValue.
func (s *keyValue[K, V]) Get(key K) (value V, ok bool, err error) {
	value, _, ok, err = s.GetAt(key)
	return value, ok, err
}

// GetAt implements KeyValue.
func (s *keyValue[K, V]) GetAt(key K) (value V, timestamp int64, ok bool, err error) {
	if err := s.h.locate(key); err != nil {
		return value, NoTimestamp, false, err
	}
	return s.h.look()
}

// Put implements KeyValue.
func (s *keyValue[K, V]) Put(key K, value V) error { return s.PutAt(key, value, NoTimestamp) }

// PutAt implements KeyValue.
func (s *keyValue[K, V]) PutAt(key K, value V, timestamp int64) error {
	if err := s.h.locate(key); err != nil {
		return err
	}
	return s.h.write(value, timestamp)
}

// PutIfAbsent implements KeyValue.
func (s *keyValue[K, V]) PutIfAbsent(key K, value V) (old V, present bool, err error) {
	old, present, err = s.Get(key)
	if err != nil || present {
		return old, present, err
	}
	return old, false, s.h.write(value, NoTimestamp)
}

// Delete implements KeyValue.
func (s *keyValue[K, V]) Delete(key K) error { return s.DeleteAt(key, NoTimestamp) }

// DeleteAt implements KeyValue.
func (s *keyValue[K, V]) DeleteAt(key K, timestamp int64) error {
	if err := s.h.locate(key); err != nil {
		return err
	}
	return s.h.store.set(s.h.row, nil, false, timestamp)
}

// Range implements KeyValue.
func (s *keyValue[K, V]) Range(from, to K, order Order) iter.Seq2[Row[K, V], error] {
	return s.h.keys(from, to, order)
}

// Prefix implements KeyValue.
func (s *keyValue[K, V]) Prefix(prefix []byte, order Order) iter.Seq2[Row[K, V], error] {
	return s.h.prefix(prefix, order)
}

// All implements KeyValue.
func (s *keyValue[K, V]) All(order Order) iter.Seq2[Row[K, V], error] { return s.h.prefix(nil, order) }

// OnFlush implements KeyValue.
func (s *keyValue[K, V]) OnFlush(f func(Change[K, V]) error) error { return s.h.onFlush(f) }

// locate leaves the DB's key of a row in the handle of a store with a row for each key.
func (h *handle[K, V]) locate(key K) error {
	row, err := h.key.Append(h.store.layout.beginKeys(h.row[:0]), key)
	if err != nil {
		return h.encodeKey(key)
	}
	h.row = row
	return nil
}

// keys walks the rows of the keys from one to another.
func (h *handle[K, V]) keys(from, to K, order Order) iter.Seq2[Row[K, V], error] {
	return h.rows(order, everything, func() ([]bounds, error) {
		var b bounds
		if err := h.locate(from); err != nil {
			return nil, err
		}
		b.from = append(b.from, h.row...)
		if err := h.locate(to); err != nil {
			return nil, err
		}
		b.to = append(append(b.to, h.row...), 0)
		return []bounds{b}, nil
	})
}

// prefix walks the rows of the keys whose encoding starts with a prefix.
func (h *handle[K, V]) prefix(prefix []byte, order Order) iter.Seq2[Row[K, V], error] {
	return h.rows(order, everything, func() ([]bounds, error) {
		from := append(h.store.layout.beginKeys(nil), prefix...)
		return []bounds{{from: from, to: after(from)}}, nil
	})
}

func everything(span) bool { return true }
