package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/weirstream/weir/internal/env"
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
)

// ErrInUse means that another app has the state directory open.
var ErrInUse = errors.New("state directory is in use")

// home is the folder of one application: a lock, the name of the process in its
// group, and a folder for each task. It implements runtime.Databases.
type home struct {
	fs      env.FS
	dir     string
	engine  statestore.Engine
	process string
	lock    io.Closer

	mu   sync.Mutex
	used map[processor.TaskID]*using
}

const (
	lockFile    = "lock"
	processFile = "process-id"
	globalDir   = "global"
)

func openHome(files env.FS, dir string, engine statestore.Engine) (*home, error) {
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := files.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, env.ErrLocked) {
		return nil, fmt.Errorf("%w: %s: stop the other app or choose another StateDir", ErrInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	h := &home{fs: files, dir: dir, engine: engine, lock: lock, used: map[processor.TaskID]*using{}}
	if h.process, err = h.identity(); err != nil {
		return nil, errors.Join(fmt.Errorf("state directory: %w", err), lock.Close())
	}
	return h, nil
}

// identity reads the name of the process, or makes one. Under it a restart is
// the same member of the group.
func (h *home) identity() (string, error) {
	name := filepath.Join(h.dir, processFile)
	f, err := h.fs.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	id, err := identityIn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%s: %w", processFile, err)
	}
	return id, h.fs.SyncDir(h.dir)
}

func identityIn(f env.File) (string, error) {
	const length = 26 // of rand.Text
	buf := make([]byte, length+1)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if id := strings.TrimSpace(string(buf[:n])); len(id) == length && graph.Legal(id) == nil {
		return id, nil
	}
	id := rand.Text()
	if err := f.Truncate(0); err != nil {
		return "", err
	}
	if _, err := f.WriteAt([]byte(id), 0); err != nil {
		return "", err
	}
	return id, f.Sync()
}

func (h *home) task(id processor.TaskID) string { return filepath.Join(h.dir, id.String()) }

// Open implements runtime.Databases.
func (h *home) Open(id processor.TaskID) (statestore.DB, error) {
	h.mu.Lock()
	u := h.used[id]
	if u == nil {
		u = &using{}
		h.used[id] = u
	}
	u.n++
	h.mu.Unlock()
	db, err := h.engine.Open(h.task(id))
	if err != nil {
		h.mu.Lock()
		u.n--
		h.mu.Unlock()
		return nil, err
	}
	return usedDB{db, h, id}, nil
}

// openGlobal opens the database of the global tables.
func (h *home) openGlobal() (statestore.DB, error) {
	return h.engine.Open(filepath.Join(h.dir, globalDir))
}

// Wipe implements runtime.Databases.
func (h *home) Wipe(id processor.TaskID) error {
	err := h.delete(id.String())
	if errors.Is(err, fs.ErrNotExist) { // an engine need not keep files
		return nil
	}
	return err
}

// stored returns the tasks that have a folder.
func (h *home) stored() ([]processor.TaskID, error) {
	entries, err := h.fs.ReadDir(h.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var ids []processor.TaskID
	for _, e := range entries {
		if id, ok := runtime.ParseTaskID(e.Name()); ok && e.IsDir() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Close gives the folder free.
func (h *home) Close() error { return h.lock.Close() }
