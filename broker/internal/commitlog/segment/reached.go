package segment

import (
	"math"
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/record"
)

// reached remembers the last places where readers stopped, because that is where most go on: it saves
// them the index and the batches between its entry and theirs. Each cell holds an offset behind the
// segment's base and the position of the batch that begins there, 32 bits each. A cell is a hint.
// Whoever uses it checks that a batch with that very offset begins there.
type reached struct {
	cells [8]atomic.Uint64
	turn  atomic.Uint32 // counts places: the next goes where the oldest is
	cuts  atomic.Uint32 // how often the segment was cut: what was learnt before is void
}

// cell returns the cell of an offset behind the base, or nil, and what it holds.
func (r *reached) cell(behind uint32) (*atomic.Uint64, uint64) {
	for i := range r.cells {
		if hint := r.cells[i].Load(); hint>>32 == uint64(behind) {
			return &r.cells[i], hint
		}
	}
	return nil, 0
}

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
	hint := uint64(behind)<<32 | uint64(pos)
	c, known := s.reached.cell(uint32(behind))
	if known == hint {
		return // readers follow one another
	}
	if c == nil {
		c = &s.reached.cells[s.reached.turn.Add(1)%uint32(len(s.reached.cells))]
	}
	c.Store(hint)
	if s.reached.cuts.Load() != sc.cuts {
		c.Store(0)
	}
}

// hinted is where the batch that begins with an offset is said to begin, 0 without a hint.
func (s *Segment) hinted(offset int64) (pos int64) {
	behind := offset - s.Base
	if behind <= 0 || behind > math.MaxUint32 {
		return 0
	}
	_, hint := s.reached.cell(uint32(behind))
	return int64(hint & math.MaxUint32)
}

// fromReached is FindOffset by the hints alone.
func (s *Segment) fromReached(sc *Scanner, offset, limit int64) (p Place, ok bool) {
	behind := offset - s.Base
	if behind < 0 || behind > math.MaxUint32 {
		return p, false
	}
	hint := uint64(0) // the segment begins with its base
	if behind > 0 {
		_, hint = s.reached.cell(uint32(behind))
	}
	pos := int64(hint & math.MaxUint32)
	if hint>>32 != uint64(behind) || pos >= limit {
		return p, false
	}
	sc.first(nearChunk)
	sc.ahead(s, pos, limit)
	p, ok, err := s.Find(sc, pos, limit, func(record.Batch) bool { return true })
	return p, ok && err == nil && p.Base == offset
}
