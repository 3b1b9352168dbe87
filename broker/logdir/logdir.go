// Package logdir looks into a log directory that nobody serves, Weir's or Apache Kafka's: it shows
// what its files hold and finds what is wrong with them. It never changes anything.
package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/internal/env"
)

// ErrNothing reports a path that is no log directory, no partition's directory and no file of one.
var ErrNothing = errors.New("nothing of a log directory")

// Problem is one thing that is wrong with a file.
type Problem struct {
	File     string `json:"file"`
	Position int64  `json:"position"` // in bytes; -1 for the file as a whole
	What     string `json:"what"`
	Means    string `json:"means"` // what comes of it
}

// folder is one directory with its files, by name.
type folder struct {
	fs    env.FS
	path  string
	names []string
	topic string // of the partition, "" for a log directory
}

// open lists a directory, or the one file that path names with its directory.
func open(fsys env.FS, path string) (folder, error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return folder{}, fmt.Errorf("look at %s: %w", path, err)
	}
	dir, one := path, ""
	if !info.IsDir() {
		dir, one = filepath.Dir(path), filepath.Base(path)
	}
	dir = filepath.Clean(dir)
	f := folder{fs: fsys, path: dir}
	if t, ok := layout.ParseTP(filepath.Base(dir)); ok {
		f.topic = t.Topic
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return folder{}, fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if one == "" || e.Name() == one {
			f.names = append(f.names, e.Name())
		}
	}
	slices.Sort(f.names)
	return f, nil
}

// partitions are the directories of partitions in a log directory.
func (f folder) partitions() ([]folder, error) {
	var out []folder
	for _, name := range f.names {
		if _, ok := layout.ParseTP(name); !ok {
			continue
		}
		path := filepath.Join(f.path, name)
		info, err := f.fs.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", path, err)
		}
		if !info.IsDir() {
			continue
		}
		p, err := open(f.fs, path)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// bases are the base offsets of the segments, in order.
func (f folder) bases() (bases []int64) {
	for _, name := range f.names {
		if base, suffix, ok := segment.ParseName(name); ok && suffix == segment.LogSuffix {
			bases = append(bases, base)
		}
	}
	return bases
}

func (f folder) has(name string) bool { return slices.Contains(f.names, name) }

func (f folder) read(name string) ([]byte, error) {
	data, err := env.ReadFile(f.fs, filepath.Join(f.path, name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// ours tells whether anything in the directory looks like a file of a log.
func (f folder) ours() bool {
	return slices.ContainsFunc(f.names, func(name string) bool {
		_, _, ok := segment.ParseName(name)
		_, isTP := layout.ParseTP(name)
		return ok || isTP || name == layout.MetaFile || strings.HasSuffix(name, "-checkpoint") || name == layout.TopicFile
	})
}

// openFile opens a file to be read.
func openFile(fsys env.FS, name string) (env.File, int64, error) {
	h, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("open: %w", err)
	}
	size, err := h.Size()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("size of %s: %w", name, err), h.Close())
	}
	return h, size, nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
