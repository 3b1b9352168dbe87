package commitlog

import (
	"math"

	"github.com/weirstream/weir/internal/env"
)

const (
	// reserveFrom is the size from which a segment's space is reserved ahead of its appends.
	// Smaller logs may be many, and are not worth it.
	reserveFrom = 4 << 20
	// reserveShare and reserveMost bound what is reserved beyond the end: a share of what is there.
	reserveShare = 8
	reserveMost  = 8 << 20
)

// reserve has the file system set blocks aside for an append that ends at a position, and for some
// to come: to find them block by block takes a quarter of an append's time. It is only a saving,
// so its failure is passed over. What is left unused goes back by trim. The caller holds mu.
func (s *segmentFile) reserve(h env.File, c *Config, end int64) {
	if end <= s.reserved || end < reserveFrom && !c.Preallocate {
		return
	}
	p, ok := h.(env.Preallocator)
	if !ok {
		return
	}
	to := min(end+min(end/reserveShare, reserveMost), max(end, c.SegmentBytes))
	if c.Preallocate {
		to = max(end, c.SegmentBytes)
	}
	s.trim = true
	s.reserved = to
	if p.Preallocate(to) != nil {
		s.reserved = math.MaxInt64
	}
}

// cutSpare removes what the segment's file may have beyond its size: blocks that were reserved, or
// the bytes of an append that failed. The caller holds mu.
func (s *segmentFile) cutSpare(h env.File) error {
	if err := h.Truncate(s.Size()); err != nil {
		s.trim = true
		return err
	}
	s.trim, s.reserved = false, 0
	return nil
}

// trimmed is cutSpare where there is something to cut.
func (s *segmentFile) trimmed() error {
	if !s.trim {
		return nil
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return err
	}
	defer s.Log.Release()
	return s.cutSpare(h)
}
