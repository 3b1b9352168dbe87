package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
)

// Range is a run of whole batches in one segment's file, or a copy of them in memory.
type Range = segment.Range

// Read returns whole batches of one segment, from the batch that holds the offset from (or the
// first one after it) up to, and without, the one that holds upTo. They are at most maxBytes
// long, but for a first batch that is longer and minOne is set. The range is empty when there is
// nothing to return. The error is ErrOffsetOutOfRange when from lies outside the log.
func (l *Log) Read(from, upTo int64, maxBytes int, minOne bool) (Range, error) {
	return l.ReadInto(nil, from, upTo, maxBytes, minOne)
}

// ReadInto is Read with memory for the batches: a range that fits into it is copied to its beginning,
// mostly by the one read that finds the batches too, or is one that was read ahead (Range.Lent tells),
// when less than half of a window is wanted where a reader has stopped.
func (l *Log) ReadInto(into []byte, from, upTo int64, maxBytes int, minOne bool) (Range, error) {
	if err := l.usable(); err != nil {
		return Range{}, err
	}
	if err := l.reach(upTo); err != nil {
		return Range{}, err
	}
	var r Range
	err := l.onSegments(func(segs []*segmentFile) (err error) {
		r, err = l.read(segs, reading{into, from, upTo, maxBytes, minOne})
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && from < l.start.Load() {
		return Range{}, ErrOffsetOutOfRange // deleted since the start was looked at
	}
	return r, err
}

// Touched is how many logs are touched at a time at most.
const Touched = segment.Touched

// Touch brings what ReadInto looks at first, for an offset of each log, into the processor's caches. Of
// many logs little is there, and what is waited for one after the other in reading is here waited for at once.
func Touch(logs []*Log, from []int64) {
	var newest [Touched]*segment.Segment
	for i, l := range logs {
		if l.usable() == nil {
			newest[i] = l.active().Segment
		}
	}
	segment.Touch(newest[:len(logs)], from)
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

// reading is what ReadInto was asked.
type reading struct {
	into       []byte
	from, upTo int64
	maxBytes   int
	minOne     bool
}

// read is ReadInto of a list of segments.
func (l *Log) read(segs []*segmentFile, q reading) (Range, error) {
	end := l.end.Load()
	if q.from < l.start.Load() || q.from > end {
		return Range{}, ErrOffsetOutOfRange
	}
	q.upTo = min(q.upTo, end)
	if q.from >= q.upTo {
		return Range{}, nil
	}
	for _, s := range segs[holding(segs, q.from):] {
		if s.Base >= q.upTo {
			break
		}
		if r, found, err := l.readSegment(s, &q); err != nil || found {
			return r, err
		}
	}
	return Range{}, nil
}

// readSegment is ReadInto within one segment; found tells whether it holds a batch to return.
func (l *Log) readSegment(s *segmentFile, q *reading) (r Range, found bool, err error) {
	size := s.Size()
	if size == 0 {
		return r, false, nil
	}
	interval := l.config.Load().IndexIntervalBytes
	if err := s.Ready(interval); err != nil {
		return r, false, err
	}
	sc := s.Headers(nil)
	defer sc.Close()
	sc.Lend(q.into, q.maxBytes)
	p, ok, err := s.FindOffset(sc, q.from, size, interval)
	if err != nil || !ok || p.End > q.upTo {
		return r, ok, err
	}
	end, err := l.position(s, sc, q.upTo, p.Pos+int64(p.Size), size)
	if err != nil {
		return r, true, err
	}
	if limit := p.Pos + int64(q.maxBytes); end <= limit {
		s.Reached(sc, q.upTo, end)
	} else if end, err = s.Boundary(sc, p, limit); err != nil || end == p.Pos && !q.minOne {
		return r, true, err
	}
	if end == p.Pos {
		end = p.Pos + int64(p.Size)
		s.Reached(sc, p.End, end)
	}
	r, err = s.Range(sc, p.Pos, int(end-p.Pos))
	return r, true, err
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
	if err := l.reach(upTo); err != nil {
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
	start, err := s.BeforeTime(ts)
	if err != nil {
		return found, false, err
	}
	sc := s.Headers(nil)
	defer sc.Close()
	p, ok, err := s.FindOffset(sc, max(start, l.start.Load()), size, interval)
	for ok && err == nil && p.Base < upTo {
		if p.MaxTime >= ts {
			start := l.start.Load()
			found, ok, err = l.searchBatch(sc, p, func(r record.Record) bool { return r.Timestamp >= ts && r.Offset >= start && r.Offset < upTo })
			if ok || err != nil {
				return found, ok, err
			}
		}
		p, ok, err = s.Find(sc, p.Pos+int64(p.Size), size, func(b record.Batch) bool { return b.MaxTimestamp() >= ts })
	}
	return TimeOffset{}, false, err
}

// searchBatch returns the first record of a batch for which want holds.
func (l *Log) searchBatch(sc *segment.Scanner, p segment.Place, want func(record.Record) bool) (found TimeOffset, ok bool, err error) {
	buf := make([]byte, p.Size)
	if err := sc.ReadFull(buf, p.Pos); err != nil {
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
	if err := l.reach(math.MaxInt64); err != nil {
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
	sc := in.Headers(nil)
	defer sc.Close()
	p, ok, err := in.FindOffset(sc, at, in.Size(), interval)
	if err == nil && !ok {
		l.awaitAppend() // it is written, and about to be published
		p, ok, err = in.FindOffset(sc, at, in.Size(), interval)
	}
	if err != nil || !ok {
		return found, false, err
	}
	return l.searchBatch(sc, p, func(r record.Record) bool { return r.Timestamp == newest })
}

// awaitAppend waits for the end of an append that is under way.
func (l *Log) awaitAppend() {
	l.mu.Lock()
	defer l.mu.Unlock()
}
