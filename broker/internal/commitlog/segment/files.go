package segment

import (
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/weirstream/weir/internal/env"
)

// Pool bounds how many files are open, and how much of them is kept in memory: to be written together,
// and read ahead. A file is opened when it is acquired and stays open while anyone holds it; of those
// that nobody holds, the least recently used are closed.
type Pool struct {
	fs    env.FS
	max   int
	mu    sync.Mutex
	open  int
	scans sync.Pool // of *Scanner
	holds sync.Pool // of *[heldMost]byte
	held  atomic.Int32
	idle  File // head of a ring: oldest next, newest prev

	windows windows
}

// NewPool returns a pool that holds at most limit files open, but for those in use, and takes at most so
// many bytes of memory to read ahead.
func NewPool(fsys env.FS, limit int, ahead int64) *Pool {
	p := &Pool{fs: fsys, max: limit, windows: windows{most: int(ahead / windowSize)}}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// File is one file by name. It is safe for concurrent use; its fields are guarded by the pool.
type File struct {
	pool       *Pool
	name       string
	handle     env.File
	refs       int
	prev, next *File // in the ring while open and idle
	retired    bool
}

// File returns a file by name; opening waits for Acquire.
func (p *Pool) File(name string) *File { return &File{pool: p, name: name} }

func (f *File) unlink() {
	if f.next != nil {
		f.prev.next, f.next.prev = f.next, f.prev
		f.prev, f.next = nil, nil
	}
}

// Acquire opens the file if need be, creating it if it is missing and create is set. Each
// success needs one release, until which the handle stays open. A retired file that nobody holds
// counts as missing: another may have its name by now.
func (f *File) Acquire(create bool) (env.File, error) {
	p := f.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.handle == nil && f.retired {
		return nil, &fs.PathError{Op: "open", Path: f.name, Err: fs.ErrNotExist}
	}
	if f.handle == nil {
		flag := os.O_RDWR
		if create {
			flag |= os.O_CREATE
		}
		p.evict(p.max - 1)
		h, err := p.fs.OpenFile(f.name, flag, 0o640)
		if err != nil {
			return nil, fmt.Errorf("open: %w", err)
		}
		f.handle = h
		p.open++
	}
	f.unlink()
	f.refs++
	return f.handle, nil
}

// Release gives back what Acquire returned.
func (f *File) Release() {
	p := f.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	f.refs--
	if f.refs > 0 {
		return
	}
	if f.retired {
		f.close()
		return
	}
	f.prev, f.next = p.idle.prev, &p.idle
	f.prev.next, f.next.prev = f, f
	p.evict(p.max)
}

// evict closes idle files until at most n are open. The caller holds the mutex.
func (p *Pool) evict(n int) {
	for p.open > n && p.idle.next != &p.idle {
		p.idle.next.close()
	}
}

// close closes an idle File. What is in it was synced or need not be, so an error tells nothing.
func (f *File) close() {
	f.unlink()
	if f.handle != nil {
		_ = f.handle.Close()
		f.handle = nil
		f.pool.open--
	}
}

// Retire closes the file as soon as nobody holds it, and never keeps it open again.
func (f *File) Retire() {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	f.retired = true
	if f.refs == 0 {
		f.close()
	}
}

// Rename moves the file on disk; holders keep theirs. One that does not exist yet will be made
// under the new name.
func (f *File) Rename(to string) error {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if err := ignoreMissing(f.pool.fs.Rename(f.name, to)); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	f.name = to
	return nil
}

// Name is where the file is now.
func (f *File) Name() string {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	return f.name
}

// Open is the number of files that are open.
func (p *Pool) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}
