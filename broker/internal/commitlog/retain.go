package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
)

// SetStartOffset moves the log's start up to an offset, which must not be beyond the log's end. It
// is durable when the call returns nil. A lower offset than the start changes nothing.
func (l *Log) SetStartOffset(offset int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	l.dir.points.Lock()
	defer l.dir.points.Unlock()
	if offset > l.end.Load() {
		return fmt.Errorf("%w: start %d, log ends at %d", ErrOffsetOutOfRange, offset, l.end.Load())
	}
	if !l.raiseStart(offset) && offset <= l.sureStart() {
		return nil
	}
	if err := l.dir.writeStarts(); err != nil {
		return err
	}
	return l.retain()
}

// sureStart is the start that a power cut now would leave without the help of the checkpoint.
func (l *Log) sureStart() int64 { return min(l.firstBase.Load(), (*l.segs.Load())[0].Base) }

// raiseStart moves the start up and reports whether it did.
func (l *Log) raiseStart(to int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to <= l.start.Load() {
		return false
	}
	l.start.Store(to)
	l.epochs.CutStart(to)
	l.txns.CutStart(to)
	return true
}

// retain drops the oldest segments: those before the log's start, and those that retention by
// time or size gives up, as long as they lie below the high watermark.
func (l *Log) retain() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	n, err := l.expired()
	if err != nil || n == 0 {
		return err
	}
	segs := *l.segs.Load()
	if n == len(segs) {
		if err := l.roll(l.end.Load()); err != nil {
			return l.dir.refuse("roll", err)
		}
		segs = *l.segs.Load()
	}
	rest := slices.Clone(segs[n:])
	l.start.Store(max(l.start.Load(), rest[0].Base))
	l.epochs.CutStart(l.start.Load())
	l.txns.CutStart(l.start.Load())
	l.segs.Store(&rest)
	for _, s := range segs[:n] {
		if err := l.drop(s, l.config.Load().FileDeleteDelayMs); err != nil {
			return l.dir.refuse("delete segment", err)
		}
	}
	l.dir.schedule(l)
	l.dir.logger.Info("segments deleted", slog.String("log", l.tp.String()),
		slog.Int("count", n), slog.Int64("start", l.start.Load()))
	return nil
}

// expired counts the oldest segments that can go. The caller holds mu.
func (l *Log) expired() (n int, err error) {
	c := l.config.Load()
	segs := *l.segs.Load()
	sized := c.Delete && c.RetentionBytes > 0
	excess := l.Size() - c.RetentionBytes
	for i, s := range segs {
		last := i == len(segs)-1
		end := l.end.Load()
		if !last {
			end = segs[i+1].Base
		}
		size := s.Size()
		if end > l.hw.Load() || last && size == 0 {
			break
		}
		old, err := l.outlived(s, c)
		if err != nil {
			return n, err
		}
		tooMuch := sized && excess-size >= 0
		if !old && !tooMuch && (last || end > l.start.Load()) {
			break
		}
		excess -= size
		n++
	}
	return n, nil
}

// outlived tells whether the newest record of a segment is older than retention.ms. Without
// timestamps the file's own time stands in.
func (l *Log) outlived(s *segmentFile, c *Config) (bool, error) {
	if !c.Delete || c.RetentionMs <= 0 {
		return false, nil
	}
	if err := s.Ready(c.IndexIntervalBytes); err != nil {
		return false, err
	}
	newest, _ := s.Largest()
	if newest == record.NoTimestamp {
		info, err := l.dir.env.FS.Stat(s.Log.Name())
		if err != nil {
			return false, fmt.Errorf("age of segment: %w", err)
		}
		newest = info.ModTime().UnixMilli()
	}
	return l.dir.now()-newest > c.RetentionMs, nil
}

// TruncateTo cuts the log so that it ends at an offset, or before the batch that holds it, and
// brings the follower back to that point. An offset before the log's start empties the log, which
// begins anew there. It is durable when the call returns nil. Ranges that reach beyond the cut
// fail to read.
func (l *Log) TruncateTo(offset int64) error {
	d := l.dir
	d.roundMu.Lock()
	defer d.roundMu.Unlock()
	d.points.Lock()
	defer d.points.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if offset >= l.end.Load() {
		return nil
	}
	if err := l.writeHeld(); err != nil {
		return err
	}
	if err := errors.Join(d.lowerPoint(l, offset), d.lowerCleaned(l, offset)); err != nil {
		return err
	}
	if err := l.cut(offset); err != nil {
		return d.refuse("truncate", err)
	}
	return nil
}

// cut does the work of TruncateTo. The caller holds all locks.
func (l *Log) cut(offset int64) error {
	segs := *l.segs.Load()
	keep := slices.IndexFunc(segs, func(s *segmentFile) bool { return s.Base > offset })
	if keep < 0 {
		keep = len(segs)
	}
	dropped := segs[keep:]
	rest := slices.Clone(segs[:keep])
	if keep == 0 {
		s, err := l.createSegment(offset)
		if err != nil {
			return err
		}
		rest = []*segmentFile{s}
		l.start.Store(offset)
	}
	s := rest[len(rest)-1]
	end := s.Base
	if keep > 0 {
		var err error
		if end, err = l.cutSegment(s, offset); err != nil {
			return err
		}
	}
	l.segs.Store(&rest)
	l.end.Store(end)
	l.rested = -1
	l.synced.Store(min(l.synced.Load(), end))
	l.point.Store(min(l.point.Load(), end))
	l.start.Store(min(l.start.Load(), end))
	l.hw.Store(min(l.hw.Load(), end))
	l.mark.Store(nil)
	l.epochs.CutEnd(end)
	for _, s := range slices.Backward(dropped) {
		if err := l.drop(s, 0); err != nil {
			return err
		}
	}
	entries, err := l.dir.env.FS.ReadDir(l.path)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if err := l.loadFollower(segment.Snapshots(entries), l.end.Load()); err != nil {
		return err
	}
	if err := errors.Join(l.cutAborted(end), l.saveEpochs(), l.dir.writeStarts()); err != nil {
		return err
	}
	if l.dir.faults.SkipSync {
		return nil
	}
	return l.dir.env.FS.SyncDir(l.path)
}

// cutSegment cuts the segment that becomes the last, syncs it and returns the log's end.
func (l *Log) cutSegment(s *segmentFile, offset int64) (end int64, err error) {
	interval := l.config.Load().IndexIntervalBytes
	if s.Size() == 0 {
		return s.Base, nil
	}
	if err := s.Ready(interval); err != nil {
		return 0, err
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return 0, err
	}
	defer s.Log.Release()
	sc := s.Headers(h)
	defer sc.Close()
	p, ok, err := s.FindOffset(sc, offset, s.Size(), interval)
	if err != nil {
		return 0, err
	}
	if !ok {
		return s.Next(), nil
	}
	end = s.Base
	s.SetSize(p.Pos)
	if err := h.Truncate(p.Pos); err != nil {
		return 0, fmt.Errorf("cut segment: %w", err)
	}
	if p.Pos > 0 {
		if end, err = l.walk(s, h, end, false); err != nil {
			return 0, err
		}
	} else if err := s.CutIndexes(0); err != nil {
		return 0, err
	}
	s.SetNext(end)
	if l.dir.faults.SkipSync {
		return end, nil
	}
	return end, h.Sync()
}
