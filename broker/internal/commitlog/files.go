package commitlog

import (
	"fmt"
	"os"
	"sync"

	"github.com/weirstream/weir/internal/env"
)

// files bounds how many files are open. A file is opened when it is acquired and stays open
// while anyone holds it; of those that nobody holds, the least recently used are closed.
type files struct {
	fs   env.FS
	max  int
	mu   sync.Mutex
	open int
	idle file // head of a ring: oldest next, newest prev
}

func newFiles(fsys env.FS, limit int) *files {
	p := &files{fs: fsys, max: limit}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// file is one file by name; its fields are guarded by the pool.
type file struct {
	pool       *files
	name       string
	handle     env.File
	refs       int
	prev, next *file // in the ring while open and idle
	retired    bool
}

func (p *files) file(name string) *file { return &file{pool: p, name: name} }

func (f *file) unlink() {
	if f.next != nil {
		f.prev.next, f.next.prev = f.next, f.prev
		f.prev, f.next = nil, nil
	}
}

// acquire opens the file if need be, creating it if it is missing and create is set. Each
// success needs one release, until which the handle stays open.
func (f *file) acquire(create bool) (env.File, error) {
	p := f.pool
	p.mu.Lock()
	defer p.mu.Unlock()
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

func (f *file) release() {
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
func (p *files) evict(n int) {
	for p.open > n && p.idle.next != &p.idle {
		p.idle.next.close()
	}
}

// close closes an idle file. What is in it was synced or need not be, so an error tells nothing.
func (f *file) close() {
	f.unlink()
	if f.handle != nil {
		_ = f.handle.Close()
		f.handle = nil
		f.pool.open--
	}
}

// retire closes the file as soon as nobody holds it, and never keeps it open again.
func (f *file) retire() {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	f.retired = true
	if f.refs == 0 {
		f.close()
	}
}

// rename moves the file on disk; holders keep theirs.
func (f *file) rename(to string) error {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if err := f.pool.fs.Rename(f.name, to); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	f.name = to
	return nil
}

func (f *file) path() string {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	return f.name
}
