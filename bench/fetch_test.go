package bench

import (
	"encoding/binary"
	"slices"
	"testing"
)

// A broker that keeps no offsets is read over and over too, and not where it is read already.
func TestPositionsGoFromTheEndBackToTheStart(t *testing.T) {
	batch := NewBatch(100, 4<<10, 0)
	l := Load{Raw: true, FetchBytes: 4 << 10}
	r := reader{load: &l, filled: Filled{Batch: batch, Batches: 3}}
	part := make([]byte, fetchPartHead)
	binary.BigEndian.PutUint32(part[fetchPartHead-4:], 4<<10)
	var p fetchPart
	var positions []int64
	for range 4 {
		positions = append(positions, p.offset)
		if _, err := r.took(&p, part); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int64{0, 4 << 10, 0, 4 << 10}; !slices.Equal(positions, want) {
		t.Errorf("%d bytes are read at %d, want %d", 3*len(batch.Bytes), positions, want)
	}
}
