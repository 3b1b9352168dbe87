package statestore

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// handle is what the typed stores share: codecs, and buffers that make a read
// and a write free of allocations. Nothing is embedded here nor in the stores:
// the compiler would make each promoted method anew for all keys and values.
type handle[K, V any] struct {
	store *store
	key   Codec[K]
	value Codec[V]
	plain []byte // an encoded key
	row   []byte // the DB's key of a row
	cell  []byte // the DB's value of a row
}

func newHandle[K, V any](s Store, kind Kind, key Codec[K], value Codec[V]) (*handle[K, V], error) {
	raw, ok := s.(*store)
	if !ok || raw.spec.Kind != kind {
		return nil, fmt.Errorf("%w: store %s is not a %s store", ErrKind, s.Name(), kind)
	}
	return &handle[K, V]{store: raw, key: key, value: value}, nil
}

// encodeKey leaves the bytes of a key in the handle.
func (h *handle[K, V]) encodeKey(key K) (err error) {
	if h.plain, err = h.key.Append(h.plain[:0], key); err != nil {
		return h.store.fail(fmt.Errorf("encode key: %w", err))
	}
	return nil
}

// write sets the row whose key is in the handle.
func (h *handle[K, V]) write(value V, at int64) (err error) {
	h.cell = h.cell[:0]
	if h.store.spec.Timestamped {
		h.cell = binary.BigEndian.AppendUint64(h.cell, uint64(at))
	}
	if h.cell, err = h.value.Append(h.cell, value); err != nil {
		return h.store.fail(fmt.Errorf("encode value: %w", err))
	}
	return h.store.set(h.row, h.cell, true, at)
}

// look returns the row whose key is in the handle.
func (h *handle[K, V]) look() (value V, at int64, ok bool, err error) {
	v, err := h.store.get(h.row)
	if err != nil || !v.live {
		return value, NoTimestamp, false, err
	}
	value, err = h.decode(v)
	if !h.store.spec.Timestamped {
		v.time = NoTimestamp
	}
	return value, v.time, err == nil, err
}

func (h *handle[K, V]) decode(v version) (V, error) {
	value, err := h.value.Decode(h.store.plain(v.row))
	if err != nil {
		return value, h.store.fail(fmt.Errorf("decode value: %w", err))
	}
	return value, nil
}

// decodeKey reads the DB's key of a row. It is used while the handle's buffers
// may be in use.
func (h *handle[K, V]) decodeKey(buf, row []byte) (key K, plain []byte, at span, err error) {
	if plain, at, err = h.store.layout.parse(buf[:0], row); err != nil {
		return key, plain, at, h.store.fail(err)
	}
	if key, err = h.key.Decode(plain); err != nil {
		return key, plain, at, h.store.fail(fmt.Errorf("decode key: %w", err))
	}
	return key, plain, at, nil
}

// bounds is a half-open range of the DB's keys.
type bounds struct{ from, to []byte }

// rows walks the rows within bounds that keep accepts. prepare runs when the
// walk starts, and returns the bounds in the order of the walk.
func (h *handle[K, V]) rows(order Order, keep func(span) bool, prepare func() ([]bounds, error)) iter.Seq2[Row[K, V], error] {
	return func(yield func(Row[K, V], error) bool) {
		parts, err := prepare()
		var buf []byte
		more := true
		for i := 0; i < len(parts) && more && err == nil; i++ {
			err = h.store.scan(parts[i].from, parts[i].to, order, func(row []byte, v version) (bool, error) {
				key, plain, at, err := h.decodeKey(buf, row)
				buf = plain
				if err != nil {
					return false, err
				}
				if at.start == Forever {
					at.start = v.time // the latest version
				}
				if !keep(at) {
					return true, nil
				}
				r := Row[K, V]{Key: key, Timestamp: NoTimestamp}
				r.Start, r.End = h.times(at)
				if h.store.spec.Timestamped {
					r.Timestamp = v.time
				}
				if r.Value, err = h.decode(v); err != nil {
					return false, err
				}
				more = yield(r, nil)
				return more, nil
			})
		}
		if err != nil {
			yield(Row[K, V]{}, err)
		}
	}
}

// times returns the start and end that the user sees.
func (h *handle[K, V]) times(at span) (start, end int64) {
	switch h.store.spec.Kind {
	case KindWindow:
		if at.start > Forever-h.store.spec.WindowSizeMs {
			return at.start, Forever
		}
		return at.start, at.start + h.store.spec.WindowSizeMs
	case KindKeyValue:
		return 0, 0
	default:
		return at.start, at.end
	}
}

// onFlush sets the typed flush listener.
func (h *handle[K, V]) onFlush(f func(Change[K, V]) error) error {
	var buf []byte
	return h.store.onFlush(func(row []byte, old, now version) error {
		key, plain, at, err := h.decodeKey(buf, row)
		buf = plain
		if err != nil {
			return err
		}
		c := Change[K, V]{Key: key, HasOld: old.live, HasNew: now.live, Timestamp: now.time}
		c.Start, c.End = h.times(at)
		if old.live {
			if c.Old, err = h.decode(old); err != nil {
				return err
			}
		}
		if now.live {
			if c.New, err = h.decode(now); err != nil {
				return err
			}
		}
		return f(c)
	})
}
