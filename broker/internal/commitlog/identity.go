package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/internal/env"
)

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
