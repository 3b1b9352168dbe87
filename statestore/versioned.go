package statestore

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
)

// The history of a key is a row for every version but the latest: from its time
// up to that of the next one. A deletion ends the version before it and leaves a
// row without length, a tombstone, so that what is put before it, late, ends at
// it too. Tombstones expire with the rows around them; a latest version that is
// a deletion is such a tombstone and nothing else.

// AsVersioned returns the typed front of a versioned store. It is used from the
// goroutine of the store, like every other front of it.
func AsVersioned[K, V any](s Store, key Codec[K], value Codec[V]) (Versioned[K, V], error) {
	h, err := newHandle(s, KindVersioned, key, value)
	if err != nil {
		return nil, err
	}
	return &versioned[K, V]{h}, nil
}

type versioned[K, V any] struct{ h *handle[K, V] }

// Get implements Versioned.
func (s *versioned[K, V]) Get(key K) (row Row[K, V], ok bool, err error) {
	if err := s.h.locate(key); err != nil {
		return row, false, err
	}
	row.Value, row.Timestamp, ok, err = s.h.look()
	row.Key, row.Start, row.End = key, row.Timestamp, Forever
	return row, ok, err
}

// GetAsOf implements Versioned.
func (s *versioned[K, V]) GetAsOf(key K, at int64) (row Row[K, V], ok bool, err error) {
	if err := s.h.locate(key); err != nil {
		return row, false, err
	}
	v, err := s.h.store.get(s.h.row)
	if err != nil {
		return row, false, err
	}
	when := span{start: v.time, end: Forever}
	if !v.live || v.time > at {
		if s.h.store.expired(at) {
			return row, false, nil
		}
		if err := s.h.encodeKey(key); err != nil {
			return row, false, err
		}
		past, found, err := s.h.store.next(s.h.plain, at)
		if err != nil || !found || at < past.at.start || past.at.end <= at {
			return row, false, err
		}
		v, when = version{row: past.row}, past.at
	}
	row = Row[K, V]{Key: key, Start: when.start, End: when.end, Timestamp: when.start}
	row.Value, err = s.h.decode(v)
	return row, err == nil, err
}

// Put implements Versioned.
func (s *versioned[K, V]) Put(key K, value V, at int64) (until int64, stored bool, err error) {
	if err := s.h.encodeKey(key); err != nil {
		return 0, false, err
	}
	s.h.cell = binary.BigEndian.AppendUint64(s.h.cell[:0], uint64(at))
	if s.h.cell, err = s.h.value.Append(s.h.cell, value); err != nil {
		return 0, false, s.h.store.fail(fmt.Errorf("encode value: %w", err))
	}
	return s.putLogged(OpPut, at)
}

// Delete implements Versioned.
func (s *versioned[K, V]) Delete(key K, at int64) (until int64, stored bool, err error) {
	if err := s.h.encodeKey(key); err != nil {
		return 0, false, err
	}
	s.h.cell = binary.BigEndian.AppendUint64(s.h.cell[:0], uint64(at))
	return s.putLogged(OpDelete, at)
}

// putLogged puts the version in the handle and keeps it for the changelog.
func (s *versioned[K, V]) putLogged(kind OpKind, at int64) (until int64, stored bool, err error) {
	until, stored, err = s.h.store.putVersion(s.h.plain, s.h.cell, kind == OpPut, at, s.h.store.set)
	if stored && err == nil && s.h.store.spec.Logged {
		add(&s.h.store.puts, kind, s.h.plain, s.h.cell)
	}
	return until, stored, err
}

// Versions implements Versioned.
func (s *versioned[K, V]) Versions(key K, from, to int64, order Order) iter.Seq2[Row[K, V], error] {
	keep := func(at span) bool { return at.start < at.end && at.start <= to && from < at.end }
	return s.h.rows(order, keep, func() ([]bounds, error) {
		if err := s.h.locate(key); err != nil {
			return nil, err
		}
		last := bounds{from: slices.Clone(s.h.row), to: append(slices.Clone(s.h.row), 0)}
		if err := s.h.encodeKey(key); err != nil {
			return nil, err
		}
		past := s.h.store.since(s.h.plain, from, order)
		if order == Descending {
			return append([]bounds{last}, past...), nil
		}
		return append(past, last), nil
	})
}

// Range implements Versioned.
func (s *versioned[K, V]) Range(from, to K, order Order) iter.Seq2[Row[K, V], error] {
	return s.h.keys(from, to, order)
}

// Prefix implements Versioned.
func (s *versioned[K, V]) Prefix(prefix []byte, order Order) iter.Seq2[Row[K, V], error] {
	return s.h.prefix(prefix, order)
}

// All implements Versioned.
func (s *versioned[K, V]) All(order Order) iter.Seq2[Row[K, V], error] { return s.h.prefix(nil, order) }

// since returns the bounds of the past versions of a key that ended after a
// time, and of a tombstone at it.
func (s *store) since(key []byte, at int64, order Order) []bounds {
	return s.perSegment(key, at, Forever, order, func(prefix []byte, from, _ int64) bounds {
		return bounds{from: appendTime(appendTime(slices.Clone(prefix), from), from), to: after(prefix)}
	})
}

// past is one row of the history. Both slices are its own.
type past struct {
	key, row []byte
	at       span
}

// next returns the first past version of a key that ended after a time, or a
// tombstone at it.
func (s *store) next(key []byte, at int64) (p past, found bool, err error) {
	for _, b := range s.since(key, at, Ascending) {
		err := s.scan(b.from, b.to, Ascending, func(row []byte, v version) (more bool, err error) {
			found = true
			p.key, p.row = slices.Clone(row), slices.Clone(v.row)
			if _, p.at, err = s.layout.parse(nil, row); err != nil {
				err = s.fail(err)
			}
			return false, err
		})
		if found || err != nil {
			return p, found, err
		}
	}
	return p, false, nil
}

// setter writes a row of a version's time; both slices are copied.
type setter func(key, row []byte, live bool, at int64) error

// putVersion adds a version to a key; cell is its row, with the time and, unless
// it is a deletion, the value.
func (s *store) putVersion(key, cell []byte, live bool, at int64, set setter) (until int64, stored bool, err error) {
	if s.closed {
		return 0, false, s.fail(ErrClosed)
	}
	newest := at > s.now.time // of the store: there is nothing after it
	if !s.observe(at) {
		return 0, false, nil
	}
	s.rowBuf = append(s.layout.beginKeys(s.rowBuf[:0]), key...)
	last, err := s.get(s.rowBuf)
	if err != nil {
		return 0, false, err
	}
	until = Forever
	switch {
	case last.live && last.time < at:
		err = set(s.layout.session(nil, key, last.time, at), last.row, true, last.time)
	case last.live && last.time > at:
		until, err = s.insert(key, at, last.time, set)
	case !last.live && !newest:
		until, err = s.insert(key, at, Forever, set)
	}
	if err != nil {
		return 0, false, err
	}
	return until, true, s.place(key, cell, live, last.live && last.time <= at, span{start: at, end: until}, set)
}

// place writes a version whose time is free. replaces says that there is a
// latest version that it takes the place of.
func (s *store) place(key, cell []byte, live, replaces bool, at span, set setter) error {
	row := append(s.layout.beginKeys(nil), key...)
	switch {
	case live && at.end == Forever:
		return set(row, cell, true, at.start)
	case live:
		return set(s.layout.session(row[:0], key, at.start, at.end), cell, true, at.start)
	case replaces:
		if err := set(row, nil, false, at.start); err != nil {
			return err
		}
	}
	return set(s.layout.session(row[:0], key, at.start, at.start), cell[:timestampLen], true, at.start)
}

// insert makes room for a version at a time before last, which is that of the
// latest version, and returns until when it will be valid.
func (s *store) insert(key []byte, at, last int64, set setter) (until int64, err error) {
	next, found, err := s.next(key, at)
	if found && err == nil && next.at.start == at && next.at.end == at { // a tombstone to replace
		if err := set(next.key, nil, false, at); err != nil {
			return 0, err
		}
		next, found, err = s.next(key, at+1)
	}
	switch {
	case err != nil || !found:
		return last, err
	case next.at.start > at:
		return next.at.start, nil
	}
	if err := set(next.key, nil, false, at); err != nil {
		return 0, err
	}
	if next.at.start < at {
		err = set(s.layout.session(nil, key, next.at.start, at), next.row, true, next.at.start)
	}
	return next.at.end, err
}

// logVersions hands the versions that were put to the changelog.
func (s *store) logVersions() error {
	for op := range s.puts.Ops() {
		at := int64(binary.BigEndian.Uint64(op.Value))
		var value []byte
		if op.Kind == OpPut {
			value = op.Value[timestampLen:]
		}
		if err := s.log.Log(s.spec.Name, op.Key, value, at); err != nil {
			return err
		}
	}
	s.puts.Reset()
	return nil
}

// restoreVersion takes a version from the changelog as a flushed change.
func (s *store) restoreVersion(key, value []byte, at int64) error {
	cell := append(binary.BigEndian.AppendUint64(s.keyBuf[:0], uint64(at)), value...)
	s.keyBuf = cell
	_, stored, err := s.putVersion(key, cell, value != nil, at, func(key, row []byte, live bool, at int64) error {
		s.memoSet = false
		s.pend.restore(key, row, live, at)
		return nil
	})
	if stored && err == nil {
		s.flushed.time = max(s.flushed.time, at)
	}
	return err
}
