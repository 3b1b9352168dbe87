// Package leveldb is the small second engine: goleveldb databases, one for each
// task, in pure Go.
//
// An apply is one batch in goleveldb's log, without a sync: it survives the end
// of the process, however sudden. After a power cut the log may have holes, and
// the state directory is to be removed and restored from the changelog.
package leveldb

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/weirstream/weir/statestore"
)

// Options tunes the databases of an engine. The zero value is a good choice.
type Options struct {
	// CacheBytes is the size of the block cache of each DB; 0 is 8 MiB.
	CacheBytes int
	// MemTableBytes is how much a DB holds in memory before it writes a file;
	// 0 is 4 MiB.
	MemTableBytes int
	// MaxOpenFiles bounds the open files of each DB; 0 is 128.
	MaxOpenFiles int
}

// New returns an engine.
func New(o Options) statestore.Engine {
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 4 << 20
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = 128
	}
	return engine{o}
}

type engine struct{ options Options }

// Name implements statestore.Engine.
func (engine) Name() string { return "leveldb" }

// Open implements statestore.Engine.
func (e engine) Open(dir string) (statestore.DB, error) {
	inner, err := leveldb.OpenFile(dir, &opt.Options{
		BlockCacheCapacity:     e.options.CacheBytes,
		Filter:                 filter.NewBloomFilter(10),
		OpenFilesCacheCapacity: e.options.MaxOpenFiles,
		WriteBuffer:            e.options.MemTableBytes,
	})
	switch {
	case errors.Is(err, storage.ErrLocked), errors.Is(err, syscall.EAGAIN):
		return nil, fmt.Errorf("%w: %s: %w", statestore.ErrInUse, dir, err)
	case err != nil:
		return nil, fmt.Errorf("open state directory %s: %w", dir, err)
	}
	return &db{leveldb: inner}, nil
}

// source is what a DB and a snapshot of goleveldb share.
type source interface {
	Get(key []byte, ro *opt.ReadOptions) ([]byte, error)
	NewIterator(slice *util.Range, ro *opt.ReadOptions) iterator.Iterator
}

// read is Get of a source.
func read(s source, dst, key []byte) (value []byte, ok bool, err error) {
	v, err := s.Get(key, nil)
	switch {
	case errors.Is(err, leveldb.ErrNotFound):
		return dst, false, nil
	case err != nil:
		return dst, false, closedOr("get", err)
	}
	return append(dst, v...), true, nil
}

// walk is Range of a source.
func walk(s source, from, to []byte, order statestore.Order) iter.Seq2[statestore.Pair, error] {
	return func(yield func(statestore.Pair, error) bool) {
		it := s.NewIterator(&util.Range{Start: from, Limit: to}, nil)
		defer it.Release()
		first, next := it.First, it.Next
		if order == statestore.Descending {
			first, next = it.Last, it.Prev
		}
		for ok := first(); ok; ok = next() {
			if !yield(statestore.Pair{Key: it.Key(), Value: it.Value()}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(statestore.Pair{}, closedOr("range", err))
		}
	}
}

func closedOr(what string, err error) error {
	if errors.Is(err, leveldb.ErrClosed) || errors.Is(err, leveldb.ErrSnapshotReleased) {
		return statestore.ErrClosed
	}
	return fmt.Errorf("leveldb %s: %w", what, err)
}

type db struct {
	leveldb *leveldb.DB
	closed  atomic.Bool
}

// Get implements statestore.Reader.
func (d *db) Get(dst, key []byte) (value []byte, ok bool, err error) {
	return read(d.leveldb, dst, key)
}

// Range implements statestore.Reader.
func (d *db) Range(from, to []byte, order statestore.Order) iter.Seq2[statestore.Pair, error] {
	return walk(d.leveldb, from, to, order)
}

// Apply implements statestore.DB.
func (d *db) Apply(b *statestore.Batch, positions map[string]int64) error {
	batch := leveldb.MakeBatch(b.Size() + 24*b.Len())
	var earlier [][]byte // keys that the batch has set so far
	for op := range b.Ops() {
		switch op.Kind {
		case statestore.OpPut:
			batch.Put(op.Key, op.Value)
			earlier = append(earlier, op.Key)
		case statestore.OpDelete:
			batch.Delete(op.Key)
		case statestore.OpDeleteRange:
			if err := d.deleteRange(batch, op.Key, op.Value, earlier); err != nil {
				return err
			}
		}
	}
	put := func(k, v []byte) error { batch.Put(k, v); return nil }
	if err := statestore.AppendPositions(put, positions); err != nil {
		return err
	}
	if err := d.leveldb.Write(batch, &opt.WriteOptions{}); err != nil {
		return closedOr("apply", err)
	}
	return nil
}

// Load implements statestore.DB.
func (d *db) Load(b *statestore.Batch, positions map[string]int64) error {
	return d.Apply(b, positions)
}

// deleteRange deletes the keys of a range one by one, for goleveldb knows no
// other way.
func (d *db) deleteRange(batch *leveldb.Batch, from, to []byte, earlier [][]byte) error {
	for p, err := range d.Range(from, to, statestore.Ascending) {
		if err != nil {
			return err
		}
		batch.Delete(p.Key)
	}
	for _, key := range earlier {
		if bytes.Compare(key, from) >= 0 && bytes.Compare(key, to) < 0 {
			batch.Delete(key)
		}
	}
	return nil
}

// Position implements statestore.DB.
func (d *db) Position() (map[string]int64, error) { return statestore.ReadPositions(d) }

// Snapshot implements statestore.DB.
func (d *db) Snapshot() (statestore.Snapshot, error) {
	inner, err := d.leveldb.GetSnapshot()
	if err != nil {
		return nil, closedOr("snapshot", err)
	}
	return snapshot{inner}, nil
}

// syncedKey is a row that no store has; writing it with a sync makes every
// earlier write of the log durable.
const syncedKey = "\xffc"

// Close implements statestore.DB.
func (d *db) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	err := errors.Join(
		d.leveldb.Put([]byte(syncedKey), nil, &opt.WriteOptions{Sync: true}),
		d.leveldb.Close(),
	)
	if err != nil {
		return fmt.Errorf("leveldb close: %w", err)
	}
	return nil
}

type snapshot struct{ inner *leveldb.Snapshot }

// Get implements statestore.Reader.
func (s snapshot) Get(dst, key []byte) (value []byte, ok bool, err error) {
	return read(s.inner, dst, key)
}

// Range implements statestore.Reader.
func (s snapshot) Range(from, to []byte, order statestore.Order) iter.Seq2[statestore.Pair, error] {
	return walk(s.inner, from, to, order)
}

// Close implements statestore.Snapshot.
func (s snapshot) Close() error {
	s.inner.Release()
	return nil
}
