package goka

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/lovoo/goka/storage"

	"github.com/weirstream/weir/statestore"
)

// Builder is a storage.Builder over a state engine of Weir: a table partition is a
// database of its own in a folder of dir, as with goka's own builder. The offset is
// applied together with rows, so that a crash leaves a table that is older but whole.
func Builder(engine statestore.Engine, dir string) storage.Builder {
	return func(topic string, partition int32) (storage.Storage, error) {
		at := filepath.Join(dir, topic+"."+strconv.Itoa(int(partition)))
		db, err := engine.Open(at)
		if err != nil {
			return nil, fmt.Errorf("goka table %s, partition %d: %w", topic, partition, err)
		}
		s := &table{db: db}
		positions, err := db.Position()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("goka table %s: %w", at, err), db.Close())
		}
		s.offset, s.known = positions[offsetName]
		return s, nil
	}
}

// rowPrefix stands before the keys of rows: the database has rows of its own too.
const rowPrefix = "k"

func rowKey[K string | []byte](key K) []byte { return append([]byte(rowPrefix), key...) }

// offsetName is under what the database keeps the offset of the table.
const offsetName = "goka"

// table implements storage.Storage. Reads may come from any goroutine.
type table struct {
	db statestore.DB

	mu     sync.Mutex // of writes
	batch  statestore.Batch
	offset int64
	known  bool // there is an offset
	ahead  bool // the offset is not in the database yet
}

// errNil is a write of nothing, which goka's own storages refuse too.
var errNil = errors.New("a nil value cannot be stored: delete the key")

// Open implements storage.Storage.
func (t *table) Open() error { return nil }

// Close implements storage.Storage. Everything that was set is durable after it.
func (t *table) Close() error { return errors.Join(t.MarkRecovered(), t.db.Close()) }

// Has implements storage.Storage.
func (t *table) Has(key string) (bool, error) {
	_, ok, err := t.db.Get(nil, rowKey(key))
	return ok, err
}

// Get implements storage.Storage.
func (t *table) Get(key string) ([]byte, error) {
	value, ok, err := t.db.Get([]byte{}, rowKey(key))
	if err != nil || !ok {
		return nil, err
	}
	return value, nil
}

// Set implements storage.Storage.
func (t *table) Set(key string, value []byte) error {
	if value == nil {
		return errNil
	}
	return t.write(func(b *statestore.Batch) { b.Put(rowKey(key), value) })
}

// Delete implements storage.Storage.
func (t *table) Delete(key string) error {
	return t.write(func(b *statestore.Batch) { b.Delete(rowKey(key)) })
}

// write applies a change, and the offset of the changes before it.
func (t *table) write(change func(*statestore.Batch)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batch.Reset()
	change(&t.batch)
	return t.apply()
}

// apply writes the batch and the offset. The caller holds the mutex.
func (t *table) apply() error {
	var positions map[string]int64
	if t.ahead {
		positions = map[string]int64{offsetName: t.offset}
	}
	if err := t.db.Apply(&t.batch, positions); err != nil {
		return err
	}
	t.ahead = false
	return nil
}

// GetOffset implements storage.Storage.
func (t *table) GetOffset(def int64) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known {
		return def, nil
	}
	return t.offset, nil
}

// SetOffset implements storage.Storage. The offset reaches the database with the next
// change, or when the table is closed.
func (t *table) SetOffset(offset int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offset, t.known, t.ahead = offset, true, true
	return nil
}

// MarkRecovered implements storage.Storage.
func (t *table) MarkRecovered() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ahead {
		return nil
	}
	t.batch.Reset()
	return t.apply()
}

// Iterator implements storage.Storage.
func (t *table) Iterator() (storage.Iterator, error) { return t.IteratorWithRange(nil, nil) }

// IteratorWithRange implements storage.Storage. Without a limit it walks the keys that
// begin with start, as goka's own storages do.
func (t *table) IteratorWithRange(start, limit []byte) (storage.Iterator, error) {
	from := rowKey(start)
	if len(limit) == 0 {
		return newIterator(t.db, from, prefixEnd(from))
	}
	return newIterator(t.db, from, rowKey(limit))
}
