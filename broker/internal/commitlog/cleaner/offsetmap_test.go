package cleaner

import (
	"encoding/binary"
	"math"
	"testing"
)

func TestAMapGrowsUpToItsShareOfMemory(t *testing.T) {
	const slots, load = 64 << 10, .8
	const want = slots * 8 / 10
	m := NewOffsetMap(slots*slotBytes, load, math.MaxInt64/2, seeds())
	key := func(i int) Hash { return m.Hash(binary.BigEndian.AppendUint64(nil, uint64(i))) }
	held := func() (n int) {
		for _, p := range m.parts {
			n += len(p.slots)
		}
		return n
	}
	if held() > slots/16 {
		t.Errorf("an empty map has %d slots", held())
	}
	n := 0
	for m.Put(key(n), int64(n)) {
		n++
	}
	if n < want*9/10 || n > want || held() > slots {
		t.Errorf("%d keys in %d slots, want about %d in at most %d", n, held(), want, slots)
	}
	for i := range n {
		if !m.Put(key(i), int64(2*n+i)) || m.Get(key(i)) != int64(2*n+i) {
			t.Fatalf("key %d is at %d, want %d", i, m.Get(key(i)), 2*n+i)
		}
	}
	if m.Get(key(n+1)) != -1 {
		t.Error("a key is known that never came")
	}
}
