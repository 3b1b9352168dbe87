package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirstream/weir/statestore"
)

// loadName is the file of a table before Pebble takes it. A crash may leave one,
// which the next load replaces.
const loadName = "load.tmp"

// Load implements statestore.DB: sorted rows become a table of Pebble's, past
// log and memtable. The table holds the positions too, and it is on disk before
// Pebble knows of it, so rows and positions are there together. What was applied
// before is written first, so that no crash keeps the table alone.
func (d *db) Load(b *statestore.Batch, positions map[string]int64) error {
	if b.Size() < d.loadBytes || d.closed.Load() {
		return d.Apply(b, positions)
	}
	err := statestore.AppendPositions(func(k, v []byte) error { b.Put(k, v); return nil }, positions)
	if err != nil {
		return err
	}
	if !b.Sort() {
		return d.Apply(b, nil)
	}
	if err := d.load(b); err != nil {
		return fmt.Errorf("pebble load: %w", err)
	}
	return nil
}

func (d *db) load(b *statestore.Batch) error {
	if d.unwritten {
		if err := d.pebble.Flush(); err != nil {
			return err
		}
		d.unwritten = false
	}
	name := d.options.FS.PathJoin(d.dir, loadName)
	if err := d.writeTable(name, b); err != nil {
		return err
	}
	return d.pebble.Ingest(context.Background(), []string{name}) //nolint:forbidigo // no caller has one, and nothing waits for it
}

// writeTable writes a table with the rows of a sorted batch, and syncs it.
func (d *db) writeTable(name string, b *statestore.Batch) (err error) {
	file, err := d.options.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(file), d.options.MakeWriterOptions(0, pebble.FormatNewest.MaxTableFormat()))
	defer func() { err = errors.Join(err, w.Close()) }()
	for op := range b.Ops() {
		if op.Kind == statestore.OpPut {
			err = w.Set(op.Key, op.Value)
		} else {
			err = w.Delete(op.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
