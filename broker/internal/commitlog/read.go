package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// Range is a run of whole batches in one segment's file. Until Release the file stays open and
// readable, even if the log is deleted meanwhile. The zero Range is empty and needs no Release.
type Range struct {
	file   *file
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
		r.file.release()
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
	end := l.end.Load()
	if from < l.start.Load() || from > end {
		return Range{}, ErrOffsetOutOfRange
	}
	upTo = min(upTo, end)
	if from >= upTo {
		return Range{}, nil
	}
	segs := *l.segs.Load()
	for _, s := range segs[holding(segs, from):] {
		if s.base >= upTo {
			break
		}
		r, found, err := l.readSegment(s, from, upTo, maxBytes, minOne)
		if errors.Is(err, fs.ErrNotExist) && from < l.start.Load() {
			return Range{}, ErrOffsetOutOfRange // deleted since the start was looked at
		}
		if err != nil || found {
			return r, err
		}
	}
	return Range{}, nil
}

// readSegment is Read within one segment; found tells whether it holds a batch to return.
func (l *Log) readSegment(s *segment, from, upTo int64, maxBytes int, minOne bool) (r Range, found bool, err error) {
	size := s.size.Load()
	if size == 0 {
		return r, false, nil
	}
	interval := l.config.Load().IndexIntervalBytes
	if err := s.ready(interval); err != nil {
		return r, false, err
	}
	h, err := s.log.acquire(false)
	if err != nil {
		return r, false, err
	}
	keep := false
	defer func() {
		if !keep {
			s.log.release()
		}
	}()
	p, ok, err := s.findOffset(h, from, size, interval)
	if err != nil || !ok || p.end > upTo {
		return r, ok, err
	}
	end, err := l.position(s, h, upTo, p.pos+int64(p.size), size)
	if err != nil {
		return r, true, err
	}
	if limit := p.pos + int64(maxBytes); end > limit {
		if end, err = s.boundary(h, p.pos, limit); err != nil {
			return r, true, err
		}
		if end == p.pos {
			if !minOne {
				return r, true, nil
			}
			end = p.pos + int64(p.size)
		}
	}
	keep = true
	return Range{file: s.log, handle: h, pos: p.pos, n: int(end - p.pos)}, true, nil
}

// position returns where the first batch at or after an offset begins, looking from after on; the
// end of the segment is cheap to find, and so is the synced offset.
func (l *Log) position(s *segment, h io.ReaderAt, offset, after, size int64) (int64, error) {
	if offset >= s.next.Load() {
		return size, nil
	}
	if m := l.mark.Load(); m != nil && m.seg == s && m.offset == offset && m.pos >= after && m.pos <= size {
		return m.pos, nil
	}
	from, err := s.floor(offset)
	if err != nil {
		return 0, err
	}
	p, ok, err := s.find(h, max(from, after), size, func(b record.Batch) bool { return b.NextOffset() > offset })
	if ok {
		return p.pos, nil
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
	for _, s := range *l.segs.Load() {
		if s.base >= upTo {
			break
		}
		found, ok, err = l.searchTime(s, ts, upTo)
		if errors.Is(err, fs.ErrNotExist) && s.base < l.start.Load() {
			continue
		}
		if ok || err != nil {
			return found, ok, err
		}
	}
	return TimeOffset{}, false, nil
}

func (l *Log) searchTime(s *segment, ts, upTo int64) (found TimeOffset, ok bool, err error) {
	size, interval := s.size.Load(), l.config.Load().IndexIntervalBytes
	if size == 0 {
		return found, false, nil
	}
	if err := s.ready(interval); err != nil {
		return found, false, err
	}
	if newest, _ := s.largest(); newest < ts {
		return found, false, nil
	}
	h, err := s.log.acquire(false)
	if err != nil {
		return found, false, err
	}
	defer s.log.release()
	n, last, err := s.times.search(func(e []byte) bool { t, _ := timeEntry(e); return t < ts })
	if err != nil {
		return found, false, err
	}
	start := l.start.Load()
	if n > 0 {
		_, relative := timeEntry(last[:])
		start = max(start, s.base+int64(relative))
	}
	p, ok, err := s.findOffset(h, start, size, interval)
	for ok && err == nil && p.base < upTo {
		if p.maxTime >= ts {
			start := l.start.Load()
			found, ok, err = l.searchBatch(h, p, func(r record.Record) bool { return r.Timestamp >= ts && r.Offset >= start && r.Offset < upTo })
			if ok || err != nil {
				return found, ok, err
			}
		}
		p, ok, err = s.find(h, p.pos+int64(p.size), size, func(b record.Batch) bool { return b.MaxTimestamp() >= ts })
	}
	return TimeOffset{}, false, err
}

// searchBatch returns the first record of a batch for which want holds.
func (l *Log) searchBatch(h io.ReaderAt, p place, want func(record.Record) bool) (found TimeOffset, ok bool, err error) {
	buf := make([]byte, p.size)
	if err := readFull(h, buf, p.pos); err != nil {
		return found, false, err
	}
	b := record.Batch(buf)
	body, err := b.Body(nil, nil, l.config.Load().MaxDecompressed)
	if err != nil {
		return found, false, fmt.Errorf("batch at offset %d: %w", p.base, err)
	}
	w := b.Walk(body)
	for w.Next() {
		if r := w.Record(); want(r) {
			return TimeOffset{Offset: r.Offset, Timestamp: r.Timestamp, Epoch: p.epoch}, true, nil
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
	interval := l.config.Load().IndexIntervalBytes
	var in *segment
	newest, at := record.NoTimestamp, int64(0)
	for _, s := range *l.segs.Load() {
		if s.size.Load() == 0 {
			continue
		}
		if err := s.ready(interval); err != nil {
			return found, false, err
		}
		if ts, offset := s.largest(); ts > newest {
			newest, at, in = ts, offset, s
		}
	}
	if in == nil {
		return found, false, nil
	}
	h, err := in.log.acquire(false)
	if err != nil {
		return found, false, err
	}
	defer in.log.release()
	p, ok, err := in.findOffset(h, at, in.size.Load(), interval)
	if err != nil || !ok {
		return found, false, err
	}
	return l.searchBatch(h, p, func(r record.Record) bool { return r.Timestamp == newest })
}
