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
	return session[K, V]{h}, nil
}

type session[K, V any] struct{ *handle[K, V] }

func (s session[K, V]) locate(key K, start, end int64) error {
	if end < start {
		return s.fail(fmt.Errorf("session ends at %d before its start %d", end, start))
	}
	if err := s.encodeKey(key); err != nil {
		return err
	}
	s.row = s.layout.session(s.row[:0], s.plain, start, end)
	return nil
}

// Get implements Session.
func (s session[K, V]) Get(key K, start, end int64) (value V, ok bool, err error) {
	if s.expired(end) {
		return value, false, nil
	}
	if err := s.locate(key, start, end); err != nil {
		return value, false, err
	}
	value, _, ok, err = s.look()
	return value, ok, err
}

// Put implements Session.
func (s session[K, V]) Put(key K, start, end int64, value V) (stored bool, err error) {
	if err := s.locate(key, start, end); err != nil || s.expired(end) {
		return false, err
	}
	if err := s.write(value, end); err != nil {
		return false, err
	}
	return s.observe(end), nil
}

// Remove implements Session.
func (s session[K, V]) Remove(key K, start, end int64) error {
	if err := s.locate(key, start, end); err != nil || s.expired(end) {
		return err
	}
	if err := s.set(s.row, nil, false, end); err != nil {
		return err
	}
	s.observe(end)
	return nil
}

// FetchSessions implements Session.
func (s session[K, V]) FetchSessions(key K, earliestEnd, latestStart int64, order Order) iter.Seq2[Row[K, V], error] {
	keep := func(at span) bool { return at.start <= latestStart && !s.expired(at.end) }
	return s.rows(order, keep, func() ([]bounds, error) {
		if err := s.encodeKey(key); err != nil {
			return nil, err
		}
		return s.perSegment(s.plain, earliestEnd, math.MaxInt64, order, func(prefix []byte, from, _ int64) bounds {
			return bounds{from: appendTime(slices.Clone(prefix), from), to: after(prefix)}
		}), nil
	})
}

// FetchAll implements Session.
func (s session[K, V]) FetchAll(from, to int64, order Order) iter.Seq2[Row[K, V], error] {
	keep := func(at span) bool { return from <= at.end && at.end <= to && !s.expired(at.end) }
	return s.rows(order, keep, func() ([]bounds, error) { return s.segments(from, to), nil })
}

// All implements Session.
func (s session[K, V]) All(order Order) iter.Seq2[Row[K, V], error] {
	return s.FetchAll(math.MinInt64, math.MaxInt64, order)
}
