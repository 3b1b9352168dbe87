package pebble

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// looseFS hands what is written to Pebble's log to the operating system without
// waiting for the disk. So an apply outlives its process at the price of a write,
// and only a power cut can shorten the log.
type looseFS struct{ vfs.FS }

// logCategory is how Pebble marks the files of its log.
const logCategory vfs.DiskWriteCategory = "pebble-wal"

// Create implements vfs.FS.
func (fs looseFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	return loosen(f, category), err
}

// ReuseForWrite implements vfs.FS.
func (fs looseFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldname, newname, category)
	return loosen(f, category), err
}

func loosen(f vfs.File, category vfs.DiskWriteCategory) vfs.File {
	if f == nil || category != logCategory {
		return f
	}
	return looseFile{f}
}

// looseFile is one file of the log. It is on disk once it is closed, so that a
// later file never outlives it.
type looseFile struct{ vfs.File }

// Sync implements vfs.File.
func (looseFile) Sync() error { return nil }

// SyncData implements vfs.File.
func (looseFile) SyncData() error { return nil }

// SyncTo implements vfs.File.
func (looseFile) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// Close implements vfs.File.
func (f looseFile) Close() error {
	err := f.File.Sync()
	if closed := f.File.Close(); err == nil {
		err = closed
	}
	return err
}

// openInner opens the DB of Pebble. If a power cut tore its log, the DB is what the
// last memtable that was written made it: the log can go, for the changelog is
// another one.
func openInner(dir string, o *pebble.Options) (*pebble.DB, error) {
	inner, err := pebble.Open(dir, o)
	if err == nil || !pebble.IsCorruptionError(err) {
		return inner, err
	}
	names, listed := o.FS.List(dir)
	if listed != nil {
		return nil, err
	}
	logs := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			logs++
			if removed := o.FS.Remove(o.FS.PathJoin(dir, name)); removed != nil {
				return nil, fmt.Errorf("%w, and its log cannot be removed: %w", err, removed)
			}
		}
	}
	if logs == 0 {
		return nil, err
	}
	return pebble.Open(dir, o)
}
