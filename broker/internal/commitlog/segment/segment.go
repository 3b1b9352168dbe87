// Package segment is one file of a log with its two sparse indexes, in Kafka's formats: it finds
// batches by offset and by timestamp, and builds an index again when it lacks something. Files
// are opened when they are needed and closed when others are needed more.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// Segment is one .log file with its indexes. Whoever owns it orders the calls that change it; any
// number of readers may look at it meanwhile, and see bytes up to Size, which end before Next.
type Segment struct {
	// What a read looks at lies together.
	reached reached
	Base    int64 // offset that the segment begins with
	Log     *File
	next    atomic.Int64 // stored before size, so that size never covers an offset beyond next
	size    atomic.Int64
	window  atomic.Pointer[window] // what readers will ask for next; nil for nothing
	loaded  atomic.Bool            // the indexes are

	Prefix  string // path of its files without their suffixes
	offsets index
	times   index
	load    sync.Mutex // held while indexes are loaded or rebuilt

	top      sync.Mutex
	maxTime  int64 // largest timestamp, -1 for none
	maxAt    int64 // last offset of the first batch that has it
	timeTold int64 // timestamp of the newest time entry

	// guarded by the owner
	since     int   // bytes since the newest index entry
	firstTime int64 // max timestamp of the first batch
	space     space
}

// New returns the segment with a base offset in a directory, empty until SetSize, its indexes
// taken for complete. It touches nothing on disk.
func New(pool *Pool, dir string, base int64) *Segment { return newBeside(pool, dir, base, "") }

// newBeside is New for a segment whose files have one more suffix, until Rename.
func newBeside(pool *Pool, dir string, base int64, more string) *Segment {
	prefix := filepath.Join(dir, Name(base, ""))
	s := &Segment{
		Base: base, Prefix: prefix, Log: pool.File(prefix + LogSuffix + more),
		offsets: index{file: pool.File(prefix + IndexSuffix + more), width: offsetWidth},
		times:   index{file: pool.File(prefix + TimeSuffix + more), width: timeWidth},
		maxTime: record.NoTimestamp, timeTold: record.NoTimestamp, firstTime: record.NoTimestamp,
	}
	s.next.Store(base)
	s.loaded.Store(true)
	return s
}

// Next is the offset that follows the segment.
func (s *Segment) Next() int64 { return s.next.Load() }

// SetNext sets the offset that follows the segment, which may leave a hole.
func (s *Segment) SetNext(offset int64) { s.next.Store(offset) }

// Size is the length in bytes that readers may see.
func (s *Segment) Size() int64 { return s.size.Load() }

// SetSize sets the length: of a file that was found, or that is cut.
func (s *Segment) SetSize(size int64) {
	s.size.Store(size)
	s.forget()
}

// Publish shows readers what was appended, up to an offset and a size.
func (s *Segment) Publish(next, size int64) {
	s.next.Store(next)
	s.size.Store(size)
}

// Append writes batches, which end before the offset next, to the end of the file, takes them into
// the indexes, and shows them to readers. After an error nothing was shown, and the file is cut by
// Trim.
func (s *Segment) Append(h io.WriterAt, batches []byte, next int64, interval int) error {
	pos := s.Size()
	if _, err := h.WriteAt(batches, pos); err != nil {
		s.space.spare = true
		return err
	}
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		b, rest, _ = record.Split(rest) // whole batches are the caller's to bring
		s.Note(b, pos, interval)
		pos += int64(len(b))
	}
	s.Publish(next, pos)
	return nil
}

// FirstTime is the max timestamp of the first batch in milliseconds, -1 when it is not known.
func (s *Segment) FirstTime() int64 { return s.firstTime }

// Oldest reads the max timestamp of the first batch, in milliseconds; -1 for an empty segment.
func (s *Segment) Oldest() (timestamp int64, err error) {
	if s.size.Load() == 0 {
		return record.NoTimestamp, nil
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return 0, err
	}
	defer s.Log.Release()
	sc := s.Scan(h, 0, s.size.Load(), false)
	defer sc.Close()
	b, _, err := sc.Next()
	if err != nil {
		return 0, err
	}
	return b.MaxTimestamp(), nil
}

// Loaded declares the indexes complete, or not, so that Ready has nothing, or something, to do.
func (s *Segment) Loaded(yes bool) { s.loaded.Store(yes) }

// Unwritten tells whether so much of the index is only in memory that it should be written.
func (s *Segment) Unwritten() bool { return s.offsets.unwritten() > flushTail }

// Flushed tells whether the index files hold all entries and no others.
func (s *Segment) Flushed() bool { return s.offsets.complete() && s.times.complete() }

// Full tells whether an index has reached a size in bytes.
func (s *Segment) Full(limit int) bool {
	return s.offsets.len() >= max(1, limit/offsetWidth) || s.times.len() >= max(1, limit/timeWidth)
}

// Seal completes the indexes of a segment that takes no more appends, writes them, and keeps
// nothing of them in memory.
func (s *Segment) Seal() error {
	s.NoteTime()
	if err := s.FlushIndexes(); err != nil {
		return err
	}
	s.offsets.forget()
	s.times.forget()
	return nil
}

// Retire closes the segment's files as soon as nobody holds them.
func (s *Segment) Retire() {
	s.forget()
	for _, f := range []*File{s.Log, s.offsets.file, s.times.file} {
		f.Retire()
	}
}

// Scan starts a scanner on the segment's file, to be closed. Without a handle it opens the file when it
// has to read from it.
func (s *Segment) Scan(h io.ReaderAt, from, end int64, whole bool) *Scanner {
	sc, ok := s.Log.pool.scans.Get().(*Scanner)
	if !ok {
		sc = &Scanner{pool: s.Log.pool}
	}
	sc.reset(h, s.Log, whole)
	sc.cuts = s.reached.cuts.Load()
	sc.seek(from, end)
	return sc
}

// Headers starts a scanner for Find, FindOffset and Boundary. They read less when they follow
// one another with the same one, which is not to be kept while the file changes below Size.
func (s *Segment) Headers(h io.ReaderAt) *Scanner { return s.Scan(h, 0, 0, false) }

// Note takes a batch, which begins at pos, into the indexes.
func (s *Segment) Note(b record.Batch, pos int64, interval int) {
	if pos == 0 {
		s.firstTime = b.MaxTimestamp()
	}
	s.top.Lock()
	if ts := b.MaxTimestamp(); ts > s.maxTime && b.Count() > 0 { // nothing to find in an emptied batch
		s.maxTime, s.maxAt = ts, b.LastOffset()
	}
	s.top.Unlock()
	if s.since > interval && pos > 0 {
		var entry [offsetWidth]byte
		binary.BigEndian.PutUint32(entry[:], uint32(b.LastOffset()-s.Base))
		binary.BigEndian.PutUint32(entry[4:], uint32(pos))
		s.offsets.add(entry[:])
		s.NoteTime()
		s.since = 0
	}
	s.since += b.Length()
}

// NoteTime adds a time entry if the largest timestamp has grown since the newest.
func (s *Segment) NoteTime() {
	s.top.Lock()
	defer s.top.Unlock()
	if s.maxTime <= s.timeTold {
		return
	}
	var entry [timeWidth]byte
	binary.BigEndian.PutUint64(entry[:], uint64(s.maxTime))
	binary.BigEndian.PutUint32(entry[8:], uint32(s.maxAt-s.Base))
	s.times.add(entry[:])
	s.timeTold = s.maxTime
}

// FlushIndexes writes index entries that are only in memory. Kafka's tools read a time index with
// the offset index beside it, so that there is one, if an empty one, before the first time is told.
func (s *Segment) FlushIndexes() error {
	if s.offsets.len() == 0 && !s.times.complete() {
		if _, err := s.offsets.file.Acquire(true); err != nil {
			return err
		}
		s.offsets.file.Release()
	}
	return errors.Join(s.offsets.flush(), s.times.flush())
}

// Largest returns the largest timestamp and where it is.
func (s *Segment) Largest() (timestamp, lastOffset int64) {
	s.top.Lock()
	defer s.top.Unlock()
	return s.maxTime, s.maxAt
}

// Ready loads the indexes of a sealed segment, building them again where they are missing or bad.
func (s *Segment) Ready(interval int) error {
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
func (s *Segment) loadIndexes(torn bool) (sound bool, err error) {
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
func (s *Segment) adoptTop() error {
	entry, ok, err := s.times.last()
	if err != nil {
		return err
	}
	s.top.Lock()
	defer s.top.Unlock()
	s.maxTime, s.maxAt = record.NoTimestamp, s.Base
	if ok {
		ts, relative := timeEntry(entry[:])
		s.maxTime, s.maxAt = ts, s.Base+int64(relative)
	}
	s.timeTold = s.maxTime
	return nil
}

// rebuild makes both indexes anew from the headers of the batches.
func (s *Segment) rebuild(interval int) error {
	if err := s.CutIndexes(0); err != nil {
		return err
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return err
	}
	defer s.Log.Release()
	sc := s.Scan(h, 0, s.size.Load(), false)
	defer sc.Close()
	for {
		b, pos, err := sc.Next()
		if errors.Is(err, io.EOF) || IsDamage(err) {
			break // what is readable is indexed; the rest is for whoever reads it to find
		}
		if err != nil {
			return err
		}
		s.Note(b, pos, interval)
	}
	s.NoteTime()
	if err := s.FlushIndexes(); err != nil && !env.IsNoSpace(err) {
		return err
	}
	return nil
}

// CutIndexes keeps the entries of batches that begin before pos.
func (s *Segment) CutIndexes(pos int64) error {
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

// Resume returns the position from which a scan finds all batches that end at or after the
// offset, and cuts the indexes back to that place, so that a scan that notes what it finds
// completes them. 0 is the answer wherever the indexes are in doubt.
func (s *Segment) Resume(h io.ReaderAt, offset int64) (pos int64, err error) {
	sound, err := s.loadIndexes(true)
	if err != nil {
		return 0, err
	}
	if sound {
		pos, err = s.Floor(offset - 1)
	}
	if err != nil {
		return 0, err
	}
	if pos > 0 {
		sc := s.Scan(h, pos, s.size.Load(), false)
		defer sc.Close()
		b, _, err := sc.Next()
		if err != nil && !IsDamage(err) {
			return 0, err
		}
		n, last, err2 := s.offsets.search(func(e []byte) bool { _, p := offsetEntry(e); return p <= pos })
		if relative, _ := offsetEntry(last[:]); err != nil || err2 != nil || n == 0 || b.LastOffset() != s.Base+int64(relative) {
			pos = 0
		}
	}
	if pos == 0 {
		return 0, s.CutIndexes(0)
	}
	first := s.Scan(h, 0, s.size.Load(), false)
	defer first.Close()
	if b, _, err := first.Next(); err == nil {
		s.firstTime = b.MaxTimestamp()
	}
	return pos, s.CutIndexes(pos + 1)
}

// Floor returns the position of a batch that ends at or before the offset, 0 without one.
func (s *Segment) Floor(offset int64) (pos int64, err error) {
	n, last, err := s.offsets.search(func(e []byte) bool {
		relative, _ := offsetEntry(e)
		return s.Base+int64(relative) <= offset
	})
	if n > 0 {
		_, pos = offsetEntry(last[:])
	}
	return pos, err
}

// Place is a batch in a segment's file.
type Place struct {
	Pos       int64
	Size      int
	Base, End int64 // its offsets; End is the one that follows
	MaxTime   int64 // milliseconds
	Epoch     int32
}

// Find returns the first batch below limit for which want holds, looking from a position on
// where a batch begins. ok is false when there is none.
func (s *Segment) Find(sc *Scanner, from, limit int64, want func(record.Batch) bool) (p Place, ok bool, err error) {
	sc.seek(from, limit)
	for {
		b, pos, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return p, false, nil
		}
		if err != nil {
			return p, false, fmt.Errorf("%s: %w", s.Log.Name(), err)
		}
		if want(b) {
			return Place{
				Pos: pos, Size: b.Length(), Base: b.BaseOffset(), End: b.NextOffset(),
				MaxTime: b.MaxTimestamp(), Epoch: b.LeaderEpoch(),
			}, true, nil
		}
	}
}

// FindOffset returns the first batch that ends at or after the offset. An index that leads
// astray is built again.
func (s *Segment) FindOffset(sc *Scanner, offset, limit int64, interval int) (p Place, ok bool, err error) {
	if p, ok = s.fromReached(sc, offset, limit); ok {
		return p, true, nil
	}
	want := func(b record.Batch) bool { return b.LastOffset() >= offset }
	from, err := s.Floor(offset)
	if err != nil {
		return p, false, err
	}
	p, ok, err = s.Find(sc, from, limit, want)
	astray := ok && p.Pos == from && p.Base > offset || IsDamage(err)
	if from == 0 || !astray {
		return p, ok, err
	}
	s.load.Lock()
	defer s.load.Unlock()
	if err := s.rebuild(interval); err != nil {
		return p, false, err
	}
	return s.Find(sc, 0, limit, want)
}

// Boundary returns the end of the last batch that ends at or before limit, looking from a batch
// on; the beginning of that batch when it is longer.
func (s *Segment) Boundary(sc *Scanner, first Place, limit int64) (end int64, err error) {
	if end = first.Pos + int64(first.Size); end > limit {
		return first.Pos, nil
	}
	next := first.End
	if limit-end > headerChunk && !sc.has(limit) { // far enough for the index to save reads
		_, last, err := s.offsets.search(func(e []byte) bool { _, p := offsetEntry(e); return p <= limit })
		if err != nil {
			return first.Pos, err
		}
		if _, at := offsetEntry(last[:]); at > end {
			end, next = at, -1 // not known
		}
	}
	sc.first(limit - end)
	sc.seek(end, s.size.Load())
	for limit-end >= record.HeaderSize {
		b, _, err := sc.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return first.Pos, fmt.Errorf("%s: %w", s.Log.Name(), err)
		}
		if next = b.BaseOffset(); end+int64(b.Length()) > limit {
			break
		}
		end, next = end+int64(b.Length()), b.NextOffset()
	}
	s.Reached(sc, next, end)
	return end, nil
}

// Rename gives the segment's files another suffix beside their own.
func (s *Segment) Rename(more string) error {
	for _, f := range []struct {
		file   *File
		suffix string
	}{{s.Log, LogSuffix}, {s.offsets.file, IndexSuffix}, {s.times.file, TimeSuffix}} {
		if err := f.file.Rename(s.Prefix + f.suffix + more); err != nil {
			return err
		}
	}
	return nil
}

// MarkDeleted renames the segment's files, and those with the other suffixes, as far as they exist,
// closes them, and returns the names that they can be removed by.
func (s *Segment) MarkDeleted(fsys env.FS, others ...string) (paths []string, err error) {
	defer s.Retire()
	return s.renameDeleted(fsys, others)
}

func (s *Segment) renameDeleted(fsys env.FS, others []string) (paths []string, err error) {
	if err := s.Rename(DeletedSuffix); err != nil {
		return nil, err
	}
	for _, suffix := range append([]string{LogSuffix, IndexSuffix, TimeSuffix}, others...) {
		paths = append(paths, s.Prefix+suffix+DeletedSuffix)
	}
	for _, suffix := range others {
		err := ignoreMissing(fsys.Rename(s.Prefix+suffix, s.Prefix+suffix+DeletedSuffix))
		if err != nil {
			return paths, fmt.Errorf("rename: %w", err)
		}
	}
	return paths, nil
}

// BeforeTime returns an offset of the segment before which no batch has the timestamp or a later
// one.
func (s *Segment) BeforeTime(ts int64) (offset int64, err error) {
	n, last, err := s.times.search(func(e []byte) bool { t, _ := timeEntry(e); return t < ts })
	if n == 0 || err != nil {
		return s.Base, err
	}
	_, relative := timeEntry(last[:])
	return s.Base + int64(relative), nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
