package env

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// RealClock is package time, which testing/synctest replaces inside a bubble.
func RealClock() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// RealNetwork is TCP.
func RealNetwork() Network { return realNetwork{} }

type realNetwork struct{}

func (realNetwork) Listen(ctx context.Context, addr string) (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func (realNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return c, nil
}

// RealFS is the file system of the machine.
func RealFS() FS { return realFS{} }

type realFS struct{}

func (realFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(filepath.Clean(name), flag, perm)
	if err != nil {
		return nil, err
	}
	return realFile{f}, nil
}

func (realFS) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(path, perm) }
func (realFS) Rename(from, to string) error                 { return os.Rename(from, to) }
func (realFS) Remove(name string) error                     { return os.Remove(name) }
func (realFS) RemoveAll(path string) error                  { return os.RemoveAll(path) }
func (realFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (realFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }

func (realFS) SyncDir(name string) error {
	return withFile(name, func(f *os.File) error { return f.Sync() })
}

func (realFS) SyncFS(dir string) error { return withFile(dir, syncFS) }

func withFile(name string, do func(f *os.File) error) error {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return err
	}
	if err := do(f); err != nil {
		_ = f.Close() // the first error is the one that matters
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	return f.Close()
}

// realFile adds to os.File what File asks for.
type realFile struct{ *os.File }

// OSFile lends the descriptor.
func (f realFile) OSFile() *os.File { return f.File }

// Size is the present length in bytes.
func (f realFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// piece is how much one call writes. Linux takes the page cache for a write in blocks as large as the
// write; those of up to this size come from memory in use, larger ones from memory that a virtual
// machine may have to ask its host for, at several times the cost.
const piece = 256 << 10

// WriteAt writes as io.WriterAt says, in pieces.
func (f realFile) WriteAt(p []byte, off int64) (n int, err error) {
	for {
		m, err := f.File.WriteAt(p[n:min(n+piece, len(p))], off+int64(n))
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

// Sync makes contents and size durable, leaving out times where the machine allows it.
func (f realFile) Sync() error { return syncData(f.File) }

// Preallocate reserves space up to size without changing the file's size.
func (f realFile) Preallocate(size int64) error { return preallocate(f.File, size) }
