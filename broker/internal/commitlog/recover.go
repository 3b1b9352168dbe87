package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// contents are the segments of a log's directory.
type contents struct {
	sizes map[int64]int64 // of .log files, by base offset
	bases []int64
}

// recover brings the log to life from the entries of its directory, none for a new one: it cuts
// off what the last process did not finish, and syncs what it did not sync or, with PageCache, has
// it synced soon.
func (l *Log) recover(entries []fs.DirEntry) error {
	files, err := l.sort(entries)
	if err != nil {
		return err
	}
	point, start := l.dir.pointsOf(l)
	known, err := l.loadEpochs()
	if err != nil {
		return err
	}
	clean := l.dir.clean
	if !known && len(files.bases) > 0 {
		clean, point = false, 0 // every batch tells its epoch
	}
	segs, err := l.listSegments(files, start)
	if err != nil {
		return err
	}
	changed, err := l.recoverSegments(segs, point, clean)
	if err != nil {
		return err
	}
	if err := l.restore(entries, start, point, clean); err != nil {
		return err
	}
	if l.rested = -1; clean && !changed && (l.follower == nil || slices.Contains(segment.Snapshots(entries), l.end.Load())) {
		l.rested = l.end.Load()
	}
	if !clean && point == 0 && len(entries) > 0 {
		l.unsynced = append(l.unsynced, filepath.Join(l.path, layout.TopicFile)) // perhaps it never was
	}
	return l.syncRecovered(point, clean, changed)
}

// syncRecovered sees to it that what was recovered becomes durable. changed says that something was
// cut off: bytes after the cut must not come back once others follow it.
func (l *Log) syncRecovered(point int64, clean, changed bool) error {
	end := l.end.Load()
	l.point.Store(min(point, end))
	l.synced.Store(min(point, end))
	unsure := !clean && end > max(point, l.start.Load())
	switch {
	case unsure && !changed && l.config.Load().Durability == PageCache:
		l.dir.schedule(l) // what nobody was promised need not hold up the start
		return nil
	case changed || unsure:
		_, err := l.dir.round([]*Log{l})
		return err
	}
	l.synced.Store(end)
	for _, s := range l.dirty {
		s.dirty = false
		s.Log.Release()
	}
	l.dirty = nil
	return nil
}

// listSegments makes the segments of the files that were found, at least one.
func (l *Log) listSegments(files contents, start int64) ([]*segmentFile, error) {
	if len(files.bases) == 0 && start == 0 {
		return []*segmentFile{l.newSegment(0)}, nil
	}
	if len(files.bases) == 0 {
		s, err := l.createSegment(start)
		return []*segmentFile{s}, err
	}
	segs := make([]*segmentFile, len(files.bases))
	for i, base := range files.bases {
		segs[i] = l.newSegment(base)
		segs[i].Loaded(false)
		segs[i].SetSize(files.sizes[base])
		if i > 0 {
			segs[i-1].SetNext(base)
		}
	}
	return segs, nil
}

// restore brings what hangs on the log's batches in line with them; below the offset sound, and
// everywhere after a clean stop, it was durable.
func (l *Log) restore(entries []fs.DirEntry, start, sound int64, clean bool) error {
	if clean {
		sound = math.MaxInt64
	}
	if err := l.beginAt(start); err != nil {
		return err
	}
	if l.newFiles = l.newFiles || !l.dir.clean && start > 0; !l.newFiles {
		l.firstBase.Store((*l.segs.Load())[0].Base)
	}
	l.epochs.CutEnd(l.end.Load())
	l.epochs.CutStart(l.start.Load())
	if err := l.loadAborted(sound); err != nil {
		return err
	}
	if err := l.loadFollower(segment.Snapshots(entries), l.txns.stale); err != nil {
		return err
	}
	return l.writeTopicID(entries)
}

// sort lists the directory and clears away what no segment needs.
func (l *Log) sort(entries []fs.DirEntry) (contents, error) {
	c := contents{sizes: map[int64]int64{}}
	var others []string
	for _, e := range entries {
		base, suffix, ok := segment.ParseName(e.Name())
		path := filepath.Join(l.path, e.Name())
		switch {
		case strings.HasSuffix(e.Name(), layout.StraySuffix): // for a person to look at
		case filepath.Ext(e.Name()) == segment.DeletedSuffix || filepath.Ext(e.Name()) == layout.TmpSuffix:
			l.dir.discard(0, path)
		case ok && suffix == segment.LogSuffix:
			info, err := e.Info()
			if err != nil {
				return c, fmt.Errorf("size of %s: %w", path, err)
			}
			c.sizes[base] = info.Size()
			c.bases = append(c.bases, base)
		case ok && suffix != segment.SnapshotSuffix:
			others = append(others, e.Name())
		}
	}
	slices.Sort(c.bases)
	for _, name := range others {
		if base, _, _ := segment.ParseName(name); !slices.Contains(c.bases, base) {
			l.dir.discard(0, filepath.Join(l.path, name))
		}
	}
	return c, nil
}

// pointsOf returns what the checkpoints say of a log, and sets its high watermark.
func (d *Dir) pointsOf(l *Log) (point, start int64) {
	d.points.Lock()
	defer d.points.Unlock()
	l.hw.Store(d.watermarks.Offsets[l.tp])
	return d.recovery.Offsets[l.tp], d.starts.Offsets[l.tp]
}

// loadEpochs reads the leader epochs; known is false when there are none that make sense.
func (l *Log) loadEpochs() (known bool, err error) {
	data, err := env.ReadFile(l.dir.env.FS, filepath.Join(l.path, layout.EpochFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := l.epochs.Decode(data); err != nil {
		l.dir.logger.Warn("leader epochs are unreadable, the log will tell them", slog.String("log", l.tp.String()), slog.Any("error", err))
		return false, nil
	}
	return true, nil
}

// recoverSegments finds the end of the log. After a clean stop that takes a look at the last
// segment's headers; else every batch from the recovery point on is checked, and the log ends at the
// first that is not whole. It ends at a hole between segments too, which is what unsynced bytes leave
// that a power cut took, but for those that a compaction made: it had synced what it compacted. What
// follows the end is dropped, or set aside where a compaction may have been at work after all.
func (l *Log) recoverSegments(segs []*segmentFile, point int64, clean bool) (changed bool, err error) {
	from := len(segs) - 1
	if !clean {
		for from > 0 && segs[from].Base >= point {
			from-- // down to the segment that took appends then: its index is only sure once it is sealed
		}
	}
	keep, end, changed, err := l.recoverFrom(segs, from, point, clean)
	if err != nil {
		return false, err
	}
	if end < point {
		l.dir.logger.Error("log ends before its recovery point", slog.String("log", l.tp.String()),
			slog.Int64("end", end), slog.Int64("recovery_point", point))
	}
	rest := slices.Clone(segs[:keep])
	l.segs.Store(&rest)
	l.end.Store(end)
	l.active().SetNext(end)
	aside := !changed && l.config.Load().Compact
	for _, s := range slices.Backward(segs[keep:]) {
		changed = true
		if err := l.dropBeyond(s, end, aside); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// recoverFrom recovers the segments from one on, up to the one where the log ends, and returns how
// many are to stay.
func (l *Log) recoverFrom(segs []*segmentFile, from int, point int64, clean bool) (keep int, end int64, changed bool, err error) {
	l.dir.points.Lock()
	cleaned := l.dir.cleaned.Offsets[l.tp]
	l.dir.points.Unlock()
	end = segs[from].Base
	for i, s := range segs[from:] {
		if i > 0 && s.Base != end && (changed || s.Base > cleaned) {
			return from + i, end, changed, nil
		}
		before := s.Size()
		if end, err = l.recoverSegment(s, point, clean); err != nil {
			return 0, 0, false, err
		}
		if s.Size() != before {
			changed = true
			l.dir.logger.Warn("log cut at damaged batch", slog.String("log", l.tp.String()),
				slog.Int64("segment", s.Base), slog.Int64("bytes", before-s.Size()), slog.Int64("end", end))
		}
		if from+i < len(segs)-1 {
			if err := l.seal(s); err != nil {
				return 0, 0, false, err
			}
		}
	}
	return len(segs), end, changed, nil
}

// dropBeyond takes a segment out of the log that lies beyond its end.
func (l *Log) dropBeyond(s *segmentFile, end int64, aside bool) error {
	logger := l.dir.logger.With(slog.String("log", l.tp.String()), slog.Int64("segment", s.Base), slog.Int64("end", end))
	if !aside {
		logger.Warn("segment beyond the end of the log dropped")
		return l.drop(s, l.config.Load().FileDeleteDelayMs)
	}
	logger.Error("segment beyond a hole of a compacted log set aside", slog.String("file", s.Prefix+segment.LogSuffix+layout.StraySuffix))
	l.newFiles = true
	defer s.Retire()
	return s.Rename(layout.StraySuffix)
}

// recoverSegment completes the indexes of one segment, cuts off what is damaged and returns the
// offset that follows.
func (l *Log) recoverSegment(s *segmentFile, point int64, clean bool) (end int64, err error) {
	defer s.Loaded(true)
	if s.Size() == 0 {
		return s.Base, s.CutIndexes(0)
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return 0, err
	}
	defer s.Log.Release()
	before := s.Size()
	if clean {
		if end, err = l.walk(s, h, math.MaxInt64, false); !segment.IsDamage(err) {
			return end, err
		}
	}
	end, err = l.walk(s, h, point, true)
	if err != nil && !segment.IsDamage(err) {
		return 0, err
	}
	if s.Size() != before {
		if err := h.Truncate(s.Size()); err != nil {
			return 0, fmt.Errorf("cut segment: %w", err)
		}
	}
	s.Spare() // space may be reserved that the process before could not give back
	return end, l.holdDirty(s)
}

// holdDirty keeps a segment's file open until a sync has covered it.
func (l *Log) holdDirty(s *segmentFile) error {
	if _, err := s.Log.Acquire(false); err != nil {
		return err
	}
	s.dirty = true
	l.dirty = append(l.dirty, s)
	l.newFiles = true
	return nil
}

// walk reads a segment from the last index entry before the offset point to its end, notes what
// it finds in the indexes and leader epochs, and returns the offset that follows. With verify the
// contents of the batches are checked too. At a batch that is damaged the size is set to where it
// begins, and the error wraps one of record's.
func (l *Log) walk(s *segmentFile, h io.ReaderAt, point int64, verify bool) (end int64, err error) {
	pos, err := s.Resume(h, point)
	if err != nil {
		return 0, err
	}
	interval := l.config.Load().IndexIntervalBytes
	sc := s.Scan(h, pos, s.Size(), verify)
	defer sc.Close()
	end = s.Base
	for {
		b, at, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err == nil {
			err = plausible(s, b, end, verify)
		}
		if err != nil {
			if segment.IsDamage(err) {
				s.SetSize(at)
			}
			return end, err
		}
		l.epochs.Assign(b.LeaderEpoch(), b.BaseOffset(), true)
		s.Note(b, at, interval)
		end = b.NextOffset()
	}
}

// plausible tells whether a batch can follow those before it, which end at an offset.
func plausible(s *segmentFile, b record.Batch, end int64, verify bool) error {
	next := s.Next() // of a segment that others follow, their first offset
	if b.BaseOffset() < end || b.LastOffset()-s.Base > math.MaxInt32 || next > s.Base && b.NextOffset() > next {
		return fmt.Errorf("%w: offset %d after %d", record.ErrCorrupt, b.BaseOffset(), end)
	}
	if verify {
		return b.Intact()
	}
	return nil
}

// beginAt sets the start of the log. A log that ends before its start has lost what was in
// between, and begins anew there.
func (l *Log) beginAt(start int64) error {
	segs := *l.segs.Load()
	start = max(start, segs[0].Base)
	l.start.Store(start)
	if start <= l.end.Load() {
		return nil
	}
	l.dir.logger.Error("log ends before its start", slog.String("log", l.tp.String()),
		slog.Int64("end", l.end.Load()), slog.Int64("start", start))
	s, err := l.createSegment(start)
	if err != nil {
		return err
	}
	rest := []*segmentFile{s}
	l.segs.Store(&rest)
	l.end.Store(start)
	for _, s := range slices.Backward(segs) {
		if err := l.drop(s, l.config.Load().FileDeleteDelayMs); err != nil {
			return err
		}
	}
	return nil
}

// writeTopicID writes partition.metadata where it is missing or was never synced.
func (l *Log) writeTopicID(entries []fs.DirEntry) error {
	if entries != nil {
		if _, known, err := readTopicID(l.dir.env.FS, l.path); err != nil || known {
			return err
		}
	}
	name := filepath.Join(l.path, layout.TopicFile)
	if err := env.WriteFile(l.dir.env.FS, name, layout.EncodeTopicID(l.id)); err != nil {
		return err
	}
	l.unsynced = append(l.unsynced, name)
	l.newFiles = true
	return nil
}

// loadFollower brings the follower to the log's end: the newest snapshot that is whole, up to an offset, then the
// batches after it, those before the log's start too as long as they are there: a producer that did not hear
// of its batch before the records were deleted sends it again. Snapshots beyond the end are removed, and those
// between segments but for the newest. The caller holds mu, or has the log for itself.
func (l *Log) loadFollower(offsets []int64, upTo int64) error {
	if l.follower == nil {
		return nil
	}
	l.follower.Reset()
	from, loaded := int64(0), false
	bases := map[int64]bool{}
	for _, s := range *l.segs.Load() {
		bases[s.Base] = true
	}
	for _, o := range slices.Backward(offsets) {
		name := filepath.Join(l.path, segment.Name(o, segment.SnapshotSuffix))
		switch {
		case o <= min(upTo, l.end.Load()) && !loaded:
			ok, err := l.loadSnapshot(name)
			if err != nil {
				return err
			}
			if ok {
				from, loaded = o, true
			}
		case o > l.end.Load() || !bases[o]:
			if err := ignoreMissing(l.dir.env.FS.Remove(name)); err != nil {
				return fmt.Errorf("remove snapshot: %w", err)
			}
		}
	}
	return l.replay(from)
}

// loadSnapshot hands a snapshot to the follower; one that it refuses is removed.
func (l *Log) loadSnapshot(name string) (ok bool, err error) {
	data, err := env.ReadFile(l.dir.env.FS, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it went with its segment
	}
	if err != nil {
		return false, err
	}
	if err := l.follower.Load(data); err != nil {
		l.dir.logger.Warn("snapshot is unreadable, an older one is used", slog.String("file", name), slog.Any("error", err))
		l.follower.Reset()
		return false, ignoreMissing(l.dir.env.FS.Remove(name))
	}
	return true, nil
}

// replay shows the follower the batches from an offset on.
func (l *Log) replay(from int64) error {
	for _, s := range *l.segs.Load() {
		if s.Next() <= from || s.Size() == 0 {
			continue
		}
		if err := l.replaySegment(s, from); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) replaySegment(s *segmentFile, from int64) error {
	if err := s.Ready(l.config.Load().IndexIntervalBytes); err != nil {
		return err
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return err
	}
	defer s.Log.Release()
	pos, err := s.Floor(from)
	if err != nil {
		return err
	}
	sc := s.Scan(h, pos, s.Size(), false)
	defer sc.Close()
	for {
		b, at, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if b.LastOffset() < from {
			continue
		}
		if b.IsControl() {
			whole := make([]byte, b.Length())
			if err := segment.ReadFull(h, whole, at); err != nil {
				return err
			}
			b = whole
		}
		l.follower.Replay(b)
	}
}
