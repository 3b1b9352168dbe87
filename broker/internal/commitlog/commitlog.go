// Package commitlog keeps partitions on disk: segmented logs in Kafka's file formats, in one
// directory per broker that syncs, recovers and cleans them together.
//
// What a crash may take is decided here and nowhere else:
//
//   - A batch is written before Append returns, and durable once SyncedOffset has passed it. One
//     syncer per directory makes all dirty logs durable together, new files and directories first.
//   - Everything below the recovery point of a log was durable, with its indexes and leader
//     epochs, before that recovery point was. Recovery after an unclean stop reads from there,
//     cuts the log at the first batch that is not whole, and syncs what it kept before anyone
//     sees it.
//   - Indexes hold nothing that the log does not; a bad one is built again.
//   - After a write or sync has failed with anything but a full disk, the directory is offline:
//     nothing is tried again, because a second fsync can succeed over bytes that are gone.
//
// Lock order: Dir.roundMu, Dir.points, Log.mu, then those of indexes, files and the maps of Dir.
package commitlog

import (
	"errors"
	"fmt"
	"math"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/record"
)

// What goes wrong with storage. All errors of this package wrap one of these or an error of the
// file system.
var (
	// ErrOffsetOutOfRange reports an offset before the log's start or after its end.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrClosed reports a log or directory that was closed or deleted.
	ErrClosed = errors.New("log is closed")
	// ErrOffline reports a directory that a failed write or sync has put out of use.
	ErrOffline = errors.New("log directory is offline")
	// ErrTooLarge reports batches that together are larger than a segment.
	ErrTooLarge = errors.New("batches are larger than a segment")
	// ErrNoSpace reports a full disk. Nothing was appended; the log can be read and tried again.
	ErrNoSpace = errors.New("no space left in log directory")
	// ErrLocked reports a directory that another process uses.
	ErrLocked = errors.New("log directory is in use")
	// ErrForeign reports a directory of another cluster or node, or files that another topic owns.
	ErrForeign = errors.New("log directory belongs to another")
	// ErrCorrupt reports files that cannot be read as what they should be.
	ErrCorrupt = layout.ErrCorrupt
)

// FileError is a file or directory that stops the broker, with what to do about it. It reads as
// one line for people.
type FileError struct {
	Path   string
	Reason string
	Fix    string // what a person can do
	Err    error  // a sentinel of this package
}

// Error tells the path, the reason and the way out.
func (e *FileError) Error() string { return fmt.Sprintf("%s: %s; %s", e.Path, e.Reason, e.Fix) }

// Unwrap returns the sentinel.
func (e *FileError) Unwrap() error { return e.Err }

// Durability says when appended bytes are made durable.
type Durability int

const (
	// Fsync schedules every append for the directory's shared sync.
	Fsync Durability = iota
	// PageCache syncs by flush.messages, flush.ms, and when a segment is rolled.
	PageCache
)

// Config is what a topic's configuration says about a log. A zero field has the effect of the
// default that is named with it.
type Config struct {
	SegmentBytes       int64 // 1 GiB
	SegmentMs          int64 // 7 days
	SegmentJitterMs    int64
	IndexIntervalBytes int
	SegmentIndexBytes  int   // 10 MiB
	RetentionMs        int64 // none when not positive
	RetentionBytes     int64 // none when not positive
	FileDeleteDelayMs  int64
	Preallocate        bool
	Durability         Durability
	FlushMessages      int64 // never, in PageCache
	FlushMs            int64 // never, in PageCache
	Compact, Delete    bool  // cleanup.policy; without Delete nothing is retained away
	MinDirtyRatio      float64
	MinLagMs           int64 // min.compaction.lag.ms
	MaxLagMs           int64 // max.compaction.lag.ms; none when not positive, or too long to ever pass
	DeleteRetentionMs  int64
	// MaxDecompressed bounds, in bytes, what one batch may decompress to where the log has to
	// look at records; 256 MiB.
	MaxDecompressed int
}

func (c Config) withDefaults() *Config {
	fill(&c.SegmentBytes, 1<<30)
	fill(&c.SegmentMs, 7*24*3600*1000)
	fill(&c.SegmentIndexBytes, 10<<20)
	fill(&c.MaxDecompressed, 256<<20)
	if c.MaxLagMs == math.MaxInt64 {
		c.MaxLagMs = 0
	}
	return &c
}

// rollMs is how old the active segment may become: what is to be compacted has to be sealed.
func (c Config) rollMs() int64 {
	if c.Compact && c.MaxLagMs > 0 {
		return min(c.SegmentMs, c.MaxLagMs)
	}
	return c.SegmentMs
}

func fill[T int | int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Follower is told of every batch of a log in offset order. The log calls it from Open, Append,
// AppendAsFollower, TruncateTo, Close and the end of Dir.Run, one call at a time; whoever else
// uses the follower must be ordered with those.
type Follower interface {
	Reset()
	// Load replaces the state by a snapshot; an error leaves it empty.
	Load(snapshot []byte) error
	// Replay takes over a batch. Unless it is a control batch, b may end after its header.
	Replay(b record.Batch)
	Snapshot() []byte
}

// AbortedTxn is an aborted transaction, as the .txnindex tells of it.
type AbortedTxn = layout.AbortedTxn

// TimeOffset is a record found by its timestamp.
type TimeOffset struct {
	Offset    int64
	Timestamp int64 // milliseconds
	Epoch     int32 // of the leader that appended it, -1 when unknown
}

// Faults are bugs to plant: with one of them set the crash tests must fail.
type Faults struct {
	SkipSync bool // syncs report success without syncing
}
