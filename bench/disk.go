package bench

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// syncedDisk is the side of a row that waits for the disk: the smaller of what the same load gave
// with the page cache, where that was measured, and of what the disk takes, a sync every MiB.
func syncedDisk(pagecached *Row, l Load) side {
	return func(ctx context.Context, s *stage) (*Result, error) {
		r, err := writeSynced(ctx, s.dir, s.report.Duration)
		if err != nil {
			return nil, err
		}
		batch := NewBatch(l.withDefaults().Value, l.BatchBytes, 0)
		r.Records = r.Bytes / int64(len(batch.Bytes)) * int64(batch.Records)
		if before := pagecached.Ours; before != nil && before.PerSecond() < r.PerSecond() {
			share := before.PerSecond() / r.PerSecond()
			r.Records, r.Bytes = int64(share*float64(r.Records)), int64(share*float64(r.Bytes))
		}
		return r, nil
	}
}

// writeSynced writes a file anew, sync by sync, for about as long.
func writeSynced(ctx context.Context, dir string, long time.Duration) (*Result, error) {
	name := filepath.Join(dir, "synced")
	f, err := env.RealFS().OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(name)
	}()
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = byte(i * 31)
	}
	r, stolenBefore := new(Result), stolen()
	for began := time.Now(); r.Elapsed < long && r.Bytes < volume; r.Elapsed = time.Since(began) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := f.WriteAt(piece, r.Bytes); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		r.Bytes += int64(len(piece))
		r.Requests++
	}
	r.Stolen = stolen() - stolenBefore
	return r, nil
}

// quiet waits, not for ever, until the disk has nothing left to do for what ran before: what was
// written is on it, and the files of deleted topics are gone. A file system that is mounted with
// discard tells the device of every block that became free, and whoever syncs meanwhile waits.
func quiet(ctx context.Context, dir string) error {
	const (
		patience = time.Minute
		look     = 100 * time.Millisecond
		looks    = 3
	)
	if err := env.RealFS().SyncFS(dir); err != nil {
		return err
	}
	enough, every := time.After(patience), time.NewTicker(look)
	defer every.Stop()
	for idle, before := 0, diskBusy(dir); idle < looks; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-enough:
			return nil // somebody else uses the disk
		case <-every.C:
		}
		now := diskBusy(dir)
		if now-before > look/5 || anyDeleted(dir) {
			idle = 0
		} else {
			idle++
		}
		before = now
	}
	return nil
}

// anyDeleted says whether a broker has yet to remove what was deleted.
func anyDeleted(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		if strings.HasSuffix(d.Name(), "-delete") || strings.HasSuffix(d.Name(), ".deleted") {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// fastDisk says that the ceiling leaves room for what is asked against Kafka, which does not sync.
func fastDisk(r *Row) bool {
	return r.Null != nil && r.Kafka != nil && r.Null.BytesPerSecond() >= 1.5*r.Kafka.BytesPerSecond()
}
