package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/internal/env"
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
)

func zero(partition int32) processor.TaskID { return processor.TaskID{Partition: partition} }

// brokenFS fails what its test wants, and to list while a test says so from elsewhere.
type brokenFS struct {
	env.FS
	list, rename, remove error
	unlisted             atomic.Bool
}

func (f *brokenFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if f.list != nil {
		return nil, f.list
	}
	if f.unlisted.Load() {
		return nil, fs.ErrInvalid
	}
	return f.FS.ReadDir(name)
}

func (f *brokenFS) Rename(from, to string) error {
	if f.rename != nil {
		return f.rename
	}
	return f.FS.Rename(from, to)
}

func (f *brokenFS) RemoveAll(path string) error {
	if f.remove != nil {
		return f.remove
	}
	return f.FS.RemoveAll(path)
}

// folders is an engine whose databases are folders with nothing in them.
type folders struct{ open sync.Map }

func (*folders) Name() string { return "folders" }

func (e *folders) Open(dir string) (statestore.DB, error) {
	if _, open := e.open.LoadOrStore(dir, true); open {
		return nil, statestore.ErrInUse
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := statestore.Memory().Open("")
	return &folder{db, e, dir}, err
}

type folder struct {
	statestore.DB
	e   *folders
	dir string
}

func (f *folder) Close() error {
	f.e.open.Delete(f.dir)
	return f.DB.Close()
}

// dwelling is a home with the state of tasks 0_0 and 0_1, and the names of what is
// in it.
func dwelling(t *testing.T) (h *home, files *brokenFS, names func() string) {
	t.Helper()
	files = &brokenFS{FS: env.RealFS()}
	dir := t.TempDir()
	h, err := openHome(files, dir, &folders{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	for p := range int32(2) {
		db, err := h.Open(zero(p))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return h, files, func() string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, e := range entries {
			if e.IsDir() {
				found = append(found, e.Name())
			}
		}
		return strings.Join(found, " ")
	}
}

func anyTask(processor.TaskID) bool { return true }

func TestStateThatNobodyHasOpenGoesAfterADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, names := dwelling(t)
		begun := time.Now()
		open, err := h.Open(zero(1))
		if err != nil {
			t.Fatal(err)
		}
		clean := func(since time.Time, want string) {
			t.Helper()
			if _, err := h.clean(since, time.Minute, anyTask); err != nil || names() != want {
				t.Errorf("left %s, want %s: %v", names(), want, err)
			}
		}
		clean(begun, "0_0 0_1")
		time.Sleep(time.Minute)
		clean(time.Now(), "0_0 0_1") // the app has just begun to run
		clean(begun, "0_1")
		time.Sleep(time.Hour)
		clean(begun, "0_1")
		if err := open.Close(); err != nil {
			t.Fatal(err)
		}
		clean(begun, "0_1")
		time.Sleep(time.Minute)
		clean(begun, "")
	})
}

func TestStateStaysWhenItCannotBeListedOrMoved(t *testing.T) {
	h, files, names := dwelling(t)
	boom := errors.New("boom")
	for name, fail := range map[string]*error{"list": &files.list, "rename": &files.rename, "remove": &files.remove} {
		*fail = boom
		if cleaned, err := h.clean(time.Time{}, 0, anyTask); !errors.Is(err, boom) || len(cleaned) > 0 || names() != "0_0 0_1" {
			t.Errorf("%s failed: %v cleaned, %s left, %v", name, cleaned, names(), err)
		}
		if err := h.cleanUp(); !errors.Is(err, boom) {
			t.Errorf("%s failed: %v", name, err)
		}
		*fail = nil
	}
	if err := files.MkdirAll(filepath.Join(h.dir, deleted+"0_0", "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Wipe(zero(0)); err != nil || names() != "0_1" {
		t.Errorf("left %s, %v", names(), err)
	}
	if err := h.Wipe(zero(0)); err != nil {
		t.Errorf("wiped nothing: %v", err)
	}
}

func TestFailedOpenIsNoUse(t *testing.T) {
	h, _, names := dwelling(t)
	db, err := h.Open(zero(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Open(zero(0)); !errors.Is(err, statestore.ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := h.clean(time.Time{}, 0, anyTask); err != nil || names() != "0_0" {
		t.Errorf("left %s, %v", names(), err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.clean(time.Time{}, 0, anyTask); err != nil || names() != "" {
		t.Errorf("left %s, %v", names(), err)
	}
}

// keeper is a program whose sub-topologies have, in turn, a store with a
// changelog, one without and none.
func keeper(t *testing.T) *program {
	t.Helper()
	b := graph.NewBuilder()
	for _, err := range []error{
		b.AddSource("s0", "a"), b.AddProcessor("p0", "s0"), b.AddStore(graph.Store{Name: "logged", Persistent: true, Logged: true}), b.Connect("p0", "logged"),
		b.AddSource("s1", "b"), b.AddProcessor("p1", "s1"), b.AddStore(graph.Store{Name: "local", Persistent: true}), b.Connect("p1", "local"),
		b.AddSource("s2", "c"), b.AddProcessor("p2", "s2"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return &program{b.Build()}
}

func TestAppCleansWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, files, names := dwelling(t)
		for _, other := range []string{"1_0", "3_0"} {
			if err := files.MkdirAll(filepath.Join(h.dir, other), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		app, err := New(keeper(t), Config{ApplicationID: "app", Brokers: []string{"x:1"}, StateDir: "/nowhere"})
		if err != nil {
			t.Fatal(err)
		}
		holdings := runtime.NewHoldings()
		holdings.Set(zero(0), 5)
		holdings.Set(zero(1), assign.Latest)
		open, err := h.Open(zero(1))
		if err != nil {
			t.Fatal(err)
		}
		stop := app.cleaning(t.Context(), h, holdings)
		app.to(Rebalancing)
		time.Sleep(time.Hour)
		if names() != "0_0 0_1 1_0 3_0" {
			t.Errorf("an app that does not run left %s", names())
		}
		app.to(Running)
		files.unlisted.Store(true)
		time.Sleep(11 * time.Minute)
		if names() != "0_0 0_1 1_0 3_0" {
			t.Errorf("without a list it left %s", names())
		}
		files.unlisted.Store(false)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if names() != "0_1 1_0 3_0" {
			t.Errorf("after a while it left %s", names())
		}
		if diff := cmp.Diff(map[processor.TaskID]int64{zero(1): assign.Latest}, holdings.State()); diff != "" {
			t.Error(diff)
		}
		stop()
		if err := open.Close(); err != nil {
			t.Fatal(err)
		}
		app.config.StateCleanupDelay = -1
		app.cleaning(t.Context(), h, holdings)()
	})
}

func TestCleanUpLeavesTheNameOfTheProcess(t *testing.T) {
	dir := t.TempDir()
	app, err := New(keeper(t), Config{ApplicationID: "app", Brokers: []string{"x:1"}, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	h, err := app.openHome()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"0_0", "7_1", "global", deleted + "0_1", "mine"} {
		if err := os.MkdirAll(filepath.Join(h.dir, name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.CleanUp(); !errors.Is(err, ErrInUse) {
		t.Errorf("while it runs: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := app.CleanUp(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{"lock", "mine", "process-id"}, left); diff != "" {
		t.Error(diff)
	}
	again, err := app.openHome()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if again.process != h.process {
		t.Errorf("was %s, is %s", h.process, again.process)
	}
}
