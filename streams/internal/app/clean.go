package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/env"
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
)

// deleted is what the name of a folder begins with that is being deleted: no
// folder of a task is ever half there.
const deleted = "deleted-"

// delete deletes the folder of a task, or another one of the home.
func (h *home) delete(name string) error {
	from, to := filepath.Join(h.dir, name), filepath.Join(h.dir, deleted+name)
	if err := h.fs.RemoveAll(to); err != nil { // of a deletion that was interrupted
		return err
	}
	if err := h.fs.Rename(from, to); err != nil {
		return err
	}
	return h.fs.RemoveAll(to)
}

// using counts who has the folder of a task open.
type using struct {
	n    int
	idle time.Time // since when nobody has; zero if nobody had
}

// usedDB gives the folder of its task free when it closes.
type usedDB struct {
	statestore.DB
	h  *home
	id processor.TaskID
}

// Close implements statestore.DB.
func (d usedDB) Close() error {
	err := d.DB.Close()
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	u := d.h.used[d.id]
	u.n--
	u.idle = time.Now()
	return err
}

// clean deletes the folders of tasks that nobody has had open for as long as
// delay, and not since a time, as far as gone says that they may go. It returns
// what it deleted. What cannot be listed is not deleted.
func (h *home) clean(since time.Time, delay time.Duration, gone func(id processor.TaskID) bool) ([]processor.TaskID, error) {
	ids, err := h.stored()
	if err != nil {
		return nil, err
	}
	var cleaned []processor.TaskID
	for _, id := range ids {
		if !gone(id) {
			continue
		}
		done, err := h.cleanTask(id, since, delay)
		if err != nil {
			return cleaned, fmt.Errorf("state of task %s: %w", id, err)
		}
		if done {
			cleaned = append(cleaned, id)
		}
	}
	return cleaned, nil
}

func (h *home) cleanTask(id processor.TaskID, since time.Time, delay time.Duration) (done bool, err error) {
	h.mu.Lock() // nobody opens it meanwhile
	defer h.mu.Unlock()
	if u := h.used[id]; u != nil {
		if u.n > 0 {
			return false, nil
		}
		if u.idle.After(since) {
			since = u.idle
		}
	}
	if time.Since(since) < delay {
		return false, nil
	}
	return true, h.delete(id.String())
}

// cleanUp deletes all state.
func (h *home) cleanUp() error {
	entries, err := h.fs.ReadDir(h.dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, e := range entries {
		_, task := runtime.ParseTaskID(e.Name())
		switch {
		case !e.IsDir():
		case strings.HasPrefix(e.Name(), deleted):
			err = errors.Join(err, h.fs.RemoveAll(filepath.Join(h.dir, e.Name())))
		case task, e.Name() == globalDir:
			err = errors.Join(err, h.delete(e.Name()))
		}
	}
	return err
}

// CleanUp deletes the local state of the application, which the next run restores
// from the changelogs; state without a changelog is lost. The folder keeps the
// name of the process. While an app runs on the folder, this or another one, it
// does nothing and returns an [ErrInUse].
func (a *App) CleanUp() error {
	h, err := a.openHome()
	if err != nil {
		return err
	}
	return errors.Join(h.cleanUp(), h.Close())
}

func (a *App) openHome() (*home, error) {
	return openHome(env.RealFS(), filepath.Join(a.config.StateDir, a.config.ApplicationID), a.config.Engine)
}

// cleaning deletes state that the app no longer needs, now and then, until the
// function that it returns is called, which waits.
func (a *App) cleaning(ctx context.Context, h *home, holdings *runtime.Holdings) (stop func()) {
	if a.config.StateCleanupDelay < 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(a.config.StateCleanupDelay)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				a.clean(h, holdings)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// clean deletes state of tasks that have run elsewhere for a while. An app that
// does not run at the moment cannot tell which those are.
func (a *App) clean(h *home, holdings *runtime.Holdings) {
	a.mu.Lock()
	since, running := a.running, a.state == Running
	a.mu.Unlock()
	if !running {
		return
	}
	cleaned, err := h.clean(since, a.config.StateCleanupDelay, a.restorable)
	for _, id := range cleaned {
		holdings.Set(id, 0)
		a.log.Info("state deleted: the task runs elsewhere", slog.String("task", id.String()))
	}
	if err != nil {
		a.log.Warn("state of tasks that run elsewhere was not deleted", slog.Any("error", err))
	}
}

// restorable says that changelogs have all that the folder of a task has.
func (a *App) restorable(id processor.TaskID) bool {
	subs := a.topology.Graph().Subtopologies
	if id.Subtopology < 0 || id.Subtopology >= len(subs) {
		return false
	}
	for i := range subs[id.Subtopology].Stores {
		if s := &subs[id.Subtopology].Stores[i]; s.Persistent && !s.Logged {
			return false
		}
	}
	return true
}
