package cleaner

import (
	"hash/maphash"
	"math/bits"
)

// slotBytes is what one key costs, whatever its length.
const slotBytes = 24

// OffsetMap holds the newest offset of each key in a fixed amount of memory. Keys are known by a
// hash of 128 bits under seeds that no client knows, so that two keys are never taken for one.
type OffsetMap struct {
	slots []slot
	seeds [2]maphash.Seed
	used  int
	limit int
}

// slot is one key. next is the offset that follows the key's newest record, so that 0 is empty.
type slot struct {
	high, low uint64
	next      int64
}

// minSlots makes the smallest map worth having.
const minSlots = 64

// NewOffsetMap returns an empty map that takes at least one key and at most so many as are wanted,
// as long as they fill no more than the share load of so many bytes.
func NewOffsetMap(bytes int64, load float64, wanted int64, seeds [2]maphash.Seed) *OffsetMap {
	load = min(max(load, 0.1), 0.95)
	slots := max(minSlots, bytes/slotBytes)
	if need := float64(wanted)/load + 1; need < float64(slots) {
		slots = max(minSlots, int64(need))
	}
	return &OffsetMap{slots: make([]slot, slots), seeds: seeds, limit: int(float64(slots) * load)}
}

// Put notes an offset of a key, not before any that was noted. It reports false when the map is
// full and does not know the key.
func (m *OffsetMap) Put(key []byte, offset int64) bool {
	s := m.find(key)
	if s.next == 0 {
		if m.used >= m.limit {
			return false
		}
		m.used++
		s.high, s.low = m.hash(key)
	}
	s.next = offset + 1
	return true
}

// Get returns the newest offset of a key, -1 for an unknown one.
func (m *OffsetMap) Get(key []byte) int64 { return m.find(key).next - 1 }

// Used is the share of the map's places that are taken.
func (m *OffsetMap) Used() float64 { return float64(m.used) / float64(m.limit) }

func (m *OffsetMap) hash(key []byte) (high, low uint64) {
	return maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)
}

// find returns the slot of a key, or the empty one where it would go.
func (m *OffsetMap) find(key []byte) *slot {
	high, low := m.hash(key)
	at, _ := bits.Mul64(high, uint64(len(m.slots)))
	for {
		s := &m.slots[at]
		if s.next == 0 || s.high == high && s.low == low {
			return s
		}
		if at++; at == uint64(len(m.slots)) {
			at = 0
		}
	}
}
