package pebble

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/statestore"
)

// loadName is how the file of a table begins before Pebble takes it. A crash may
// leave some, which the next load replaces.
const loadName = "load.tmp"

// Load implements statestore.DB: sorted rows become tables of Pebble's, past
// log and memtable, one for each processor. They hold the positions too, are on disk
// before Pebble knows of them, and it takes all or none, so rows and positions are
// there together. What was applied before is written first, so that no crash keeps
// the tables alone.
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
	n := min(runtime.GOMAXPROCS(0), max(1, b.Size()/d.loadBytes), b.Len())
	names := make([]string, n)
	var g errgroup.Group
	for i := range names {
		names[i] = d.options.FS.PathJoin(d.dir, loadName+strconv.Itoa(i))
		g.Go(func() error { return d.writeTable(names[i], b.Part(i, n)) })
	}
	err := g.Wait()
	if err == nil {
		err = d.pebble.Ingest(context.Background(), names) //nolint:forbidigo // no caller has one, and nothing waits for it
	}
	if err != nil { // perhaps the disk is full
		for _, name := range names {
			_ = d.options.FS.Remove(name) // it may not be there
		}
	}
	return err
}

// writeTable writes a table with sorted rows, and syncs it.
func (d *db) writeTable(name string, rows iter.Seq[statestore.Op]) (err error) {
	file, err := d.options.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(file), d.options.MakeWriterOptions(0, pebble.FormatNewest.MaxTableFormat()))
	defer func() { err = errors.Join(err, w.Close()) }()
	for op := range rows {
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
