package env

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// OpKind is what an operation on a MemFS does.
type OpKind int

// The operations that change a file system, and those that read it.
const (
	OpOpen OpKind = iota // without creating
	OpCreate
	OpRead
	OpWrite
	OpTruncate
	OpSync // of a file
	OpSyncDir
	OpSyncFS
	OpRename
	OpRemove
	OpMkdir
	OpList // ReadDir and Stat
)

// String names the kind.
func (k OpKind) String() string {
	return [...]string{
		"open", "create", "read", "write", "truncate", "sync", "syncdir", "syncfs", "rename", "remove", "mkdir", "list",
	}[k]
}

// Changes reports whether operations of this kind can make a difference to a power cut.
func (k OpKind) Changes() bool { return k != OpOpen && k != OpRead && k != OpList }

// Op is one operation on a MemFS.
type Op struct {
	Index int // counts the operations that change the file system, from 1; 0 for reading ones
	Kind  OpKind
	Name  string
	Bytes int // of a read or write
}

// MemFS is a file system in memory that, like a disk, forgets on a power cut what was not synced:
// bytes without File.Sync, directory entries without SyncDir. Crash returns what a machine finds
// after the cut, and leaves the file system itself as it was, so that one run can be cut at each
// of its operations. It is safe for concurrent use.
type MemFS struct {
	mu    sync.Mutex
	root  *inode
	locks map[string]bool
	ops   int
	hook  func(Op) error
	used  int64
	limit int64 // of used; 0 is none
}

// NewMemFS returns an empty file system.
func NewMemFS() *MemFS {
	return &MemFS{root: newDir(), locks: map[string]bool{}}
}

// OnOp has f called before every operation, from the goroutine that does it and under no lock, so
// that f may call Crash. An error from f is what the operation returns instead of being done; a
// refused write has written its first half, and a refused Sync or SyncFS has dropped what it was
// to make durable: the next one succeeds and covers only what is written after. nil takes f off.
func (m *MemFS) OnOp(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// Ops is the number of changing operations so far.
func (m *MemFS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// SetCapacity bounds the bytes in all files together; a write beyond it fails with ENOSPC after
// writing what fits. 0 is unlimited.
func (m *MemFS) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
}

// FailNth returns a hook for OnOp that refuses the nth operation of a kind, counted from 1, and
// no other.
func FailNth(kind OpKind, nth int, err error) func(Op) error {
	var mu sync.Mutex
	return func(op Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind != kind {
			return nil
		}
		nth--
		if nth == 0 {
			return &fs.PathError{Op: kind.String(), Path: op.Name, Err: err}
		}
		return nil
	}
}

// before counts an operation and asks the hook.
func (m *MemFS) before(kind OpKind, name string, bytes int) error {
	m.mu.Lock()
	op := Op{Kind: kind, Name: name, Bytes: bytes}
	if kind.Changes() {
		m.ops++
		op.Index = m.ops
	}
	hook := m.hook
	m.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op)
}

// inode is a file or a directory: what is there now, and what a power cut would leave for sure.
type inode struct {
	modified time.Time
	// a directory
	entries map[string]*inode // nil for a file
	durable map[string]*inode
	pending []dirChange // done since SyncDir, in order
	// a file
	data   []byte
	synced []byte
	dirty  map[int]struct{} // blocks that differ from synced
}

// dirChange replaces the entry del, if any, by the entry add, if any.
type dirChange struct {
	del, add string
	node     *inode
}

func (c dirChange) apply(entries map[string]*inode) {
	if c.del != "" {
		delete(entries, c.del)
	}
	if c.add != "" {
		entries[c.add] = c.node
	}
}

func newDir() *inode {
	return &inode{entries: map[string]*inode{}, durable: map[string]*inode{}, modified: time.Now()}
}

func newFile() *inode { return &inode{dirty: map[int]struct{}{}, modified: time.Now()} }

func (n *inode) isDir() bool { return n.entries != nil }

func (n *inode) change(c dirChange) {
	c.apply(n.entries)
	n.pending = append(n.pending, c)
	n.modified = time.Now()
}

func (n *inode) syncDir() {
	n.durable = maps.Clone(n.entries)
	n.pending = nil
}

func split(name string) []string {
	clean := strings.Trim(path.Clean("/"+filepath.ToSlash(name)), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

func (m *MemFS) find(name string) (*inode, error) {
	n := m.root
	for _, part := range split(name) {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		next, ok := n.entries[part]
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent returns the directory that holds name, and name's last element.
func (m *MemFS) parent(name string) (*inode, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	dir, err := m.find(strings.Join(parts[:len(parts)-1], "/"))
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, parts[len(parts)-1], err
}

func pathErr(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile opens or creates a file.
func (m *MemFS) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	_, err := m.find(name)
	m.mu.Unlock()
	kind := OpOpen
	if flag&os.O_CREATE != 0 && errors.Is(err, fs.ErrNotExist) {
		kind = OpCreate
	}
	if err := m.before(kind, name, 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		dir, base, err := m.parent(name)
		if err != nil {
			return nil, pathErr("open", name, err)
		}
		n = newFile()
		dir.change(dirChange{add: base, node: n})
	case err != nil:
		return nil, pathErr("open", name, err)
	case flag&os.O_EXCL != 0:
		return nil, pathErr("open", name, fs.ErrExist)
	case n.isDir():
		return nil, pathErr("open", name, syscall.EISDIR)
	case flag&os.O_TRUNC != 0:
		m.resize(n, 0)
	}
	return &memFile{fs: m, node: n, name: name, readOnly: flag&(os.O_RDWR|os.O_WRONLY) == 0}, nil
}

// MkdirAll creates a directory and those above it.
func (m *MemFS) MkdirAll(name string, _ fs.FileMode) error {
	if err := m.before(OpMkdir, name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, part := range split(name) {
		next, ok := n.entries[part]
		if !ok {
			next = newDir()
			n.change(dirChange{add: part, node: next})
		}
		if !next.isDir() {
			return pathErr("mkdir", name, syscall.ENOTDIR)
		}
		n = next
	}
	return nil
}

// Rename replaces to by from within one directory.
func (m *MemFS) Rename(from, to string) error {
	if err := m.before(OpRename, from, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(from)
	if err != nil {
		return pathErr("rename", from, err)
	}
	target, targetBase, err := m.parent(to)
	if err == nil && target != dir {
		err = syscall.EXDEV
	}
	if err != nil {
		return pathErr("rename", to, err)
	}
	n, ok := dir.entries[base]
	if !ok {
		return pathErr("rename", from, fs.ErrNotExist)
	}
	if old, ok := dir.entries[targetBase]; ok && old != n {
		if old.isDir() {
			return pathErr("rename", to, fs.ErrExist)
		}
		m.used -= int64(len(old.data))
	}
	if base != targetBase {
		dir.change(dirChange{del: base, add: targetBase, node: n})
	}
	return nil
}

// Remove deletes a file or an empty directory. Open files stay readable.
func (m *MemFS) Remove(name string) error {
	if err := m.before(OpRemove, name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return pathErr("remove", name, err)
	}
	n, ok := dir.entries[base]
	switch {
	case !ok:
		return pathErr("remove", name, fs.ErrNotExist)
	case n.isDir() && len(n.entries) > 0:
		return pathErr("remove", name, syscall.ENOTEMPTY)
	}
	m.used -= int64(len(n.data))
	dir.change(dirChange{del: base})
	return nil
}

// RemoveAll deletes a directory with all that is in it, in one step, or a file.
func (m *MemFS) RemoveAll(name string) error {
	if err := m.before(OpRemove, name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pathErr("remove", name, err)
	}
	if n, ok := dir.entries[base]; ok {
		n.visit(func(f *inode) { m.used -= int64(len(f.data)) })
		dir.change(dirChange{del: base})
	}
	return nil
}

// visit calls f for the node and everything below it as it is now.
func (n *inode) visit(f func(*inode)) {
	f(n)
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		n.entries[name].visit(f)
	}
}

// ReadDir lists a directory by name.
func (m *MemFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := m.before(OpList, name, 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathErr("readdir", name, err)
	}
	list := make([]fs.DirEntry, 0, len(n.entries))
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		list = append(list, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return list, nil
}

// Stat describes a file or directory.
func (m *MemFS) Stat(name string) (fs.FileInfo, error) {
	if err := m.before(OpList, name, 0); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return nil, pathErr("stat", name, err)
	}
	return n.info(path.Base(filepath.ToSlash(name))), nil
}

// SyncDir makes a directory's entries durable.
func (m *MemFS) SyncDir(name string) error {
	if err := m.before(OpSyncDir, name, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathErr("sync", name, err)
	}
	n.syncDir()
	return nil
}

// SyncFS makes everything durable.
func (m *MemFS) SyncFS(name string) error {
	refused := m.before(OpSyncFS, name, 0)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.root.visit(func(n *inode) {
		switch {
		case refused != nil && !n.isDir():
			clear(n.dirty)
		case refused != nil:
		case n.isDir():
			n.syncDir()
		default:
			n.syncData()
		}
	})
	return refused
}

// Lock holds a name until it is closed or the power fails.
func (m *MemFS) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("close lock file: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(filepath.ToSlash(name))
	if m.locks[key] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.locks[key] = true
	return &memLock{fs: m, key: key}, nil
}

type memLock struct {
	fs  *MemFS
	key string
}

// Close lets go of the lock.
func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.key)
	return nil
}
