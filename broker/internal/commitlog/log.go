package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/commitlog/epochs"
	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// Log is one partition on disk. All methods are safe for concurrent use; appends are ordered by
// one mutex, reads take none that an append holds while it writes.
type Log struct {
	// What a read looks at lies together.
	dir      *Dir
	segs     atomic.Pointer[[]*segmentFile] // by base offset; the last takes appends
	start    atomic.Int64
	end      atomic.Int64
	heldFrom atomic.Int64 // the first offset that is held, or MaxInt64
	mark     atomic.Pointer[mark]
	config   atomic.Pointer[Config]
	closed   atomic.Bool

	tp       layout.TP
	id       [16]byte
	path     string // guarded by mu; changes when the log is deleted
	follower Follower
	synced   atomic.Int64
	point    atomic.Int64 // recovery point
	hw       atomic.Int64
	keeper   atomic.Pointer[Keeper]
	// uncleanable is set when the log's files cannot be read by a compaction.
	uncleanable atomic.Bool
	cuts        int64 // how often the log was cut; guarded by Dir.points
	// firstBase is the base of the first segment as the last sync has left it.
	firstBase atomic.Int64
	epochs    epochs.History

	mu       sync.Mutex
	dirty    []*segmentFile // with unsynced bytes, oldest first
	unsynced []string       // small files that the next sync covers too
	syncing  bool           // a round is at work on small files
	inRound  bool           // a round is at work
	held     segment.Held   // see AppendForSync
	newFiles bool           // the log's directory has entries that are not synced
	newDir   bool           // the log's own entry is not synced
	timer    env.Timer      // of flush.ms
	onSync   func(synced int64, err error)
	txns     txnIndex
	rested   int64 // the end at which a clean stop has left its snapshot and indexes, or -1

	queued bool // guarded by Dir.queueMu
}

// segmentFile is a segment with what its log knows of it; the log's mutex guards that.
type segmentFile struct {
	*segment.Segment
	created int64 // milliseconds; when this process began to write the segment
	jitter  int64
	dirty   bool // holds the file open for bytes that are not synced
}

// mark remembers the file position of an offset.
type mark struct {
	seg         *segmentFile
	offset, pos int64
}

// StartOffset is the first offset of the log.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// EndOffset is the offset that the next record gets.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// SyncedOffset is the offset below which everything is durable.
func (l *Log) SyncedOffset() int64 { return l.synced.Load() }

// RecoveryPoint is the offset from which a recovery would have to read.
func (l *Log) RecoveryPoint() int64 { return l.point.Load() }

// Size is the length of all segments in bytes.
func (l *Log) Size() int64 {
	var size int64
	for _, s := range *l.segs.Load() {
		size += s.Size()
	}
	return size
}

// OnSync has f called after each sync of this log, with SyncedOffset, and once with an error that
// wraps ErrOffline when the directory fails. f is called under no lock, from any goroutine. It is
// to be set once, before the first append.
func (l *Log) OnSync(f func(synced int64, err error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onSync = f
}

// SetConfig puts a configuration in force for what happens from now on.
func (l *Log) SetConfig(c Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.config.Store(c.withDefaults())
	_ = l.writeHeld() // a failure is told to every log
}

// SetHighWatermark says up to where the log is committed: nothing from there on is retained
// away, and the checkpoint of high watermarks tells the offset to the next start.
func (l *Log) SetHighWatermark(offset int64) { l.hw.Store(offset) }

// CheckpointedHighWatermark is the high watermark last set, or found on disk when the log was
// opened; 0 without either. It may lie outside the log.
func (l *Log) CheckpointedHighWatermark() int64 { return l.hw.Load() }

// LatestEpoch is the newest leader epoch known.
func (l *Log) LatestEpoch() (int32, bool) { return l.epochs.Latest() }

// EpochEnd returns the largest known epoch that is not above the given one, and the offset at
// which it ends (KIP-101, KIP-279); -1 and -1 when the epoch is newer than any known. For an
// epoch older than any known it returns that epoch, and where the oldest begins.
func (l *Log) EpochEnd(epoch int32) (foundEpoch int32, end int64) {
	return l.epochs.End(epoch, l.EndOffset())
}

// AssignEpoch notes that the leader of an epoch begins at the end of the log.
func (l *Log) AssignEpoch(epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs.Assign(epoch, l.EndOffset(), false)
}

// usable returns why the log cannot be used.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.dir.Err()
}

func (l *Log) active() *segmentFile {
	segs := *l.segs.Load()
	return segs[len(segs)-1]
}

// Append stamps the batches, whole v2 batches that were checked, with the log's next offsets and
// the epoch, in segment.Place, and writes them with one call. It returns the first and last offset. When
// it returns nil the bytes can be read and, in mode Fsync, their sync is scheduled. The buffer is
// the caller's again. The error ErrNoSpace means that nothing was appended; after ErrOffline that
// is not known.
func (l *Log) Append(batches []byte, epoch int32) (first, last int64, err error) {
	return l.append(batches, epoch, false)
}

// append is Append, and AppendForSync where the batches may be held.
func (l *Log) append(batches []byte, epoch int32, mayHold bool) (first, last int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return -1, -1, err
	}
	next := l.end.Load()
	first = next
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		if b, rest, err = record.Split(rest); err != nil {
			return -1, -1, err
		}
		b.SetBaseOffset(next)
		b.SetLeaderEpoch(epoch)
		next = b.NextOffset()
	}
	if next == first {
		return -1, -1, fmt.Errorf("%w: nothing to append", record.ErrInvalid)
	}
	return first, next - 1, l.write(batches, next, mayHold)
}

// AppendAsFollower appends batches as a leader has stamped them. Their offsets must not lie
// before the log's end, and must ascend; what is between them is missing for good.
func (l *Log) AppendAsFollower(batches []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	next := l.end.Load()
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		var err error
		if b, rest, err = record.Split(rest); err != nil {
			return err
		}
		if b.BaseOffset() < next || b.LastOffsetDelta() < 0 {
			return fmt.Errorf("%w: batch at %d, log ends at %d", ErrOffsetOutOfRange, b.BaseOffset(), next)
		}
		next = b.NextOffset()
	}
	if len(batches) == 0 {
		return nil
	}
	return l.write(batches, next, false)
}

// write appends stamped batches that end before the offset next. The caller holds mu.
func (l *Log) write(batches []byte, next int64, mayHold bool) error {
	c := l.config.Load()
	if int64(len(batches)) > c.SegmentBytes {
		return fmt.Errorf("%w: %d of %d bytes", ErrTooLarge, len(batches), c.SegmentBytes)
	}
	if !mayHold || !l.hold(c, batches, next) {
		if err := l.writeThrough(c, batches, next); err != nil {
			return err
		}
	}
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		b, rest, _ = record.Split(rest) // was split before
		l.epochs.Assign(b.LeaderEpoch(), b.BaseOffset(), true)
		if l.follower != nil {
			l.follower.Replay(b)
		}
	}
	l.end.Store(next)
	l.scheduleSync(c)
	return nil
}

// writeThrough writes batches behind what is held, to a new segment where the old one is full.
func (l *Log) writeThrough(c *Config, batches []byte, next int64) error {
	if err := l.writeHeld(); err != nil {
		return err
	}
	if s := l.active(); l.mustRoll(s, s.Size(), c, batches, next) {
		base := l.end.Load()
		if next-1-base > math.MaxInt32 {
			base = record.Batch(batches).BaseOffset()
		}
		if err := l.roll(base); err != nil {
			return l.dir.refuse("roll", err)
		}
	}
	s := l.active()
	h, err := l.open(s)
	if err != nil {
		return l.dir.refuse("open segment", err)
	}
	s.Reserve(h, s.Size()+int64(len(batches)), c.SegmentBytes, c.Preallocate)
	if err := s.Append(h, batches, next, c.IndexIntervalBytes); err != nil {
		_ = s.Trim() // else the file is cut when it is sealed or closed
		return l.dir.refuse("append", err)
	}
	return l.writeIndex(s)
}

// writeIndex writes entries that are only in memory, once they are many.
func (l *Log) writeIndex(s *segmentFile) error {
	if !s.Unwritten() {
		return nil
	}
	return l.dir.note("write index", s.FlushIndexes())
}

// open opens the active segment for writing and keeps it open until a sync has covered it.
func (l *Log) open(s *segmentFile) (env.File, error) {
	h, err := s.Log.Acquire(true)
	if err != nil {
		return nil, err
	}
	if s.dirty {
		s.Log.Release()
		return h, nil
	}
	s.dirty = true
	l.dirty = append(l.dirty, s)
	if s.Size() == 0 {
		l.newFiles = true
	}
	return h, nil
}

// scheduleSync sees to the durability of what was just appended. The caller holds mu.
func (l *Log) scheduleSync(c *Config) {
	if c.Durability == Fsync {
		l.dir.schedule(l)
		return
	}
	if c.FlushMessages > 0 && l.end.Load()-l.synced.Load() >= c.FlushMessages {
		l.dir.schedule(l)
	}
	if c.FlushMs > 0 && c.FlushMs < math.MaxInt32 && l.timer == nil {
		l.timer = l.dir.env.Clock.AfterFunc(millis(c.FlushMs), func() {
			l.mu.Lock()
			l.timer = nil
			l.mu.Unlock()
			l.dir.schedule(l)
		})
	}
}

// mustRoll tells whether the batches, behind size bytes of the segment, have to go to a new one. The
// caller holds mu.
func (l *Log) mustRoll(s *segmentFile, size int64, c *Config, batches []byte, next int64) bool {
	if next-1-s.Base > math.MaxInt32 {
		return true
	}
	if size == 0 {
		return false
	}
	newest := record.NoTimestamp
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		b, rest, _ = record.Split(rest) // was split before
		newest = max(newest, b.MaxTimestamp())
	}
	age := l.dir.now() - s.created
	if s.FirstTime() >= 0 && newest >= 0 {
		age = newest - s.FirstTime()
	}
	return size+int64(len(batches)) > min(c.SegmentBytes, math.MaxInt32) ||
		age > c.rollMs()-s.jitter ||
		s.Full(c.SegmentIndexBytes)
}

// roll seals the active segment and begins a new one at an offset not before the log's end. What
// can fail for want of space comes first: the new file must not exist unless the segment does,
// because its name ends the one before it. The caller holds mu.
func (l *Log) roll(base int64) error {
	if err := l.writeHeld(); err != nil {
		return err
	}
	old := l.active()
	if old.Size() == 0 && old.Base == base {
		return nil
	}
	if err := l.seal(old); err != nil {
		return err
	}
	if err := l.writeSnapshot(); err != nil {
		return err
	}
	s, err := l.createSegment(base)
	if err != nil {
		return err
	}
	segs := append(slices.Clone(*l.segs.Load()), s)
	if old.Size() == 0 {
		segs = slices.Delete(segs, len(segs)-2, len(segs)-1)
		if err := l.drop(old, 0); err != nil {
			return err
		}
	}
	old.SetNext(base)
	l.segs.Store(&segs)
	l.dir.schedule(l)
	return nil
}

// seal writes the index of a segment that takes no more appends and frees the space that it did
// not need; the next sync covers it.
func (l *Log) seal(s *segmentFile) error {
	if s.Size() == 0 {
		return nil
	}
	if err := s.Trim(); err != nil {
		return err
	}
	if err := s.Seal(); err != nil {
		return err
	}
	l.unsynced = append(l.unsynced, s.Prefix+segment.IndexSuffix, s.Prefix+segment.TimeSuffix)
	return nil
}

func (l *Log) newSegment(base int64) *segmentFile {
	return &segmentFile{
		Segment: segment.New(l.dir.files, l.path, base),
		created: l.dir.now(), jitter: l.dir.random(l.config.Load().SegmentJitterMs),
	}
}

// createSegment makes the file of a segment, so that the log's end is on disk even while it is
// empty.
func (l *Log) createSegment(base int64) (*segmentFile, error) {
	s := l.newSegment(base)
	h, err := s.Log.Acquire(true)
	if err != nil {
		return nil, err
	}
	defer s.Log.Release()
	if err := h.Truncate(0); err != nil {
		return nil, fmt.Errorf("empty segment: %w", err)
	}
	l.newFiles = true
	return s, nil
}

// writeSnapshot saves the follower's state at the log's end; the next sync covers the file. The
// caller holds mu.
func (l *Log) writeSnapshot() error {
	if l.follower == nil {
		return nil
	}
	name := filepath.Join(l.path, segment.Name(l.end.Load(), segment.SnapshotSuffix))
	if err := env.WriteFile(l.dir.env.FS, name, l.follower.Snapshot()); err != nil {
		return err
	}
	l.unsynced = append(l.unsynced, name)
	l.newFiles = true
	return nil
}

// drop takes a segment that is no longer listed off the disk: at once under another name, and
// for good after delay. The caller holds mu.
func (l *Log) drop(s *segmentFile, delay int64) error {
	if s.dirty {
		s.dirty = false
		s.Log.Release()
		l.dirty = slices.DeleteFunc(l.dirty, func(d *segmentFile) bool { return d == s })
	}
	l.unsynced = slices.DeleteFunc(l.unsynced, func(name string) bool { return strings.HasPrefix(name, s.Prefix+".") })
	l.newFiles = true
	paths, err := s.MarkDeleted(l.dir.env.FS, segment.TxnSuffix, segment.SnapshotSuffix)
	l.dir.discard(delay, paths...)
	return err
}

// RequestSync schedules a sync, whatever the durability.
func (l *Log) RequestSync() { l.dir.schedule(l) }

// Sync makes everything that was appended before the call durable.
func (l *Log) Sync() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.dir.sync([]*Log{l})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
