package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// segment is one .log file with its indexes. The log's mutex guards whatever changes it; readers
// need no lock: they see bytes up to size, which end before the offset next.
type segment struct {
	base    int64
	prefix  string // path without suffix
	log     *file
	offsets index
	times   index
	scans   *sync.Pool // of *scanner

	next atomic.Int64 // stored before size, so that size never covers an offset beyond next
	size atomic.Int64

	load   sync.Mutex // held while indexes are loaded or rebuilt
	loaded atomic.Bool

	top      sync.Mutex
	maxTime  int64 // largest timestamp, -1 for none
	maxAt    int64 // last offset of the first batch that has it
	timeTold int64 // timestamp of the newest time entry

	// guarded by the log's mutex
	since     int   // bytes since the newest index entry
	firstTime int64 // max timestamp of the first batch
	created   int64 // milliseconds; when this process began to write the segment
	jitter    int64
	dirty     bool // holds log open for bytes that are not synced
	trim      bool // the file may hold bytes beyond size
}

func newSegment(pool *files, scans *sync.Pool, dir string, base int64) *segment {
	prefix := filepath.Join(dir, offsetName(base, ""))
	s := &segment{
		base: base, prefix: prefix, log: pool.file(prefix + logSuffix), scans: scans,
		offsets: index{file: pool.file(prefix + indexSuffix), width: offsetWidth},
		times:   index{file: pool.file(prefix + timeSuffix), width: timeWidth},
		maxTime: record.NoTimestamp, timeTold: record.NoTimestamp, firstTime: record.NoTimestamp,
	}
	s.next.Store(base)
	return s
}

// scan starts a scanner on the segment's file; the caller gives it back through done.
func (s *segment) scan(h io.ReaderAt, from, end int64, whole bool) (sc *scanner, done func()) {
	sc, ok := s.scans.Get().(*scanner)
	if !ok {
		sc = new(scanner)
	}
	sc.reset(h, from, end, whole)
	return sc, func() {
		sc.src = nil
		s.scans.Put(sc)
	}
}

// note takes a batch, which begins at pos, into the indexes.
func (s *segment) note(b record.Batch, pos int64, interval int) {
	if pos == 0 {
		s.firstTime = b.MaxTimestamp()
	}
	s.top.Lock()
	if ts := b.MaxTimestamp(); ts > s.maxTime {
		s.maxTime, s.maxAt = ts, b.LastOffset()
	}
	s.top.Unlock()
	if s.since > interval && pos > 0 {
		var entry [offsetWidth]byte
		binary.BigEndian.PutUint32(entry[:], uint32(b.LastOffset()-s.base))
		binary.BigEndian.PutUint32(entry[4:], uint32(pos))
		s.offsets.add(entry[:])
		s.noteTime()
		s.since = 0
	}
	s.since += b.Length()
}

// noteTime adds a time entry if the largest timestamp has grown since the newest.
func (s *segment) noteTime() {
	s.top.Lock()
	defer s.top.Unlock()
	if s.maxTime <= s.timeTold {
		return
	}
	var entry [timeWidth]byte
	binary.BigEndian.PutUint64(entry[:], uint64(s.maxTime))
	binary.BigEndian.PutUint32(entry[8:], uint32(s.maxAt-s.base))
	s.times.add(entry[:])
	s.timeTold = s.maxTime
}

// flushIndexes writes index entries that are only in memory.
func (s *segment) flushIndexes() error {
	return errors.Join(s.offsets.flush(), s.times.flush())
}

// largest returns the largest timestamp and where it is.
func (s *segment) largest() (timestamp, lastOffset int64) {
	s.top.Lock()
	defer s.top.Unlock()
	return s.maxTime, s.maxAt
}

// ready loads the indexes of a sealed segment, building them again where they are missing or bad.
func (s *segment) ready(interval int) error {
	if s.loaded.Load() {
		return nil
	}
	s.load.Lock()
	defer s.load.Unlock()
	if s.loaded.Load() {
		return nil
	}
	sound, err := s.loadIndexes(false)
	if err != nil {
		return err
	}
	lacking := s.times.len() == 0 || s.offsets.len() == 0 && s.size.Load() > int64(2*interval)
	if !sound || lacking && s.size.Load() > 0 {
		if err := s.rebuild(interval); err != nil {
			return err
		}
	}
	s.loaded.Store(true)
	return nil
}

// loadIndexes reads both indexes and checks every entry of them.
func (s *segment) loadIndexes(torn bool) (sound bool, err error) {
	a, err := s.offsets.load(torn, soundOffsets(s.size.Load()))
	if err != nil {
		return false, err
	}
	b, err := s.times.load(torn, soundTimes)
	if err != nil {
		return false, err
	}
	return a && b, s.adoptTop()
}

// adoptTop takes the largest timestamp from the newest time entry.
func (s *segment) adoptTop() error {
	entry, ok, err := s.times.last()
	if err != nil {
		return err
	}
	s.top.Lock()
	defer s.top.Unlock()
	s.maxTime, s.maxAt = record.NoTimestamp, s.base
	if ok {
		ts, relative := timeEntry(entry[:])
		s.maxTime, s.maxAt = ts, s.base+int64(relative)
	}
	s.timeTold = s.maxTime
	return nil
}

// rebuild makes both indexes anew from the headers of the batches.
func (s *segment) rebuild(interval int) error {
	if err := s.cutIndexes(0); err != nil {
		return err
	}
	h, err := s.log.acquire(false)
	if err != nil {
		return err
	}
	defer s.log.release()
	sc, done := s.scan(h, 0, s.size.Load(), false)
	defer done()
	for {
		b, pos, err := sc.next()
		if errors.Is(err, io.EOF) || isDamage(err) {
			break // what is readable is indexed; the rest is for whoever reads it to find
		}
		if err != nil {
			return err
		}
		s.note(b, pos, interval)
	}
	s.noteTime()
	if err := s.flushIndexes(); err != nil && !env.IsNoSpace(err) {
		return err
	}
	return nil
}

// cutIndexes keeps the entries of batches that begin before pos.
func (s *segment) cutIndexes(pos int64) error {
	n, last, err := s.offsets.search(func(e []byte) bool { _, p := offsetEntry(e); return p < pos })
	if err != nil {
		return err
	}
	limit := uint32(0)
	if n > 0 {
		limit, _ = offsetEntry(last[:])
	}
	times := 0
	if n > 0 {
		times, _, err = s.times.search(func(e []byte) bool { _, r := timeEntry(e); return r <= limit })
		if err != nil {
			return err
		}
	}
	if err := errors.Join(s.offsets.cut(n), s.times.cut(times)); err != nil {
		return err
	}
	s.since = 0
	return s.adoptTop()
}

// resume returns the position from which a scan finds all batches that end at or after the
// offset, and cuts the indexes back to that place, so that a scan that notes what it finds
// completes them. 0 is the answer wherever the indexes are in doubt.
func (s *segment) resume(h io.ReaderAt, offset int64) (pos int64, err error) {
	sound, err := s.loadIndexes(true)
	if err != nil {
		return 0, err
	}
	if sound {
		pos, err = s.floor(offset - 1)
	}
	if err != nil {
		return 0, err
	}
	if pos > 0 {
		sc, done := s.scan(h, pos, s.size.Load(), false)
		defer done()
		b, _, err := sc.next()
		if err != nil && !isDamage(err) {
			return 0, err
		}
		n, last, err2 := s.offsets.search(func(e []byte) bool { _, p := offsetEntry(e); return p <= pos })
		if relative, _ := offsetEntry(last[:]); err != nil || err2 != nil || n == 0 || b.LastOffset() != s.base+int64(relative) {
			pos = 0
		}
	}
	if pos == 0 {
		return 0, s.cutIndexes(0)
	}
	first, done := s.scan(h, 0, s.size.Load(), false)
	defer done()
	if b, _, err := first.next(); err == nil {
		s.firstTime = b.MaxTimestamp()
	}
	return pos, s.cutIndexes(pos + 1)
}

// floor returns the position of a batch that ends at or before the offset, 0 without one.
func (s *segment) floor(offset int64) (pos int64, err error) {
	n, last, err := s.offsets.search(func(e []byte) bool {
		relative, _ := offsetEntry(e)
		return s.base+int64(relative) <= offset
	})
	if n > 0 {
		_, pos = offsetEntry(last[:])
	}
	return pos, err
}

// place is a batch in a segment's file.
type place struct {
	pos       int64
	size      int
	base, end int64 // its offsets; end is the one that follows
	maxTime   int64
	epoch     int32
}

// find returns the first batch below limit for which want holds, looking from a position on
// where a batch begins. ok is false when there is none.
func (s *segment) find(h io.ReaderAt, from, limit int64, want func(record.Batch) bool) (p place, ok bool, err error) {
	sc, done := s.scan(h, from, limit, false)
	defer done()
	for {
		b, pos, err := sc.next()
		if errors.Is(err, io.EOF) {
			return p, false, nil
		}
		if err != nil {
			return p, false, fmt.Errorf("%s: %w", s.log.path(), err)
		}
		if want(b) {
			return place{
				pos: pos, size: b.Length(), base: b.BaseOffset(), end: b.NextOffset(),
				maxTime: b.MaxTimestamp(), epoch: b.LeaderEpoch(),
			}, true, nil
		}
	}
}

// findOffset returns the first batch that ends at or after the offset. An index that leads
// astray is built again.
func (s *segment) findOffset(h io.ReaderAt, offset, limit int64, interval int) (p place, ok bool, err error) {
	want := func(b record.Batch) bool { return b.LastOffset() >= offset }
	from, err := s.floor(offset)
	if err != nil {
		return p, false, err
	}
	p, ok, err = s.find(h, from, limit, want)
	astray := ok && p.pos == from && p.base > offset || isDamage(err)
	if from == 0 || !astray {
		return p, ok, err
	}
	s.load.Lock()
	defer s.load.Unlock()
	if err := s.rebuild(interval); err != nil {
		return p, false, err
	}
	return s.find(h, 0, limit, want)
}

// boundary returns the end of the last batch that ends at or before limit, looking from the batch
// at from on; from when that batch is longer.
func (s *segment) boundary(h io.ReaderAt, from, limit int64) (end int64, err error) {
	_, last, err := s.offsets.search(func(e []byte) bool { _, p := offsetEntry(e); return p <= limit })
	if err != nil {
		return from, err
	}
	_, at := offsetEntry(last[:])
	end = max(from, at)
	p, ok, err := s.find(h, end, s.size.Load(), func(b record.Batch) bool {
		if end+int64(b.Length()) > limit {
			return true
		}
		end += int64(b.Length())
		return false
	})
	if ok {
		end = p.pos
	}
	return end, err
}

// rename gives the segment's files another suffix, those that exist.
func (s *segment) markDeleted(fsys env.FS) (paths []string, err error) {
	for _, f := range []*file{s.log, s.offsets.file, s.times.file} {
		to := f.path() + deletedSuffix
		if err := ignoreMissing(f.rename(to)); err != nil {
			return paths, err
		}
		paths = append(paths, to)
		f.retire()
	}
	for _, suffix := range []string{txnSuffix, snapshotSuffix} {
		to := s.prefix + suffix + deletedSuffix
		err := ignoreMissing(fsys.Rename(s.prefix+suffix, to))
		if err != nil {
			return paths, fmt.Errorf("rename: %w", err)
		}
		paths = append(paths, to)
	}
	return paths, nil
}
