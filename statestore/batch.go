package statestore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"unsafe"
)

// OpKind is what one step of a batch does.
type OpKind byte

// The steps: set a key, delete a key, delete the keys of a half-open range.
const (
	OpPut OpKind = iota
	OpDelete
	OpDeleteRange
)

// Op is one step of a batch. Value is the value of a put, or the excluded end
// of a deleted range.
type Op struct {
	Kind       OpKind
	Key, Value []byte
}

// Batch collects changes for [DB.Apply]; later steps win. It copies what it is
// given. The zero value is an empty batch.
type Batch struct {
	ops []step
	buf []byte
}

// step is an Op with its bytes in the buffer of the batch.
type step struct {
	kind           OpKind
	key, value, to int
}

// Put sets a key.
func (b *Batch) Put(key, value []byte) { add(b, OpPut, key, value) }

// Delete deletes a key.
func (b *Batch) Delete(key []byte) { add(b, OpDelete, key, nil) }

// DeleteRange deletes the keys from (included) to (excluded).
func (b *Batch) DeleteRange(from, to []byte) { add(b, OpDeleteRange, from, to) }

// Len returns the number of steps.
func (b *Batch) Len() int { return len(b.ops) }

// Size returns the bytes of all keys and values.
func (b *Batch) Size() int { return len(b.buf) }

// bytes returns the memory that the steps take.
func (b *Batch) bytes() int { return len(b.buf) + len(b.ops)*int(unsafe.Sizeof(step{})) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.ops, b.buf = b.ops[:0], b.buf[:0] }

// Ops walks the steps in order. Their bytes are valid until the batch changes.
func (b *Batch) Ops() iter.Seq[Op] { return b.Part(0, 1) }

// Part walks the steps of the i-th of n parts, which are equally long but for a step.
func (b *Batch) Part(i, n int) iter.Seq[Op] {
	return func(yield func(Op) bool) {
		for _, s := range b.ops[i*len(b.ops)/n : (i+1)*len(b.ops)/n] {
			op := Op{Kind: s.kind, Key: b.buf[s.key:s.value:s.value], Value: b.buf[s.value:s.to:s.to]}
			if !yield(op) {
				return
			}
		}
	}
}

// Sort puts the steps in the order of their keys and drops those that later ones
// replace. A batch that deletes a range stays as it is, and Sort returns false.
// A large batch is sorted on two processors.
func (b *Batch) Sort() bool {
	order := make([]sortKey, len(b.ops))
	for i, s := range b.ops {
		if s.kind == OpDeleteRange {
			return false
		}
		var head [16]byte
		copy(head[:], b.buf[s.key:s.value])
		order[i] = sortKey{binary.BigEndian.Uint64(head[:]), binary.BigEndian.Uint64(head[8:]), int32(i)}
	}
	half := 0
	if len(order) >= sortedInHalves {
		half = len(order) / 2
	}
	low, high := order[:half], order[half:]
	var other sync.WaitGroup
	other.Go(func() { slices.SortFunc(low, b.compare) })
	slices.SortFunc(high, b.compare)
	other.Wait()
	sorted := make([]step, 0, len(order))
	var last sortKey // of the step that is in sorted at the end
	for len(low)+len(high) > 0 {
		from := &high
		if len(high) == 0 || len(low) > 0 && b.compare(low[0], high[0]) < 0 {
			from = &low
		}
		k := (*from)[0]
		*from = (*from)[1:]
		if len(sorted) > 0 && k.high == last.high && k.low == last.low && bytes.Equal(b.keyOf(int(k.at)), b.keyOf(int(last.at))) {
			sorted = sorted[:len(sorted)-1]
		}
		sorted = append(sorted, b.ops[k.at])
		last = k
	}
	b.ops = sorted
	return true
}

// sortedInHalves is from how many steps on a batch is sorted by two goroutines.
const sortedInHalves = 10_000

// compare orders steps by key, and those of one key as they are.
func (b *Batch) compare(x, y sortKey) int {
	if x.high != y.high {
		return cmp.Compare(x.high, y.high)
	}
	if x.low != y.low {
		return cmp.Compare(x.low, y.low)
	}
	if c := bytes.Compare(b.keyOf(int(x.at)), b.keyOf(int(y.at))); c != 0 {
		return c
	}
	return cmp.Compare(x.at, y.at)
}

// sortKey is the place of a step and how its key begins, which tells most apart
// without a look at the key.
type sortKey struct {
	high, low uint64
	at        int32
}

func (b *Batch) keyOf(i int) []byte { return b.buf[b.ops[i].key:b.ops[i].value] }

// add appends a step; the key may be text, which spares a conversion.
func add[B []byte | string](b *Batch, kind OpKind, key B, value []byte) {
	s := step{kind: kind, key: len(b.buf)}
	b.buf = append(b.buf, key...)
	s.value = len(b.buf)
	b.buf = append(b.buf, value...)
	s.to = len(b.buf)
	b.ops = append(b.ops, s)
}

// Keys of a DB that belong to no store: a first byte that no store id has, then
// what it is.
const (
	positionPrefix = "\xffp"
	registryPrefix = "\xffs"
	markPrefix     = "\xfft"
)

// AppendPositions adds changelog positions to the ops that an engine writes, in
// the order of the topics. Engines call it in Apply.
func AppendPositions(put func(key, value []byte) error, positions map[string]int64) error {
	for _, topic := range slices.Sorted(maps.Keys(positions)) {
		var value [8]byte
		binary.BigEndian.PutUint64(value[:], uint64(positions[topic]))
		if err := put([]byte(positionPrefix+topic), value[:]); err != nil {
			return err
		}
	}
	return nil
}

// ReadPositions reads what AppendPositions wrote. Engines call it in Position.
func ReadPositions(r Reader) (map[string]int64, error) {
	positions := map[string]int64{}
	from := []byte(positionPrefix)
	for p, err := range r.Range(from, after(from), Ascending) {
		if err != nil {
			return nil, err
		}
		topic := string(p.Key[len(positionPrefix):])
		if len(p.Value) != 8 {
			return nil, fmt.Errorf("position of %s: %w", topic, ErrCorrupt)
		}
		positions[topic] = int64(binary.BigEndian.Uint64(p.Value))
	}
	return positions, nil
}

// after returns the smallest key behind every key with a prefix, nil if there
// is none.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
