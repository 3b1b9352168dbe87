// Package checkpoint keeps an offset of each partition of a log directory in a file of Kafka's
// format: recovery points, log starts, high watermarks, and how far logs are compacted.
package checkpoint

import (
	"errors"
	"io/fs"
	"maps"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/internal/env"
)

// File is a checkpoint and what it holds. It is not safe for concurrent use.
type File struct {
	Path    string
	Offsets map[layout.TP]int64 // as last read or written
}

// Read loads a checkpoint; a missing file is empty. A file that is no checkpoint gives an error that
// wraps layout.ErrCorrupt, and an empty File.
func Read(fsys env.FS, path string) (*File, error) {
	f := &File{Path: path, Offsets: map[layout.TP]int64{}}
	data, err := env.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	offsets, err := layout.ParseOffsets(data)
	if err == nil {
		f.Offsets = offsets
	}
	return f, err
}

// Write makes the offsets durable, unless the file holds them already. They are the File's from then
// on.
func (f *File) Write(fsys env.FS, offsets map[layout.TP]int64) error {
	if maps.Equal(f.Offsets, offsets) {
		return nil
	}
	if err := env.WriteFileAtomic(fsys, f.Path, layout.EncodeOffsets(offsets)); err != nil {
		return err
	}
	f.Offsets = offsets
	return nil
}
