package segment

import (
	"math"
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/record"
)

// reached remembers where the last readers stopped, because that is where most go on: it saves them
// the index and the batches between its entry and theirs. Each cell holds an offset behind the
// segment's base and the position of the batch that begins there, 32 bits each; readers at several
// places mostly get cells of their own. A cell is a hint. Whoever uses it checks that a batch with
// that very offset begins there.
type reached struct {
	cells [4]atomic.Uint64
	cuts  atomic.Uint32 // how often the segment was cut: what was learnt before is void
}

func (r *reached) cell(offset uint32) *atomic.Uint64 { return &r.cells[offset*2654435769>>30] }

// forget drops all hints. It comes before the bytes behind a cut are written again.
func (r *reached) forget() {
	r.cuts.Add(1)
	for i := range r.cells {
		r.cells[i].Store(0)
	}
}

// Reached notes for the readers to come that the batch that begins with an offset begins at pos.
func (s *Segment) Reached(sc *Scanner, offset, pos int64) {
	behind := offset - s.Base
	if behind <= 0 || behind > math.MaxUint32 || pos > math.MaxUint32 {
		return
	}
	c := s.reached.cell(uint32(behind))
	c.Store(uint64(behind)<<32 | uint64(pos))
	if s.reached.cuts.Load() != sc.cuts {
		c.Store(0)
	}
}

// fromReached is FindOffset by the hints alone.
func (s *Segment) fromReached(sc *Scanner, offset, limit int64) (p Place, ok bool) {
	behind := offset - s.Base
	if behind < 0 || behind > math.MaxUint32 {
		return p, false
	}
	hint := s.reached.cell(uint32(behind)).Load()
	if behind == 0 {
		hint = 0
	}
	pos := int64(hint & math.MaxUint32)
	if hint>>32 != uint64(behind) || pos >= limit {
		return p, false
	}
	sc.first(nearChunk)
	p, ok, err := s.Find(sc, pos, limit, func(record.Batch) bool { return true })
	return p, ok && err == nil && p.Base == offset
}
