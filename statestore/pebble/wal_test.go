package pebble_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
)

// killed returns a copy of a folder as a process that is killed leaves it: with
// everything that the operating system was told. Pebble deletes what it replaced
// whenever it likes: a copy that met this is made again.
func killed(t *testing.T, dir string) string {
	t.Helper()
	for {
		copied := t.TempDir()
		err := os.CopyFS(copied, os.DirFS(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		return copied
	}
}

func put(t *testing.T, db statestore.DB, key string, at int64) {
	t.Helper()
	var b statestore.Batch
	b.Put([]byte(key), []byte(key))
	must(t, db.Apply(&b, map[string]int64{"log": at}))
}

func wantAt(t *testing.T, db statestore.DB, at int64, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, ok, err := db.Get(nil, []byte(key)); !ok || err != nil {
			t.Errorf("key %s: %v, %v", key, ok, err)
		}
	}
	positions, err := db.Position()
	must(t, err)
	if positions["log"] != at {
		t.Errorf("position %d, want %d", positions["log"], at)
	}
}

func TestEveryApplyOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	db, err := pebble.New(pebble.Options{}).Open(dir)
	must(t, err)
	for i := range int64(3) {
		put(t, db, string(rune('a'+i)), i)
		back, err := pebble.New(pebble.Options{}).Open(killed(t, dir))
		must(t, err)
		wantAt(t, back, i, strings.Split("abc"[:i+1], "")...)
		must(t, back.Close())
	}
	must(t, db.Close())
}

func TestATornLogIsForgotten(t *testing.T) {
	dir := t.TempDir()
	e := pebble.New(pebble.Options{})
	db, err := e.Open(dir)
	must(t, err)
	put(t, db, "a", 1)
	must(t, db.Close())
	db, err = e.Open(dir)
	must(t, err)
	put(t, db, strings.Repeat("b", 100_000), 2)
	put(t, db, "c", 3)
	torn := killed(t, dir)
	must(t, db.Close())
	logs, err := filepath.Glob(filepath.Join(torn, "*.log"))
	must(t, err)
	for _, name := range logs {
		text, err := os.ReadFile(name)
		must(t, err)
		for i := 40_000; i < min(len(text), 80_000); i++ {
			text[i] ^= 0xff
		}
		must(t, os.WriteFile(name, text, 0o600))
	}
	db, err = e.Open(torn)
	must(t, err)
	wantAt(t, db, 1, "a")
	must(t, db.Close())
}
