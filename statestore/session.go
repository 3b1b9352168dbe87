package statestore

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// AsSession returns the typed front of a session store. It is used from the
// goroutine of the store, like every other front of it.
func AsSession[K, V any](s Store, key Codec[K], value Codec[V]) (Session[K, V], error) {
	h, err := newHandle(s, KindSession, key, value)
	if err != nil {
		return nil, err
	}
	return &session[K, V]{h}, nil
}

type session[K, V any] struct{ h *handle[K, V] }

func (s *session[K, V]) locate(key K, start, end int64) error {
	if end < start {
		return s.h.store.fail(fmt.Errorf("session ends at %d before its start %d", end, start))
	}
	if err := s.h.encodeKey(key); err != nil {
		return err
	}
	s.h.row = s.h.store.layout.session(s.h.row[:0], s.h.plain, start, end)
	return nil
}

// Get implements Session.
func (s *session[K, V]) Get(key K, start, end int64) (value V, ok bool, err error) {
	if s.h.store.expired(end) {
		return value, false, nil
	}
	if err := s.locate(key, start, end); err != nil {
		return value, false, err
	}
	value, _, ok, err = s.h.look()
	return value, ok, err
}

// Put implements Session.
func (s *session[K, V]) Put(key K, start, end int64, value V) (stored bool, err error) {
	if err := s.locate(key, start, end); err != nil || s.h.store.expired(end) {
		return false, err
	}
	if err := s.h.write(value, end); err != nil {
		return false, err
	}
	return s.h.store.observe(end), nil
}

// Remove implements Session.
func (s *session[K, V]) Remove(key K, start, end int64) error {
	if err := s.locate(key, start, end); err != nil || s.h.store.expired(end) {
		return err
	}
	if err := s.h.store.set(s.h.row, nil, false, end); err != nil {
		return err
	}
	s.h.store.observe(end)
	return nil
}

// FetchSessions implements Session.
func (s *session[K, V]) FetchSessions(key K, earliestEnd, latestStart int64, order Order) iter.Seq2[Row[K, V], error] {
	keep := func(at span) bool { return at.start <= latestStart && !s.h.store.expired(at.end) }
	return s.h.rows(order, keep, func() ([]bounds, error) {
		if err := s.h.encodeKey(key); err != nil {
			return nil, err
		}
		return s.h.store.perSegment(s.h.plain, earliestEnd, math.MaxInt64, order, func(prefix []byte, from, _ int64) bounds {
			return bounds{from: appendTime(slices.Clone(prefix), from), to: after(prefix)}
		}), nil
	})
}

// FetchAll implements Session.
func (s *session[K, V]) FetchAll(from, to int64, order Order) iter.Seq2[Row[K, V], error] {
	keep := func(at span) bool { return from <= at.end && at.end <= to && !s.h.store.expired(at.end) }
	return s.h.rows(order, keep, func() ([]bounds, error) { return s.h.store.segments(from, to), nil })
}

// All implements Session.
func (s *session[K, V]) All(order Order) iter.Seq2[Row[K, V], error] {
	return s.FetchAll(math.MinInt64, math.MaxInt64, order)
}

// Expire implements Session.
func (s *session[K, V]) Expire(before int64) error { return s.h.store.Expire(before) }

// OnFlush implements Session.
func (s *session[K, V]) OnFlush(f func(Change[K, V]) error) error { return s.h.onFlush(f) }
