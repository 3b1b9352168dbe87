package pebble_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
)

// TestDamagedBlocksAreErrors turns over the bytes of a table.
func TestDamagedBlocksAreErrors(t *testing.T) {
	fs := vfs.NewMem()
	e := pebble.New(pebble.Options{FS: fs})
	db, err := e.Open("/state")
	must(t, err)
	var b statestore.Batch
	for i := range 1000 {
		b.Put(fmt.Appendf(nil, "key-%04d", i), fmt.Appendf(nil, "value-%d", i*i))
	}
	must(t, db.Apply(&b, nil))
	must(t, db.Close())
	names, err := fs.List("/state")
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			raw, err := fs.UnsafeGetFileDataBuffer("/state/" + name)
			must(t, err)
			for i := range min(4000, len(raw)/2) {
				raw[i] ^= 0xff
			}
		}
	}
	db, err = e.Open("/state")
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
}
