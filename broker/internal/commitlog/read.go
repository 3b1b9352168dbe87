package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// Range is a run of whole batches in one segment's file. Until Release the file stays open and
// readable, even if the log is deleted meanwhile. The zero Range is empty and needs no Release.
type Range struct {
	file   *segment.File
	handle env.File
	pos    int64
	n      int
}

// Len is the length in bytes.
func (r Range) Len() int { return r.n }

// ReadAt reads as io.ReaderAt says, off counting from the beginning of the range.
func (r Range) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(r.n) {
		return 0, io.EOF
	}
	cut := int64(len(p)) > int64(r.n)-off
	if cut {
		p = p[:int64(r.n)-off]
	}
	n, err := r.handle.ReadAt(p, r.pos+off)
	switch {
	case n < len(p) && errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF // the log was truncated underneath
	case n == len(p) && cut:
		return n, io.EOF
	case n == len(p):
		return n, nil
	}
	return n, err
}

// File returns the descriptor and the position in it, where the file system has descriptors.
func (r Range) File() (f *os.File, pos int64, ok bool) {
	if o, has := r.handle.(env.OSFile); has {
		return o.OSFile(), r.pos, true
	}
	return nil, 0, false
}

// Release gives the file back; the range must not be used after it.
func (r Range) Release() {
	if r.file != nil {
		r.file.Release()
	}
}

// Read returns whole batches of one segment, from the batch that holds the offset from (or the
// first one after it) up to, and without, the one that holds upTo. They are at most maxBytes
// long, but for a first batch that is longer and minOne is set. The range is empty when there is
// nothing to return. The error is ErrOffsetOutOfRange when from lies outside the log.
func (l *Log) Read(from, upTo int64, maxBytes int, minOne bool) (Range, error) {
	if err := l.usable(); err != nil {
		return Range{}, err
	}
	var r Range
	err := l.onSegments(func(segs []*segmentFile) (err error) {
		r, err = l.read(segs, from, upTo, maxBytes, minOne)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && from < l.start.Load() {
		return Range{}, ErrOffsetOutOfRange // deleted since the start was looked at
	}
	return r, err
}

// onSegments calls f with the log's segments, and again if they were compacted or deleted from
// under it.
func (l *Log) onSegments(f func(segs []*segmentFile) error) error {
	for {
		segs := l.segs.Load()
		if err := f(*segs); !errors.Is(err, fs.ErrNotExist) || l.segs.Load() == segs {
			return err
		}
	}
}

// read is Read of a list of segments.
func (l *Log) read(segs []*segmentFile, from, upTo int64, maxBytes int, minOne bool) (Range, error) {
	end := l.end.Load()
	if from < l.start.Load() || from > end {
		return Range{}, ErrOffsetOutOfRange
	}
	upTo = min(upTo, end)
	if from >= upTo {
		return Range{}, nil
	}
	for _, s := range segs[holding(segs, from):] {
		if s.Base >= upTo {
			break
		}
		if r, found, err := l.readSegment(s, from, upTo, maxBytes, minOne); err != nil || found {
			return r, err
		}
	}
	return Range{}, nil
}

// readSegment is Read within one segment; found tells whether it holds a batch to return.
func (l *Log) readSegment(s *segmentFile, from, upTo int64, maxBytes int, minOne bool) (r Range, found bool, err error) {
	size := s.Size()
	if size == 0 {
		return r, false, nil
	}
	interval := l.config.Load().IndexIntervalBytes
	if err := s.Ready(interval); err != nil {
		return r, false, err
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return r, false, err
	}
	keep := false
	defer func() {
		if !keep {
			s.Log.Release()
		}
	}()
	sc := s.Headers(h)
	defer sc.Close()
	p, ok, err := s.FindOffset(sc, from, size, interval)
	if err != nil || !ok || p.End > upTo {
		return r, ok, err
	}
	end, err := l.position(s, sc, upTo, p.Pos+int64(p.Size), size)
	if err != nil {
		return r, true, err
	}
	if limit := p.Pos + int64(maxBytes); end <= limit {
		s.Reached(sc, upTo, end)
	} else if end, err = s.Boundary(sc, p, limit); err != nil || end == p.Pos && !minOne {
		return r, true, err
	}
	if end == p.Pos {
		end = p.Pos + int64(p.Size)
		s.Reached(sc, p.End, end)
	}
	keep = true
	return Range{file: s.Log, handle: h, pos: p.Pos, n: int(end - p.Pos)}, true, nil
}

// position returns where the first batch at or after an offset begins, looking from after on; the
// end of the segment is cheap to find, and so is the synced offset.
func (l *Log) position(s *segmentFile, sc *segment.Scanner, offset, after, size int64) (int64, error) {
	if offset >= s.Next() {
		return size, nil
	}
	if m := l.mark.Load(); m != nil && m.seg == s && m.offset == offset && m.pos >= after && m.pos <= size {
		return m.pos, nil
	}
	from, err := s.Floor(offset)
	if err != nil {
		return 0, err
	}
	p, ok, err := s.Find(sc, max(from, after), size, func(b record.Batch) bool { return b.NextOffset() > offset })
	if ok {
		return p.Pos, nil
	}
	return size, err
}

// OffsetForTime returns the first record at or after the log's start, and below upTo, whose
// timestamp is at least ts, in milliseconds. It looks into the records of one batch, or of a few
// whose headers promise too much.
func (l *Log) OffsetForTime(ts, upTo int64) (found TimeOffset, ok bool, err error) {
	if err := l.usable(); err != nil {
		return found, false, err
	}
	err = l.onSegments(func(segs []*segmentFile) (err error) {
		for _, s := range segs {
			if s.Base >= upTo {
				break
			}
			if found, ok, err = l.searchTime(s, ts, upTo); ok || err != nil {
				return err
			}
		}
		return nil
	})
	return found, ok, err
}

func (l *Log) searchTime(s *segmentFile, ts, upTo int64) (found TimeOffset, ok bool, err error) {
	size, interval := s.Size(), l.config.Load().IndexIntervalBytes
	if size == 0 {
		return found, false, nil
	}
	if err := s.Ready(interval); err != nil {
		return found, false, err
	}
	if newest, _ := s.Largest(); newest < ts {
		return found, false, nil
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return found, false, err
	}
	defer s.Log.Release()
	start, err := s.BeforeTime(ts)
	if err != nil {
		return found, false, err
	}
	sc := s.Headers(h)
	defer sc.Close()
	p, ok, err := s.FindOffset(sc, max(start, l.start.Load()), size, interval)
	for ok && err == nil && p.Base < upTo {
		if p.MaxTime >= ts {
			start := l.start.Load()
			found, ok, err = l.searchBatch(h, p, func(r record.Record) bool { return r.Timestamp >= ts && r.Offset >= start && r.Offset < upTo })
			if ok || err != nil {
				return found, ok, err
			}
		}
		p, ok, err = s.Find(sc, p.Pos+int64(p.Size), size, func(b record.Batch) bool { return b.MaxTimestamp() >= ts })
	}
	return TimeOffset{}, false, err
}

// searchBatch returns the first record of a batch for which want holds.
func (l *Log) searchBatch(h io.ReaderAt, p segment.Place, want func(record.Record) bool) (found TimeOffset, ok bool, err error) {
	buf := make([]byte, p.Size)
	if err := segment.ReadFull(h, buf, p.Pos); err != nil {
		return found, false, err
	}
	b := record.Batch(buf)
	body, err := b.Body(nil, nil, l.config.Load().MaxDecompressed)
	if err != nil {
		return found, false, fmt.Errorf("batch at offset %d: %w", p.Base, err)
	}
	w := b.Walk(body)
	for w.Next() {
		if r := w.Record(); want(r) {
			return TimeOffset{Offset: r.Offset, Timestamp: r.Timestamp, Epoch: p.Epoch}, true, nil
		}
	}
	return found, false, w.Err()
}

// MaxTimestamp returns the first record that has the largest timestamp of the log (KIP-734). ok
// is false when no record has one.
func (l *Log) MaxTimestamp() (found TimeOffset, ok bool, err error) {
	if err := l.usable(); err != nil {
		return found, false, err
	}
	err = l.onSegments(func(segs []*segmentFile) (err error) {
		found, ok, err = l.maxTimestamp(segs)
		return err
	})
	return found, ok, err
}

func (l *Log) maxTimestamp(segs []*segmentFile) (found TimeOffset, ok bool, err error) {
	interval := l.config.Load().IndexIntervalBytes
	var in *segmentFile
	newest, at := record.NoTimestamp, int64(0)
	for _, s := range segs {
		if s.Size() == 0 {
			continue
		}
		if err := s.Ready(interval); err != nil {
			return found, false, err
		}
		if ts, offset := s.Largest(); ts > newest {
			newest, at, in = ts, offset, s
		}
	}
	if in == nil {
		return found, false, nil
	}
	h, err := in.Log.Acquire(false)
	if err != nil {
		return found, false, err
	}
	defer in.Log.Release()
	sc := in.Headers(h)
	defer sc.Close()
	p, ok, err := in.FindOffset(sc, at, in.Size(), interval)
	if err == nil && !ok {
		l.awaitAppend() // it is written, and about to be published
		p, ok, err = in.FindOffset(sc, at, in.Size(), interval)
	}
	if err != nil || !ok {
		return found, false, err
	}
	return l.searchBatch(h, p, func(r record.Record) bool { return r.Timestamp == newest })
}

// awaitAppend waits for the end of an append that is under way.
func (l *Log) awaitAppend() {
	l.mu.Lock()
	defer l.mu.Unlock()
}
