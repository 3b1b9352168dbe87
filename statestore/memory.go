package statestore

import (
	"bytes"
	"iter"
	"maps"
	"sync"

	"github.com/tidwall/btree"
)

// Memory returns the engine whose databases live in memory and are gone when
// they are closed. It ignores directories.
func Memory() Engine { return memoryEngine{} }

type memoryEngine struct{}

// Name implements Engine.
func (memoryEngine) Name() string { return "memory" }

// Open implements Engine.
func (memoryEngine) Open(string) (DB, error) {
	return &memoryDB{memoryTree: &memoryTree{rows: newMemoryRows()}, positions: map[string]int64{}}, nil
}

func newMemoryRows() *btree.BTreeG[Pair] {
	return btree.NewBTreeGOptions(func(a, b Pair) bool { return bytes.Compare(a.Key, b.Key) < 0 },
		btree.Options{NoLocks: true})
}

// memoryTree is an ordered set of rows that walks leave alone: they have a copy
// of their own, which shares what neither side changes.
type memoryTree struct {
	mu     sync.Mutex
	rows   *btree.BTreeG[Pair]
	closed bool
}

// Get implements Reader.
func (t *memoryTree) Get(dst, key []byte) (value []byte, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return dst, false, ErrClosed
	}
	p, ok := t.rows.Get(Pair{Key: key})
	return append(dst, p.Value...), ok, nil
}

// view returns the rows as they are now.
func (t *memoryTree) view() (*btree.BTreeG[Pair], error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	return t.rows.Copy(), nil
}

// Range implements Reader.
func (t *memoryTree) Range(from, to []byte, order Order) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		rows, err := t.view()
		if err != nil {
			yield(Pair{}, err)
			return
		}
		if order == Descending {
			visit := func(p Pair) bool {
				if to != nil && bytes.Compare(p.Key, to) >= 0 {
					return true
				}
				return bytes.Compare(p.Key, from) >= 0 && yield(p, nil)
			}
			if to == nil {
				rows.Reverse(visit)
			} else {
				rows.Descend(Pair{Key: to}, visit)
			}
			return
		}
		rows.Ascend(Pair{Key: from}, func(p Pair) bool {
			return (to == nil || bytes.Compare(p.Key, to) < 0) && yield(p, nil)
		})
	}
}

// Close implements Snapshot.
func (t *memoryTree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.rows = true, nil
	return nil
}

type memoryDB struct {
	*memoryTree
	positions map[string]int64
}

// Apply implements DB.
func (d *memoryDB) Apply(b *Batch, positions map[string]int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	for op := range b.Ops() {
		switch op.Kind {
		case OpPut:
			d.rows.Set(Pair{Key: bytes.Clone(op.Key), Value: bytes.Clone(op.Value)})
		case OpDelete:
			d.rows.Delete(Pair{Key: op.Key})
		case OpDeleteRange:
			d.deleteRange(op.Key, op.Value)
		}
	}
	maps.Copy(d.positions, positions)
	return nil
}

// Load implements DB.
func (d *memoryDB) Load(b *Batch, positions map[string]int64) error { return d.Apply(b, positions) }

func (d *memoryDB) deleteRange(from, to []byte) {
	var gone []Pair
	d.rows.Ascend(Pair{Key: from}, func(p Pair) bool {
		if bytes.Compare(p.Key, to) >= 0 {
			return false
		}
		gone = append(gone, p)
		return true
	})
	for _, p := range gone {
		d.rows.Delete(p)
	}
}

// Position implements DB.
func (d *memoryDB) Position() (map[string]int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	return maps.Clone(d.positions), nil
}

// Snapshot implements DB.
func (d *memoryDB) Snapshot() (Snapshot, error) {
	rows, err := d.view()
	if err != nil {
		return nil, err
	}
	return &memoryTree{rows: rows}, nil
}
