package commitlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/internal/env"
)

const (
	// manyFiles is how many dirty files are cheaper to sync as a whole file system.
	manyFiles = 8
	// syncsAtOnce is how many files sync side by side; the disk's cache is flushed for them together.
	syncsAtOnce = 4
)

// job is what one round of syncing does for one log.
type job struct {
	log    *Log
	mark   mark     // the log's end as the round found it
	segs   []synced // data files
	small  []string
	dirs   []string
	first  int64 // base of the log's first segment
	before int64 // SyncedOffset as the round found it
}

// synced is a segment with the size that the round covers.
type synced struct {
	seg  *segmentFile
	size int64
	h    env.File
}

// schedule has the syncer sync a log soon; rounds that overlap cover each other's logs.
func (d *Dir) schedule(l *Log) {
	d.queueMu.Lock()
	if !l.queued {
		l.queued = true
		d.queue = append(d.queue, l)
	}
	d.queueMu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Dir) takeQueue() []*Log {
	d.queueMu.Lock()
	defer d.queueMu.Unlock()
	logs := d.queue
	d.queue = d.spare[:0]
	d.spare = logs
	for _, l := range logs {
		l.queued = false
	}
	return logs
}

// runSyncer syncs what is scheduled until ctx ends.
func (d *Dir) runSyncer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
			_ = d.sync(d.takeQueue()) // tells every log, and the directory stays offline
		}
	}
}

// sync makes the logs durable up to their present ends, all of them in one round, and tells their
// listeners. After a failure, now or earlier, it tells every log of the directory.
func (d *Dir) sync(logs []*Log) error {
	err := d.Err()
	var jobs []job
	if err == nil {
		jobs, err = d.round(logs)
	}
	if err != nil {
		d.tellOffline(err)
		return err
	}
	for _, j := range jobs {
		j.log.tell(j.log.synced.Load(), nil)
	}
	return nil
}

func (l *Log) tell(synced int64, err error) {
	l.mu.Lock()
	f := l.onSync
	l.mu.Unlock()
	if f != nil {
		f(synced, err)
	}
}

// tellOffline tells every open log, once, that nothing more will be durable.
func (d *Dir) tellOffline(err error) {
	if d.told.Swap(true) {
		return
	}
	for _, l := range d.openLogs() {
		l.tell(l.synced.Load(), err)
	}
}

// round does the work of sync.
func (d *Dir) round(logs []*Log) ([]job, error) {
	d.roundMu.Lock()
	defer d.roundMu.Unlock()
	if err := d.Err(); err != nil {
		return nil, err // a round failed while this one waited: its bytes may be gone
	}
	jobs, err := d.makeDurable(logs)
	for i := range jobs {
		jobs[i].log.covered(&jobs[i], err)
	}
	if err != nil {
		return nil, d.fail("sync", err)
	}
	return jobs, nil
}

// makeDurable writes what the logs hold and syncs their files: each as soon as it is known, so that
// the disk is at work while the next is written, or all with their file system.
func (d *Dir) makeDurable(logs []*Log) ([]job, error) {
	jobs := make([]job, 0, len(logs))
	var syncs errgroup.Group
	syncs.SetLimit(syncsAtOnce)
	early := 1 < len(logs) && len(logs) < manyFiles
	files := 0
	for _, l := range logs {
		j, err := l.capture()
		if err != nil {
			return jobs, errors.Join(err, syncs.Wait())
		}
		jobs = append(jobs, j)
		files += len(j.segs) + len(j.small) + len(j.dirs)
		if early {
			d.start(&syncs, &j)
		}
	}
	switch {
	case d.faults.SkipSync || files == 0:
		return jobs, nil
	case early:
		return jobs, syncs.Wait()
	case files == 1 && len(jobs[0].segs) == 1:
		return jobs, jobs[0].segs[0].h.Sync()
	case files >= manyFiles:
		if err := d.env.FS.SyncFS(d.path); !errors.Is(err, errors.ErrUnsupported) {
			return jobs, err
		}
	}
	for i := range jobs {
		d.start(&syncs, &jobs[i])
	}
	return jobs, syncs.Wait()
}

// capture lists what a sync of the log up to its present end has to cover.
func (l *Log) capture() (job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writeHeld(); err != nil {
		return job{}, err
	}
	s := l.active()
	j := job{log: l, mark: mark{s, l.end.Load(), s.Size()}, first: (*l.segs.Load())[0].Base, before: l.synced.Load()}
	for _, s := range l.dirty {
		h, err := s.Log.Acquire(false)
		if err != nil {
			return j, fmt.Errorf("open segment: %w", err)
		}
		j.segs = append(j.segs, synced{s, s.Size(), h})
	}
	l.inRound = len(j.segs) > 0
	j.small, l.unsynced = l.unsynced, nil
	l.syncing = len(j.small) > 0
	if l.newFiles {
		j.dirs = append(j.dirs, l.path)
	}
	if l.newDir {
		j.dirs = append(j.dirs, l.dir.path)
	}
	l.newFiles, l.newDir = false, false
	return j, nil
}

// covered notes what a round has made durable for the log.
func (l *Log) covered(j *job, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncing, l.inRound = false, false
	for _, s := range j.segs {
		s.seg.Log.Release()
		if err == nil && s.seg.dirty && s.seg.Size() == s.size && l.held.Bytes() == nil {
			s.seg.dirty = false
			s.seg.Log.Release()
			l.dirty = slices.DeleteFunc(l.dirty, func(d *segmentFile) bool { return d == s.seg })
		}
	}
	if err == nil {
		l.firstBase.Store(j.first)
	}
	if err == nil && j.mark.offset > l.synced.Load() {
		l.synced.Store(j.mark.offset)
		l.mark.Store(&j.mark)
	}
}

// start begins to sync the files and directories of a job.
func (d *Dir) start(syncs *errgroup.Group, j *job) {
	if d.faults.SkipSync {
		return
	}
	for _, s := range j.segs {
		syncs.Go(s.h.Sync)
	}
	for _, name := range j.small {
		syncs.Go(func() error { return d.syncFile(name) })
	}
	for _, dir := range j.dirs {
		syncs.Go(func() error { return ignoreMissing(d.env.FS.SyncDir(dir)) })
	}
}

// syncFile syncs a file by name; one that is gone needs none.
func (d *Dir) syncFile(name string) error {
	f := d.files.File(name)
	h, err := f.Acquire(false)
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Retire()
	defer f.Release()
	return h.Sync()
}

// Err returns nil, or what put the directory out of use, wrapping ErrOffline.
func (d *Dir) Err() error {
	if failed := d.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// fail puts the directory out of use and returns why; the first failure is the one remembered.
func (d *Dir) fail(what string, err error) error {
	failed := fmt.Errorf("%w: %s: %w", ErrOffline, what, err)
	if d.failed.CompareAndSwap(nil, &failed) {
		d.logger.Error("log directory is offline", slog.String("dir", d.path), slog.Any("error", failed))
	}
	select {
	case d.wake <- struct{}{}: // the syncer tells the logs
	default:
	}
	return d.Err()
}

// refuse judges the failure of something that an append needs: a full disk and a lack of
// descriptors pass, anything else puts the directory out of use.
func (d *Dir) refuse(what string, err error) error {
	switch {
	case env.IsNoSpace(err):
		return fmt.Errorf("%w: %s: %w", ErrNoSpace, what, err)
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%s: %w", what, err)
	}
	return d.fail(what, err)
}

// note judges the failure of something that can wait: a full disk is passed over.
func (d *Dir) note(what string, err error) error {
	if err == nil || env.IsNoSpace(err) {
		return nil
	}
	return d.fail(what, err)
}
