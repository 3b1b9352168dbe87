package commitlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"

	"github.com/weirstream/weir/broker/internal/commitlog/checkpoint"
	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/internal/env"
)

// SetBrokerEpoch tells the epoch that the marker of a clean stop is to carry.
func (d *Dir) SetBrokerEpoch(epoch int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch = epoch
}

// Run syncs, cleans and checkpoints the directory until ctx ends. Then it closes all logs, leaves
// the marker of a clean stop and unlocks the directory; whoever appends or uses a log's follower
// must have stopped. The error wraps ErrOffline when the directory failed at any time: the marker
// is missing then.
func (d *Dir) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	workers.Go(func() { d.runSyncer(ctx) })
	workers.Go(func() { d.runCleaner(ctx) })
	o := d.options
	retention, stop1 := env.Every(d.env.Clock, o.RetentionCheck)
	points, stop2 := env.Every(d.env.Clock, o.CheckpointEvery)
	watermarks, stop3 := env.Every(d.env.Clock, o.WatermarkEvery)
	for {
		var err error
		select {
		case <-ctx.Done():
			stop1()
			stop2()
			stop3()
			workers.Wait()
			return d.close()
		case <-retention:
			err = d.Retain()
		case <-points:
			err = d.Checkpoint()
		case <-watermarks:
			err = d.checkpointWatermarks()
			d.removeTrash(false)
		}
		d.warn(err)
	}
}

// warn tells of upkeep that failed, unless all of the directory has.
func (d *Dir) warn(err error) {
	if err != nil && !errors.Is(err, ErrOffline) {
		d.logger.Warn("upkeep of log directory failed", slog.String("dir", d.path), slog.Any("error", err))
	}
}

// Retain deletes the segments that retention or the logs' starts have left behind.
func (d *Dir) Retain() error { return d.retain(func(*Config) bool { return true }) }

// retain does so for the logs that are wanted.
func (d *Dir) retain(wanted func(*Config) bool) error {
	var errs []error
	for _, l := range d.openLogs() {
		if wanted(l.config.Load()) {
			errs = append(errs, l.retain())
		}
	}
	return errors.Join(errs...)
}

// Checkpoint advances the recovery points to what is synced and writes all checkpoints.
func (d *Dir) Checkpoint() error {
	if err := d.Err(); err != nil {
		return err
	}
	d.points.Lock()
	defer d.points.Unlock()
	candidates := map[*Log]int64{}
	for _, l := range d.openLogs() {
		if at, ok, err := l.candidate(); err != nil {
			return err
		} else if ok {
			candidates[l] = at
		}
	}
	offsets := d.present(d.recovery)
	for l, at := range candidates {
		offsets[l.tp] = at
	}
	if err := d.recovery.Write(d.env.FS, offsets); err != nil {
		return d.refuse("write recovery points", err)
	}
	for l, at := range candidates {
		l.point.Store(at)
	}
	err := errors.Join(d.writeStarts(), d.writeWatermarks(), d.cleaned.Write(d.env.FS, d.present(d.cleaned)))
	if err == nil {
		clear(d.gone)
	}
	return err
}

// present returns what a checkpoint holds of partitions that were not deleted. The caller holds
// points.
func (d *Dir) present(c *checkpoint.File) map[layout.TP]int64 {
	offsets := maps.Clone(c.Offsets)
	for t := range d.gone {
		delete(offsets, t)
	}
	return offsets
}

// candidate returns the recovery point that the log can have, after seeing to it that the leader
// epochs before it are durable. It stays where it is while the small files of a sealed segment
// are not.
func (l *Log) candidate() (at int64, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = l.synced.Load()
	if l.closed.Load() || at == l.point.Load() || len(l.unsynced) > 0 || l.syncing {
		return 0, false, nil
	}
	if err := l.dir.note("write index", l.active().FlushIndexes()); err != nil {
		return 0, false, err
	}
	if err := l.saveEpochs(); err != nil {
		return 0, false, l.dir.refuse("write leader epochs", err)
	}
	return at, true, nil
}

// saveEpochs makes the leader epochs durable if their file lacks something.
func (l *Log) saveEpochs() error {
	data, dirty := l.epochs.Encode()
	if !dirty {
		return nil
	}
	if err := env.WriteFileAtomic(l.dir.env.FS, filepath.Join(l.path, layout.EpochFile), data); err != nil {
		l.epochs.Unsaved()
		return err
	}
	return nil
}

// lowerPoint makes a lower recovery point durable, before what is beyond it is cut off. The caller
// holds points.
func (d *Dir) lowerPoint(l *Log, to int64) error {
	if at, told := d.recovery.Offsets[l.tp]; told && at > to {
		offsets := maps.Clone(d.recovery.Offsets)
		offsets[l.tp] = to
		if err := d.recovery.Write(d.env.FS, offsets); err != nil {
			return d.refuse("write recovery points", err)
		}
	}
	l.point.Store(min(l.point.Load(), to))
	return nil
}

// forgetPoints removes what the checkpoints say of a partition that is created again.
func (d *Dir) forgetPoints(t layout.TP) error {
	d.points.Lock()
	defer d.points.Unlock()
	delete(d.gone, t)
	for _, c := range []*checkpoint.File{d.recovery, d.starts, d.watermarks, d.cleaned} {
		offsets := maps.Clone(c.Offsets)
		delete(offsets, t)
		if err := c.Write(d.env.FS, offsets); err != nil {
			return d.refuse("write checkpoint", err)
		}
	}
	return nil
}

// writeStarts checkpoints the start offsets that the names of the segments do not tell for sure:
// until a sync has covered the removal of older ones, those may be back after a power cut. The
// caller holds points.
func (d *Dir) writeStarts() error {
	offsets := d.present(d.starts)
	for _, l := range d.openLogs() {
		delete(offsets, l.tp)
		if start := l.start.Load(); start > l.sureStart() {
			offsets[l.tp] = start
		}
	}
	if err := d.starts.Write(d.env.FS, offsets); err != nil {
		return d.refuse("write log starts", err)
	}
	return nil
}

func (d *Dir) checkpointWatermarks() error {
	if err := d.Err(); err != nil {
		return err
	}
	d.points.Lock()
	defer d.points.Unlock()
	return d.writeWatermarks()
}

// writeWatermarks checkpoints the high watermarks. The caller holds points.
func (d *Dir) writeWatermarks() error {
	offsets := d.present(d.watermarks)
	for _, l := range d.openLogs() {
		offsets[l.tp] = l.hw.Load()
	}
	if err := d.watermarks.Write(d.env.FS, offsets); err != nil {
		return d.refuse("write high watermarks", err)
	}
	return nil
}

// Close makes the log durable with its indexes, leader epochs and a snapshot of its follower, and
// ends its use. A second call, or one after Delete, does nothing.
func (l *Log) Close() error {
	d := l.dir
	if l.closed.Load() || d.Err() != nil {
		l.closed.Store(true)
		return d.Err()
	}
	err := l.finish()
	if err == nil {
		err = d.sync([]*Log{l})
	}
	if err == nil {
		err = d.Checkpoint()
	}
	l.closed.Store(true)
	d.mu.Lock()
	if d.logs[l.tp] == l {
		delete(d.logs, l.tp)
	}
	d.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release()
	return err
}

// finish writes what a clean stop leaves to be synced: nothing for a log that took no appends since
// the last one.
func (l *Log) finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writeHeld(); err != nil {
		return err
	}
	s := l.active()
	if err := s.Trim(); err != nil {
		return l.dir.refuse("trim segment", err)
	}
	rested := l.rested == l.end.Load()
	s.NoteTime()
	if s.Size() > 0 && (!rested || !s.Flushed()) {
		l.unsynced = append(l.unsynced, s.Prefix+segment.IndexSuffix, s.Prefix+segment.TimeSuffix)
	}
	if err := l.dir.note("write index", s.FlushIndexes()); err != nil {
		return err
	}
	if rested || l.end.Load() == 0 {
		return nil
	}
	if err := l.writeSnapshot(); err != nil {
		return l.dir.refuse("write snapshot", err)
	}
	return nil
}

// release lets go of files and timers. The caller holds mu.
func (l *Log) release() {
	l.held.Drop()
	if l.timer != nil {
		l.timer.Stop()
	}
	for _, s := range l.dirty {
		s.dirty = false
		s.Log.Release()
	}
	l.dirty, l.unsynced = nil, nil
	for _, s := range *l.segs.Load() {
		s.Retire()
	}
}

// close is the end of Run.
func (d *Dir) close() error {
	d.mu.Lock()
	d.closed = true
	epoch := d.epoch
	d.mu.Unlock()
	logs := d.openLogs()
	err := d.Err()
	for _, l := range logs {
		if err == nil {
			err = l.finish()
		}
	}
	if err == nil {
		err = d.sync(logs)
	}
	if err == nil {
		err = d.Checkpoint()
	}
	d.removeTrash(true)
	if err == nil {
		err = env.WriteFileAtomic(d.env.FS, filepath.Join(d.path, layout.CleanFile), layout.EncodeClean(epoch))
	}
	d.tellOfflineIf(err)
	for _, l := range logs {
		l.closed.Store(true)
		l.mu.Lock()
		l.release()
		l.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("stop log directory %s: %w", d.path, err)
	}
	return errors.Join(err, d.lock.Close())
}

func (d *Dir) tellOfflineIf(err error) {
	if errors.Is(err, ErrOffline) {
		d.tellOffline(err)
	}
}
