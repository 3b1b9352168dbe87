package env

import (
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
	"time"
)

// blockSize is the unit in which a disk keeps or loses what was written to a file.
const blockSize = 4096

// resize sets a file's length, zero-filling growth.
func (m *MemFS) resize(n *inode, size int) {
	old := len(n.data)
	m.used += int64(size - old)
	if size <= old {
		clear(n.data[size:])
		n.data = n.data[:size]
	} else {
		n.data = append(n.data, make([]byte, size-old)...)
	}
	n.touch(min(old, size), max(old, size))
}

// touch marks the blocks of a range as differing from what is durable.
func (n *inode) touch(from, to int) {
	n.modified = time.Now()
	for b := from / blockSize; b*blockSize < to; b++ {
		n.dirty[b] = struct{}{}
	}
}

// syncData makes the dirty blocks and the size durable.
func (n *inode) syncData() {
	n.synced = setLen(n.synced, len(n.data))
	for b := range n.dirty {
		copyBlock(n.synced, n.data, b)
	}
	clear(n.dirty)
}

func setLen(b []byte, size int) []byte {
	if size <= len(b) {
		clear(b[size:])
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func copyBlock(dst, src []byte, block int) {
	from := block * blockSize
	if from < len(dst) && from < len(src) {
		copy(dst[from:min(from+blockSize, len(dst))], src[from:min(from+blockSize, len(src))])
	}
}

func (n *inode) info(name string) fs.FileInfo {
	return memInfo{name: name, size: int64(len(n.data)), modified: n.modified, dir: n.isDir()}
}

type memInfo struct {
	name     string
	size     int64
	modified time.Time
	dir      bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}

// memFile is an open file of a MemFS.
type memFile struct {
	fs       *MemFS
	node     *inode
	name     string
	readOnly bool
	closed   atomic.Bool
}

func (f *memFile) check(op string, writes bool) error {
	switch {
	case f.closed.Load():
		return pathErr(op, f.name, fs.ErrClosed)
	case writes && f.readOnly:
		return pathErr(op, f.name, syscall.EBADF)
	}
	return nil
}

// Name is the name the file was opened by.
func (f *memFile) Name() string { return f.name }

// Close forbids further use; it syncs nothing.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathErr("close", f.name, fs.ErrClosed)
	}
	return nil
}

// Size is the present length in bytes.
func (f *memFile) Size() (int64, error) {
	if err := f.check("size", false); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

// ReadAt reads as io.ReaderAt says.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if err := f.fs.before(OpRead, f.name, len(p)); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off < 0 {
		return 0, pathErr("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes as io.WriterAt says; a full disk takes what fits.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	refused := f.fs.before(OpWrite, f.name, len(p))
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off < 0 {
		return 0, pathErr("write", f.name, fs.ErrInvalid)
	}
	if refused != nil {
		p = p[:len(p)/2]
	}
	end := off + int64(len(p))
	if grow := end - int64(len(f.node.data)); f.fs.limit > 0 && grow > 0 && f.fs.used+grow > f.fs.limit {
		refused = pathErr("write", f.name, syscall.ENOSPC)
		end = max(off, int64(len(f.node.data))+max(0, f.fs.limit-f.fs.used))
		p = p[:max(0, min(int64(len(p)), end-off))]
	}
	if len(p) == 0 {
		return 0, refused
	}
	end = off + int64(len(p))
	if end > int64(len(f.node.data)) {
		f.fs.resize(f.node, int(end))
	}
	copy(f.node.data[off:], p)
	f.node.touch(int(off), int(end))
	return len(p), refused
}

// Preallocate tells whether the file could grow to the size now; others may take the space first.
func (f *memFile) Preallocate(size int64) error {
	if err := f.check("preallocate", true); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if grow := size - int64(len(f.node.data)); f.fs.limit > 0 && grow > 0 && f.fs.used+grow > f.fs.limit {
		return pathErr("preallocate", f.name, syscall.ENOSPC)
	}
	return nil
}

// Truncate sets the length.
func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if err := f.fs.before(OpTruncate, f.name, 0); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if size < 0 {
		return pathErr("truncate", f.name, fs.ErrInvalid)
	}
	f.fs.resize(f.node, int(size))
	return nil
}

// Sync makes the file's contents durable, not its name.
func (f *memFile) Sync() error {
	if err := f.check("sync", false); err != nil {
		return err
	}
	refused := f.fs.before(OpSync, f.name, 0)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if refused != nil {
		clear(f.node.dirty)
		return refused
	}
	f.node.syncData()
	return nil
}
