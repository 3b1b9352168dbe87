package statestore

import (
	"iter"
	"math"
	"slices"
)

// AsWindow returns the typed front of a window store. It is used from the
// goroutine of the store, like every other front of it.
func AsWindow[K, V any](s Store, key Codec[K], value Codec[V]) (Window[K, V], error) {
	h, err := newHandle(s, KindWindow, key, value)
	if err != nil {
		return nil, err
	}
	return &window[K, V]{h}, nil
}

type window[K, V any] struct{ h *handle[K, V] }

func (s *window[K, V]) locate(key K, start int64, seq uint32) error {
	if err := s.h.encodeKey(key); err != nil {
		return err
	}
	s.h.row = s.h.store.layout.window(s.h.row[:0], s.h.plain, start, seq)
	return nil
}

// Time implements Window.
func (s *window[K, V]) Time() int64 { return s.h.store.now.time }

// Get implements Window.
func (s *window[K, V]) Get(key K, start int64) (value V, timestamp int64, ok bool, err error) {
	if s.h.store.spec.RetainDuplicates {
		return s.first(key, start)
	}
	if s.h.store.expired(start) {
		return value, NoTimestamp, false, nil
	}
	if err := s.locate(key, start, 0); err != nil {
		return value, NoTimestamp, false, err
	}
	return s.h.look()
}

// first returns the first of the duplicates of a key and start.
func (s *window[K, V]) first(key K, start int64) (value V, timestamp int64, ok bool, err error) {
	for r, err := range s.Fetch(key, start, start, Ascending) {
		return r.Value, r.Timestamp, err == nil, err
	}
	return value, NoTimestamp, false, nil
}

// Put implements Window.
func (s *window[K, V]) Put(key K, start int64, value V, timestamp int64) (stored bool, err error) {
	if s.h.store.expired(start) {
		return false, nil
	}
	seq := uint32(0)
	if s.h.store.spec.RetainDuplicates {
		seq = (s.h.store.now.seq + 1) & math.MaxInt32
	}
	if err := s.locate(key, start, seq); err != nil {
		return false, err
	}
	if err := s.h.write(value, timestamp); err != nil {
		return false, err
	}
	s.h.store.now.seq = seq
	return s.h.store.observe(start), nil
}

// Delete implements Window.
func (s *window[K, V]) Delete(key K, start, timestamp int64) error {
	if s.h.store.spec.RetainDuplicates || s.h.store.expired(start) {
		return nil
	}
	if err := s.locate(key, start, 0); err != nil {
		return err
	}
	if err := s.h.store.set(s.h.row, nil, false, timestamp); err != nil {
		return err
	}
	s.h.store.observe(start)
	return nil
}

// live narrows a span of time to what the store can hold.
func (s *store) live(from, to int64) (int64, int64) {
	return max(from, s.oldest(s.now)), min(to, s.now.time)
}

// Fetch implements Window.
func (s *window[K, V]) Fetch(key K, from, to int64, order Order) iter.Seq2[Row[K, V], error] {
	return s.h.rows(order, func(at span) bool { return !s.h.store.expired(at.start) }, func() ([]bounds, error) {
		if err := s.h.encodeKey(key); err != nil {
			return nil, err
		}
		return s.h.store.perSegment(s.h.plain, from, to, order, func(prefix []byte, from, to int64) bounds {
			return bounds{
				from: appendWindowTail(slices.Clone(prefix), from, 0),
				to:   append(appendWindowTail(slices.Clone(prefix), to, math.MaxUint32), 0),
			}
		}), nil
	})
}

// perSegment returns the bounds of a key in each live segment of a span of time.
func (s *store) perSegment(key []byte, from, to int64, order Order, f func(prefix []byte, from, to int64) bounds) []bounds {
	var parts []bounds
	if from, to = s.live(from, to); from > to {
		return nil
	}
	for seg, last := s.layout.segment(from), s.layout.segment(to); ; seg++ {
		parts = append(parts, f(s.layout.beginKey(nil, seg, key), from, to))
		if seg == last {
			break
		}
	}
	if order == Descending {
		slices.Reverse(parts)
	}
	return parts
}

// FetchAll implements Window.
func (s *window[K, V]) FetchAll(from, to int64, order Order) iter.Seq2[Row[K, V], error] {
	keep := func(at span) bool { return from <= at.start && at.start <= to && !s.h.store.expired(at.start) }
	return s.h.rows(order, keep, func() ([]bounds, error) { return s.h.store.segments(from, to), nil })
}

// segments returns the bounds of all rows in the segments of a span of time.
func (s *store) segments(from, to int64) []bounds {
	if from, to = s.live(from, to); from > to {
		return nil
	}
	first, end := s.layout.segmentRange(s.layout.segment(from), s.layout.segment(to))
	return []bounds{{from: first, to: end}}
}

// All implements Window.
func (s *window[K, V]) All(order Order) iter.Seq2[Row[K, V], error] {
	return s.FetchAll(math.MinInt64, math.MaxInt64, order)
}

// Expire implements Window.
func (s *window[K, V]) Expire(before int64) error { return s.h.store.Expire(before) }

// OnFlush implements Window.
func (s *window[K, V]) OnFlush(f func(Change[K, V]) error) error { return s.h.onFlush(f) }
