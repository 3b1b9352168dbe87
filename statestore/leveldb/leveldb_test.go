package leveldb_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/leveldb"
	"github.com/weirstream/weir/statestore/storetest"
)

func TestEngine(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Engine:  func(*testing.T) statestore.Engine { return leveldb.New(leveldb.Options{}) },
		Dir:     func(t *testing.T) string { return t.TempDir() },
		Durable: true,
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamagedBlocksAreErrors turns over the bytes of a table.
func TestDamagedBlocksAreErrors(t *testing.T) {
	e, dir := leveldb.New(leveldb.Options{}), t.TempDir()
	db, err := e.Open(dir)
	must(t, err)
	var b statestore.Batch
	for i := range 1000 {
		b.Put(fmt.Appendf(nil, "key-%04d", i), fmt.Appendf(nil, "value-%d", i*i))
	}
	must(t, db.Apply(&b, nil))
	must(t, db.Close())
	db, err = e.Open(dir) // moves the log into a table
	must(t, err)
	must(t, db.Close())
	tables, err := filepath.Glob(filepath.Join(dir, "*.ldb"))
	must(t, err)
	for _, name := range tables {
		raw, err := os.ReadFile(name)
		must(t, err)
		for i := range min(4000, len(raw)/2) {
			raw[i] ^= 0xff
		}
		must(t, os.WriteFile(name, raw, 0o600))
	}
	db, err = e.Open(dir)
	must(t, err)
	defer func() { must(t, db.Close()) }()
	if _, _, err := db.Get(nil, []byte("key-0001")); err == nil {
		t.Error("get reads a damaged block")
	}
	last := error(nil)
	for _, err := range db.Range([]byte("key"), nil, statestore.Ascending) {
		last = err
	}
	if last == nil {
		t.Error("range reads a damaged block")
	}
	b.Reset()
	b.DeleteRange([]byte("key"), []byte("kez"))
	if db.Apply(&b, nil) == nil {
		t.Error("apply deletes a range that it cannot read")
	}
}

func TestADirectoryThatIsAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	must(t, os.WriteFile(name, nil, 0o600))
	_, err := leveldb.New(leveldb.Options{}).Open(name)
	if err == nil || errors.Is(err, statestore.ErrInUse) || !strings.Contains(err.Error(), name) {
		t.Errorf("error %v", err)
	}
}
