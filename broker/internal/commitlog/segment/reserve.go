package segment

import "github.com/weirstream/weir/internal/env"

const (
	// reserveFrom is the size from which a segment's space is reserved ahead of its appends.
	// Smaller logs may be many, and are not worth it.
	reserveFrom = 4 << 20
	// reserveShare and reserveMost bound what is reserved beyond the end: a share of what is there.
	reserveShare = 8
	reserveMost  = 8 << 20
)

// space is what a segment's file has beyond its size.
type space struct {
	reserved int64 // position up to which the file system has set blocks aside
	refused  bool  // it does not set any aside
	spare    bool  // the file may hold blocks or bytes beyond the size
}

// Reserve has the file system set blocks aside for an append that ends at a position, and for some
// to come, as far as limit; with whole, from the first append on and for the whole segment. To find
// them block by block takes a quarter of an append's time. It reports whether there is space up to the
// end, which is no condition of an append. What is left unused goes back by Trim.
func (s *Segment) Reserve(h env.File, end, limit int64, whole bool) bool {
	p, able := h.(env.Preallocator)
	if end <= s.space.reserved || s.space.refused || !able || end < reserveFrom && !whole {
		return end <= s.space.reserved
	}
	to := max(end, limit)
	if !whole {
		to = min(end+min(end/reserveShare, reserveMost), to)
	}
	s.space.spare = true
	if p.Preallocate(to) != nil {
		s.space.refused = true
		return false
	}
	s.space.reserved = to
	return true
}

// Spare says that the file may have something beyond the segment's size.
func (s *Segment) Spare() { s.space.spare = true }

// Trim cuts the file to the segment's size where it may be longer: by blocks that were reserved, or
// by the bytes of an append that failed.
func (s *Segment) Trim() error {
	if !s.space.spare {
		return nil
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return err
	}
	defer s.Log.Release()
	if err := h.Truncate(s.Size()); err != nil {
		return err
	}
	s.space = space{}
	return nil
}
