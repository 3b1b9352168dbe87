package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/internal/env"
)

// checkpoint is one of the directory's offset checkpoints: what its file holds. Dir.points guards it.
type checkpoint struct {
	path string
	disk map[layout.TP]int64 // as last read or written
}

// readCheckpoint loads a checkpoint; a missing file is empty. A file that is no checkpoint gives
// an error that wraps ErrCorrupt.
func readCheckpoint(fsys env.FS, path string) (*checkpoint, error) {
	c := &checkpoint{path: path, disk: map[layout.TP]int64{}}
	data, err := env.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	offsets, err := layout.ParseOffsets(data)
	if err == nil {
		c.disk = offsets
	}
	return c, err
}

// write makes the offsets durable, unless the file holds them already.
func (c *checkpoint) write(fsys env.FS, offsets map[layout.TP]int64) error {
	if maps.Equal(c.disk, offsets) {
		return nil
	}
	if err := env.WriteFileAtomic(fsys, c.path, layout.EncodeOffsets(offsets)); err != nil {
		return err
	}
	c.disk = offsets
	return nil
}

// readMeta returns fs.ErrNotExist when the directory has no meta.properties, a *FileError when it
// makes no sense.
func readMeta(fsys env.FS, dir string) (layout.Meta, error) {
	path := filepath.Join(dir, layout.MetaFile)
	data, err := env.ReadFile(fsys, path)
	if err != nil {
		return layout.Meta{}, err
	}
	m, err := layout.ParseMeta(data)
	if err != nil {
		err = &FileError{
			Path: path, Reason: reason(err), Err: ErrCorrupt,
			Fix: "restore the file, or name another directory in log.dirs",
		}
	}
	return m, err
}

// readTopicID reads partition.metadata. known is false when the file is missing, or is what a
// power cut leaves of a file that was never synced. As it is synced before anything else in its
// directory counts as synced, nothing durable can be in there then.
func readTopicID(fsys env.FS, dir string) (id [16]byte, known bool, err error) {
	path := filepath.Join(dir, layout.TopicFile)
	data, err := env.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	id, known, err = layout.ParseTopicID(data)
	if err != nil {
		err = &FileError{
			Path: path, Reason: "is not a partition.metadata of version 0", Err: ErrCorrupt,
			Fix: "restore the file, or move its directory away",
		}
	}
	return id, known, err
}

// reason is what an error says beside that it wraps ErrCorrupt.
func reason(err error) string {
	return strings.TrimPrefix(err.Error(), fmt.Sprint(ErrCorrupt, ": "))
}
