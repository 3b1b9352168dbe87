// Package env is the seam between the program and its machine: the clock, the file system, the
// network and randomness. Production runs on Real; tests run on a file system that forgets what
// was not synced when its power fails (MemFS), and on a network in memory (MemNetwork). Both
// work inside a testing/synctest bubble, and a whole node can be built on them.
package env

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Env is everything a part of the program may touch outside its own memory. It is handed down by
// value.
type Env struct {
	Clock Clock
	FS    FS
	Net   Network
	Rand  io.Reader // unpredictable bytes, for ids and secrets; safe for concurrent use
}

// Real is the machine the process runs on.
func Real() Env {
	return Env{Clock: RealClock(), FS: RealFS(), Net: RealNetwork(), Rand: rand.Reader}
}

// Clock tells the time and calls back. It is safe for concurrent use.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine once d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a call that is due. Its methods are those of time.Timer.
type Timer interface {
	Stop() bool
	Reset(d time.Duration) bool
}

// ErrLocked reports a lock that another process, or another part of this one, holds.
var ErrLocked = errors.New("locked by another process")

// FS is a file system. Names are paths as package os takes them. Errors are *fs.PathError or
// wrap fs.ErrNotExist and its like. It is safe for concurrent use.
//
// Nothing survives a power cut by being written: file contents need File.Sync, and the creation,
// renaming and removal of a file need SyncDir of the directory it is in.
type FS interface {
	// OpenFile opens with the flags of package os. O_APPEND is not supported.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(path string, perm fs.FileMode) error
	// Rename replaces what is at to, atomically. Both must lie in one directory.
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(path string) error
	// ReadDir lists a directory by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the directory's entries durable, not what is in the files.
	SyncDir(name string) error
	// SyncFS makes everything on dir's file system durable, as Sync of every file and SyncDir of
	// every directory would. The error wraps errors.ErrUnsupported where the machine cannot.
	SyncFS(dir string) error
	// Lock creates the file and locks it until the Closer is closed or the process ends. It does
	// not wait; ErrLocked tells that someone else has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. It is safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the contents and the size durable. After an error nothing is known about what
	// was written since the last success, and a later success says nothing about it either.
	Sync() error
}

// OSFile is offered by files that have a descriptor, for sendfile.
type OSFile interface {
	OSFile() *os.File
}

// Preallocator is offered by files that can reserve space beyond their size without changing it.
type Preallocator interface {
	Preallocate(size int64) error
}

// Network makes connections. It is safe for concurrent use.
type Network interface {
	Listen(ctx context.Context, addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// SocketKeeper is offered by networks whose connections can be kept in a set of sockets.
type SocketKeeper interface {
	Sockets() (Sockets, error)
}

// Socket is a connection without its addresses: a *net.TCPConn, or what Sockets make of it.
type Socket interface {
	io.ReadWriteCloser
	syscall.Conn
	SetReadDeadline(at time.Time) error
	SetWriteDeadline(at time.Time) error
}

// Sockets keeps connections that are silent, each for no more than a descriptor in the kernel, and
// tells which have something to read. It is safe for concurrent use, but for Wait.
type Sockets interface {
	// Keep closes conn and takes its socket into the set, under a name of the caller's. Nobody
	// may be using conn. The caller calls either Wake or Drop, once. After an error conn is as
	// it was.
	Keep(conn Socket, id uint64) (fd int, err error)
	// Wait blocks until some sockets have bytes, their end or an error to read, and appends their
	// ids. Each is told once, and may have been woken or dropped meanwhile. One goroutine waits at
	// a time; net.ErrClosed says that the set is closed.
	Wait(ids []uint64) ([]uint64, error)
	// Wake takes a descriptor out of the set and makes it a connection again.
	Wake(fd int) Socket
	// Drop takes a descriptor out of the set and closes it.
	Drop(fd int) error
	// Close ends the set and whoever waits. What is in it can still be woken and dropped.
	Close() error
}

// IsNoSpace reports whether an error says that the disk, or a quota on it, is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// ReadFile returns the whole contents of a file.
func ReadFile(fsys FS, name string) (data []byte, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", name, err)
	}
	data = make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data[:n], nil
}

// WriteFile writes a whole file in place and syncs nothing: after a power cut it may be missing,
// old, empty or torn.
func WriteFile(fsys FS, name string, data []byte) (err error) {
	return writeFile(fsys, name, data, false)
}

// WriteFileAtomic replaces a file by way of name.tmp, so that after a power cut at any moment it
// holds either what it held before or data. When it returns nil, data is durable.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := writeFile(fsys, tmp, data, true); err != nil {
		return errors.Join(err, ignoreMissing(fsys.Remove(tmp)))
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("sync directory of %s: %w", name, err)
	}
	return nil
}

func writeFile(fsys FS, name string, data []byte, sync bool) (err error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(data, 0); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if !sync {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
