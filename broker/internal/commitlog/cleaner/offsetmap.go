package cleaner

import (
	"hash/maphash"
	"math/bits"
)

// slotBytes is what one key costs, whatever its length.
const slotBytes = 24

// OffsetMap holds the newest offset of each key in a bounded amount of memory. Keys are known by a
// hash of 128 bits under seeds that no client knows, so that two keys are never taken for one.
//
// It is as large as its keys ask for, and grows part by part, so that hardly any memory is held twice
// meanwhile. Nearly every look at a large map misses the processor's caches: who has several keys
// lets touch miss them all at once.
type OffsetMap struct {
	parts []part // of the same number of keys, by the last bits of their hash; a power of two
	seeds [2]maphash.Seed
	most  int // slots of a part
	load  float64

	touched uint64 // means nothing, and keeps touch from being compiled to nothing
}

// part is an open hash table.
type part struct {
	slots []slot
	used  int
}

// slot is one key. next is the offset that follows the key's newest record, so that 0 is empty.
type slot struct {
	Hash
	next int64
}

const (
	minSlots = 64   // make the smallest map worth having
	partSize = 4096 // slots of a part, at least, where there are several
	maxParts = 256
)

// NewOffsetMap returns an empty map that takes at least one key and at most so many as are wanted,
// as long as they fill no more than the share load of so many bytes.
func NewOffsetMap(bytes int64, load float64, wanted int64, seeds [2]maphash.Seed) *OffsetMap {
	load = min(max(load, 0.1), 0.95)
	slots := max(minSlots, bytes/slotBytes)
	if need := float64(wanted)/load + 1; need < float64(slots) {
		slots = max(minSlots, int64(need))
	}
	parts := 1
	for parts < maxParts && slots/int64(2*parts) >= partSize {
		parts *= 2
	}
	m := &OffsetMap{parts: make([]part, parts), seeds: seeds, most: int(slots) / parts, load: load}
	for i := range m.parts {
		m.parts[i].slots = make([]slot, minSlots)
	}
	return m
}

// Hash is what the map knows of a key.
type Hash struct{ high, low uint64 }

// Hash returns what Put and Get want of a key.
func (m *OffsetMap) Hash(key []byte) Hash {
	return Hash{maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)}
}

// touch brings what the map holds of some keys into the processor's caches. Its reads do not depend
// on one another, so that the processor waits for many at a time.
func (m *OffsetMap) touch(entries []entry) {
	sum := uint64(0)
	for i := range entries {
		h := entries[i].hash
		p := m.part(h)
		s := &p.slots[p.home(h)]
		sum += s.high + uint64(s.next)
	}
	m.touched = sum
}

// Put notes an offset of a key, not before any that was noted. It reports false when there is no
// room for the key and the map does not know it.
func (m *OffsetMap) Put(h Hash, offset int64) bool {
	p := m.part(h)
	s := p.find(h)
	if s.next == 0 {
		if p.used >= m.limit(len(p.slots)) {
			if len(p.slots) == m.most {
				return false
			}
			p.grow(min(2*len(p.slots), m.most))
			s = p.find(h)
		}
		p.used++
		s.Hash = h
	}
	s.next = offset + 1
	return true
}

// Get returns the newest offset of a key, -1 for an unknown one.
func (m *OffsetMap) Get(h Hash) int64 { return m.part(h).find(h).next - 1 }

// Used is the share of the map's places that are taken.
func (m *OffsetMap) Used() float64 {
	used := 0
	for i := range m.parts {
		used += m.parts[i].used
	}
	return float64(used) / float64(len(m.parts)*m.limit(m.most))
}

// limit is how many keys so many slots may hold.
func (m *OffsetMap) limit(slots int) int { return int(float64(slots) * m.load) }

func (m *OffsetMap) part(h Hash) *part { return &m.parts[h.high&uint64(len(m.parts)-1)] }

// home is where the slot of a key is looked for first.
func (p *part) home(h Hash) uint64 {
	at, _ := bits.Mul64(h.high, uint64(len(p.slots)))
	return at
}

// find returns the slot of a key, or the empty one where it would go.
func (p *part) find(h Hash) *slot {
	for at := p.home(h); ; {
		s := &p.slots[at]
		if s.next == 0 || s.Hash == h {
			return s
		}
		if at++; at == uint64(len(p.slots)) {
			at = 0
		}
	}
}

func (p *part) grow(slots int) {
	old := p.slots
	p.slots = make([]slot, slots)
	for i := range old {
		if s := &old[i]; s.next != 0 {
			*p.find(s.Hash) = *s
		}
	}
}
