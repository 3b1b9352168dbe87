package statestore

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// mark is how far a store has come: its time, the last sequence number of a
// store that keeps duplicates, and the first time that a held store still has.
type mark struct {
	time  int64
	seq   uint32
	floor int64
}

// store is the part of a store that knows bytes only.
type store struct {
	spec   Spec
	layout layout
	db     DB
	log    Changelog
	pend   overlay
	loaded Batch // rows that were restored while nothing was pending, until somebody looks
	puts   Batch // versioned stores: the versions put since the last flush, for the changelog
	listen func(key []byte, old, now version) error
	closed bool

	now, flushed, applied mark

	memoKey []byte // the last key that was read from the DB, and its row
	memoRow []byte
	memoOK  bool
	memoSet bool
	keyBuf  []byte
	rowBuf  []byte
}

// Open opens a store of a task in its DB. It reads, and for a store that the DB
// does not know yet writes, one row. A logged store needs a changelog.
func Open(db DB, spec Spec, log Changelog) (Store, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	if spec.Logged && log == nil {
		return nil, fmt.Errorf("%w: store %q is logged and has no changelog", ErrSpec, spec.Name)
	}
	id, err := register(db, spec)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", spec.Name, err)
	}
	s := &store{spec: spec, layout: newLayout(spec, id), db: db, log: log, pend: newOverlay()}
	if s.applied, err = s.readMark(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", spec.Name, err)
	}
	s.now, s.flushed = s.applied, s.applied
	return s, nil
}

// register returns the id of a store in a DB. The row of a store in the
// registry holds its id and everything that its rows depend on.
func register(db DB, spec Spec) (uint32, error) {
	from, last := []byte(registryPrefix), uint32(0)
	want := fmt.Sprintf("%s timestamped=%t segment=%d", spec.Kind, spec.Timestamped, newLayout(spec, 0).interval)
	if spec.Kind == KindKeyValue {
		want = fmt.Sprintf("%s timestamped=%t", spec.Kind, spec.Timestamped)
	}
	for p, err := range db.Range(from, after(from), Ascending) {
		if err != nil {
			return 0, err
		}
		if len(p.Value) < idLen {
			return 0, fmt.Errorf("registry row %q: %w", p.Key, ErrCorrupt)
		}
		id := binary.BigEndian.Uint32(p.Value)
		last = max(last, id)
		if string(p.Key[len(from):]) != spec.Name {
			continue
		}
		if has := string(p.Value[idLen:]); has != want {
			return 0, fmt.Errorf("%w: on disk %q, wanted %q", ErrChanged, has, want)
		}
		return id, nil
	}
	if last >= maxStoreID {
		return 0, fmt.Errorf("too many stores: %w", ErrCorrupt)
	}
	var b Batch
	b.Put(append(from, spec.Name...), append(binary.BigEndian.AppendUint32(nil, last+1), want...))
	return last + 1, db.Apply(&b, nil)
}

// markKey returns the key of the row that keeps the applied mark.
func (s *store) markKey() []byte { return s.layout.begin([]byte(markPrefix)) }

func (s *store) readMark() (mark, error) {
	m := mark{time: NoTimestamp, floor: minTime}
	value, ok, err := s.db.Get(nil, s.markKey())
	if err != nil || !ok {
		return m, err
	}
	if len(value) != 12 && len(value) != 20 {
		return m, fmt.Errorf("time of the store: %w", ErrCorrupt)
	}
	m.time, m.seq = int64(binary.BigEndian.Uint64(value)), binary.BigEndian.Uint32(value[8:])
	if len(value) == 20 {
		m.floor = int64(binary.BigEndian.Uint64(value[12:]))
	}
	return m, nil
}

// append writes what readMark reads.
func (m mark) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.time))
	dst = binary.BigEndian.AppendUint32(dst, m.seq)
	if m.floor > minTime {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.floor))
	}
	return dst
}

// Name implements Store.
func (s *store) Name() string { return s.spec.Name }

// Spec implements Store.
func (s *store) Spec() Spec { return s.spec }

// Dirty implements Store.
func (s *store) Dirty() bool { return s.pend.first != nil }

// Writes implements Store.
func (s *store) Writes() uint64 { return s.pend.writes }

// PendingBytes implements Store.
func (s *store) PendingBytes() int { return s.pend.bytes + s.puts.Size() + s.loaded.bytes() }

// Flush implements Store.
func (s *store) Flush() error {
	if s.closed {
		return s.fail(ErrClosed)
	}
	if err := s.logVersions(); err != nil {
		return s.fail(fmt.Errorf("changelog: %w", err))
	}
	for {
		e, old, now := s.pend.flushNext()
		if e == nil {
			break
		}
		// A row that came and went between two flushes is nobody's news, but in
		// the changelog it may have moved the time of the store.
		unseen := s.spec.Cached && !old.live && !now.live
		s.keyBuf = append(s.keyBuf[:0], e.key...)
		if !unseen || s.spec.Kind != KindKeyValue {
			if err := s.logChange(s.keyBuf, now); err != nil {
				return s.fail(fmt.Errorf("changelog: %w", err))
			}
		}
		if unseen || s.listen == nil {
			continue
		}
		if err := s.listen(s.keyBuf, old, now); err != nil {
			return fmt.Errorf("flush store %s: %w", s.spec.Name, err)
		}
	}
	s.flushed = s.now
	return nil
}

func (s *store) logChange(row []byte, v version) error {
	if !s.spec.Logged || s.spec.Kind == KindVersioned {
		return nil
	}
	key, at, err := s.layout.parse(s.rowBuf[:0], row)
	if err != nil {
		return err
	}
	key = s.layout.appendLogTail(key, at)
	s.rowBuf = key
	var value []byte
	if v.live {
		if value = s.plain(v.row); value == nil {
			value = []byte{}
		}
	}
	return s.log.Log(s.spec.Name, key, value, v.time)
}

// plain returns the value in a row of the DB.
func (s *store) plain(row []byte) []byte {
	if s.spec.Timestamped {
		return row[timestampLen:]
	}
	return row
}

// Restore implements Store.
func (s *store) Restore(key, value []byte, timestamp int64) error {
	if s.closed {
		return s.fail(ErrClosed)
	}
	if s.spec.Kind == KindVersioned {
		return s.restoreVersion(key, value, timestamp)
	}
	row, at, err := s.layout.fromLog(s.keyBuf[:0], key)
	if err != nil {
		return s.fail(err)
	}
	s.keyBuf = row
	if s.spec.Kind != KindKeyValue {
		if s.expired(at.end) {
			return nil
		}
		s.now.time = max(s.now.time, at.end)
		s.now.seq = max(s.now.seq, at.seq)
		s.flushed.time, s.flushed.seq = max(s.flushed.time, at.end), max(s.flushed.seq, at.seq)
	}
	s.rowBuf = s.rowBuf[:0]
	if value != nil && s.spec.Timestamped {
		s.rowBuf = binary.BigEndian.AppendUint64(s.rowBuf, uint64(timestamp))
	}
	s.rowBuf = append(s.rowBuf, value...)
	s.memoSet = false
	switch {
	case len(s.pend.byKey) > 0:
		s.pend.restore(row, s.rowBuf, value != nil, timestamp)
	case value != nil:
		s.loaded.Put(row, s.rowBuf)
	default:
		s.loaded.Delete(row)
	}
	return nil
}

// settle makes restored rows pending changes like others, since somebody looks or
// writes. Restores that nobody watches are spared that.
func (s *store) settle() error {
	if s.loaded.ops == nil {
		return nil
	}
	for op := range s.loaded.Ops() {
		v := version{time: NoTimestamp}
		if op.Kind == OpPut {
			var err error
			if v, err = s.versionOf(op.Value); err != nil {
				return err
			}
		}
		s.pend.restore(op.Key, v.row, v.live, v.time)
	}
	s.loaded = Batch{}
	return nil
}

// Pending implements Store.
func (s *store) Pending(b *Batch) {
	s.memoSet = false
	live := uint32(0)
	if s.spec.Kind != KindKeyValue {
		live = s.firstLive(s.flushed)
		if gone := s.firstLive(s.applied); gone < live {
			b.DeleteRange(s.layout.segmentRange(gone, live-1))
		}
	}
	s.hand(b, live)
	s.pend.take(func(key string, v version) {
		switch {
		case live > 0 && segmentOf(key) < live:
		case v.live:
			add(b, OpPut, key, v.row)
		default:
			add(b, OpDelete, key, nil)
		}
	})
	if s.flushed != s.applied {
		b.Put(s.markKey(), s.flushed.append(nil))
		s.applied = s.flushed
	}
}

// hand adds the restored rows that nobody looked at to b. The two trade their
// memory if they can.
func (s *store) hand(b *Batch, live uint32) {
	if b.Len() == 0 && live == 0 {
		*b, s.loaded = s.loaded, *b
		return
	}
	for op := range s.loaded.Ops() {
		if live == 0 || segmentOf(op.Key) >= live {
			add(b, op.Kind, op.Key, op.Value)
		}
	}
	s.loaded.Reset()
}

// segmentOf returns the segment in the key of a row.
func segmentOf[B []byte | string](row B) uint32 {
	return binary.BigEndian.Uint32([]byte(row[idLen : idLen+segmentLen]))
}

// Discard implements Store.
func (s *store) Discard() {
	s.memoSet = false
	s.loaded = Batch{}
	s.pend.reset()
	s.puts.Reset()
	s.now, s.flushed = s.applied, s.applied
}

// Close implements Store.
func (s *store) Close() error {
	s.Discard()
	s.closed = true
	return nil
}

// oldest returns the first time that has not expired when the store is at now.
func (s *store) oldest(now mark) int64 {
	switch {
	case s.spec.Held:
		return now.floor
	case now.time < 0:
		return minTime
	case s.spec.Kind == KindVersioned:
		return now.time - s.spec.RetentionMs
	default:
		return now.time - s.spec.RetentionMs + 1
	}
}

func (s *store) expired(at int64) bool { return at < s.oldest(s.now) }

// firstLive returns the first segment that may hold rows when the store is at
// now.
func (s *store) firstLive(now mark) uint32 { return s.layout.segment(s.oldest(now)) }

// Expire implements Window and Session.
func (s *store) Expire(before int64) error {
	if !s.spec.Held {
		return s.fail(fmt.Errorf("rows of a store that is not held expire by themselves: %w", ErrKind))
	}
	s.now.floor = max(s.now.floor, before)
	return nil
}

// get returns the row of a key, as in the DB. It is valid until the next call.
func (s *store) get(key []byte) (version, error) {
	if s.closed {
		return version{}, s.fail(ErrClosed)
	}
	if err := s.settle(); err != nil {
		return version{}, err
	}
	if e := s.pend.byKey[string(key)]; e != nil {
		return e.cur, nil
	}
	return s.read(key)
}

// read is get without the pending changes. The last row read is remembered: a
// put after a get needs it as the old value.
func (s *store) read(key []byte) (v version, err error) {
	if !s.memoSet || string(s.memoKey) != string(key) {
		s.memoSet = false
		if s.memoRow, s.memoOK, err = s.db.Get(s.memoRow[:0], key); err != nil {
			return v, s.fail(err)
		}
		s.memoKey, s.memoSet = append(s.memoKey[:0], key...), true
	}
	if !s.memoOK {
		return v, nil
	}
	return s.versionOf(s.memoRow)
}

// versionOf reads a row of the DB.
func (s *store) versionOf(row []byte) (version, error) {
	v := version{row: row, live: true, time: NoTimestamp}
	if s.spec.Timestamped {
		if len(row) < timestampLen {
			return version{}, s.fail(fmt.Errorf("row of %d bytes has no timestamp: %w", len(row), ErrCorrupt))
		}
		v.time = int64(binary.BigEndian.Uint64(row))
	}
	return v, nil
}

// set writes a row, or with live false deletes it. It copies both slices.
func (s *store) set(key, row []byte, live bool, at int64) error {
	if s.closed {
		return s.fail(ErrClosed)
	}
	if err := s.settle(); err != nil {
		return err
	}
	return s.pend.set(key, row, live, at, s.spec.Cached, s.before)
}

// before returns the row in the DB, to keep.
func (s *store) before(key []byte) (version, error) {
	v, err := s.read(key)
	v.row = append([]byte(nil), v.row...)
	return v, err
}

// observe moves the time of the store to that of a row, unless it has expired.
func (s *store) observe(at int64) (live bool) {
	if s.expired(at) {
		return false
	}
	s.now.time = max(s.now.time, at)
	return true
}

// scan walks the rows between two keys, the pending ones over those of the DB.
// f gets slices that are valid during the call, and returns whether to go on.
func (s *store) scan(from, to []byte, order Order, f func(key []byte, v version) (bool, error)) error {
	if s.closed {
		return s.fail(ErrClosed)
	}
	if err := s.settle(); err != nil {
		return err
	}
	m := merge{store: s, cursor: cursor{o: &s.pend, order: order, from: string(from), to: string(to)}, f: f}
	for p, err := range s.db.Range(from, to, order) {
		if err != nil {
			return s.fail(err)
		}
		if more, err := m.row(p); !more || err != nil {
			return err
		}
	}
	_, err := m.pendingUntil(nil)
	return err
}

// onFlush sets the flush listener.
func (s *store) onFlush(f func(key []byte, old, now version) error) error {
	switch {
	case !s.spec.Cached:
		return s.fail(fmt.Errorf("a flush listener needs a cached store: %w", ErrKind))
	case s.listen != nil:
		return s.fail(errors.New("the store has a flush listener"))
	}
	s.listen = f
	return nil
}

// fail names the store of an error.
func (s *store) fail(err error) error { return fmt.Errorf("store %s: %w", s.spec.Name, err) }
