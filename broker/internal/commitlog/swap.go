package commitlog

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/internal/env"
)

// replaceBy finishes a rewritten segment and puts it in the place of the old ones, whose aborted
// transactions are those given. It returns the segment that stands there now.
func (l *Log) replaceBy(o *segment.Rewrite, old []*segmentFile, aborted []AbortedTxn) (*segmentFile, error) {
	if o.Same() {
		return old[0], o.Discard()
	}
	var index []byte
	for _, t := range aborted {
		index = layout.AppendTxn(index, t)
	}
	if err := o.Finish(old[len(old)-1].Next(), index); err != nil {
		return nil, err
	}
	err := l.syncDir(o.Dir(), o.Files()...)
	if err != nil {
		return nil, l.dir.fail("sync compacted segment", err)
	}
	s := l.newSegment(o.Base)
	s.Segment = o.Segment
	return s, l.swap(o, old, s, aborted)
}

// syncDir makes files durable, and the entries of their directory. Where a deletion has moved the
// directory away there is nothing to sync.
func (l *Log) syncDir(dir string, files ...string) error {
	if l.dir.faults.SkipSync {
		return nil
	}
	for _, name := range files {
		if err := l.dir.syncFile(name); err != nil {
			return err
		}
	}
	return ignoreMissing(l.dir.env.FS.SyncDir(dir))
}

// swap puts s, which is o, in the place of old segments.
func (l *Log) swap(o *segment.Rewrite, old []*segmentFile, s *segmentFile, aborted []AbortedTxn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	segs := *l.segs.Load()
	at := slices.Index(segs, old[0])
	if at < 0 || at+len(old) >= len(segs) || !slices.Equal(segs[at:at+len(old)], old) || segs[at+len(old)].Base != s.Next() {
		return errStale
	}
	files := make([]*segment.Segment, len(old))
	for i, f := range old {
		files[i] = f.Segment
	}
	trash, err := o.Swap(files, func() error { return l.syncDir(l.path) })
	if err != nil {
		return l.dir.fail("swap compacted segment", err)
	}
	next := slices.Concat(segs[:at], []*segmentFile{s}, segs[at+len(old):])
	l.segs.Store(&next)
	for _, f := range files {
		f.Retire()
	}
	l.dir.discard(l.config.Load().FileDeleteDelayMs, trash...)
	l.txns.Replace(s.Base, s.Next(), aborted)
	l.newFiles = true
	l.dir.schedule(l)
	return nil
}

// settleSwaps ends the compactions that the last process was at, and returns the entries that the
// log's directory has then.
func (l *Log) settleSwaps(entries []fs.DirEntry) ([]fs.DirEntry, error) {
	changed, err := segment.Settle(l.dir.files, l.path, entries)
	if segment.IsDamage(err) {
		return nil, &FileError{
			Path: l.path, Reason: "holds a compacted segment that is damaged: " + err.Error(), Err: ErrCorrupt,
			Fix: "move the .swap files of that number away: the segments that they were to replace may still be there",
		}
	}
	if err != nil || !changed {
		return entries, err
	}
	l.dir.logger.Info("interrupted compaction settled", slog.String("log", l.tp.String()))
	if err := l.dir.env.FS.SyncDir(l.path); err != nil {
		return nil, fmt.Errorf("sync directory: %w", err)
	}
	return l.dir.env.FS.ReadDir(l.path)
}

// pacer holds a compaction to log.cleaner.io.max.bytes.per.second.
type pacer struct {
	clock env.Clock
	began time.Time
	rate  float64 // none when not positive
	bytes float64
}

// wait returns when n more bytes may have been read, or with ctx's error.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.bytes += float64(n); p.rate > 0 {
		ahead := time.Duration(p.bytes/p.rate*float64(time.Second)) - p.clock.Now().Sub(p.began)
		if ahead > pause {
			done := make(chan struct{})
			timer := p.clock.AfterFunc(ahead, func() { close(done) })
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-done:
			}
		}
	}
	return ctx.Err()
}

// pause is the shortest wait worth its timer.
const pause = 10 * time.Millisecond

// CleanerStats are figures of a directory's compactions, the times in milliseconds.
type CleanerStats struct {
	LastRun          int64   // when logs were last looked at; 0 for never
	Dirtiest         float64 // the largest dirty part that was seen then
	Recopied         float64 // written by read bytes of the last compaction
	MapUsed          float64 // share of the offset map that the last compaction filled
	Took             int64   // of the last compaction
	Delay            int64   // by how much it came after max.compaction.lag.ms
	Uncleanable      int     // logs that cannot be compacted
	UncleanableBytes int64
}

type cleaning struct {
	mu    sync.Mutex
	stats CleanerStats
}

func (c *cleaning) began(now int64, dirtiest float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.LastRun, c.stats.Dirtiest = now, dirtiest
}

func (c *cleaning) ended(j *compaction, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Recopied = float64(j.written) / float64(max(1, j.read))
	c.stats.MapUsed = j.offsets.Used()
	c.stats.Took, c.stats.Delay = took.Milliseconds(), j.plan.Overdue
}

// CleanerStats returns the present figures.
func (d *Dir) CleanerStats() CleanerStats {
	d.cleaning.mu.Lock()
	s := d.cleaning.stats
	d.cleaning.mu.Unlock()
	for _, l := range d.openLogs() {
		if l.uncleanable.Load() {
			s.Uncleanable++
			s.UncleanableBytes += l.Size()
		}
	}
	return s
}
