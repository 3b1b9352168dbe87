package cleaner

// Segment is what a plan has to know of one segment.
type Segment struct {
	Base, Next int64
	Size       int64 // bytes
	First      int64 // timestamp of the first batch in milliseconds; asked for with a MaxLag only
	Largest    int64 // timestamp; asked for with a MinLag only
}

// Bounds say how far a log may be compacted, and when it should be.
type Bounds struct {
	Start    int64 // of the log
	Cleaned  int64 // offset up to which it was compacted the last time, 0 for never
	Until    int64 // what lies from here on is not stable
	Now      int64 // milliseconds, as all times
	MinLag   int64
	MaxLag   int64 // none when not positive
	MinRatio float64
}

// Plan is what to compact of a log.
type Plan struct {
	From         int64   // the first offset that was never compacted
	Segments     int     // how many, from the oldest, may be compacted
	Clean, Dirty int64   // bytes of them before From, and from it on
	Ratio        float64 // the dirty part
	Overdue      int64   // by how much the oldest dirty record has passed MaxLag, in milliseconds
	Due          bool
}

// Decide returns what to compact of a log, given its segments but for the active one, oldest first.
// Segments after the first that must wait are left alone.
func Decide(segments []Segment, b Bounds) Plan {
	p := Plan{From: b.Cleaned}
	if n := len(segments); n == 0 || b.Cleaned < b.Start || b.Cleaned > segments[n-1].Next {
		p.From = b.Start // whoever wrote the checkpoint had another log
	}
	for _, s := range segments {
		dirty := s.Next > p.From
		if s.Next > b.Until || dirty && b.MinLag > 0 && s.Largest > b.Now-b.MinLag {
			break
		}
		p.Segments++
		if !dirty {
			p.Clean += s.Size
			continue
		}
		if p.Dirty == 0 && b.MaxLag > 0 && s.First >= 0 {
			p.Overdue = max(0, b.Now-s.First-b.MaxLag)
		}
		p.Dirty += s.Size
	}
	if p.Dirty > 0 {
		p.Ratio = float64(p.Dirty) / float64(p.Clean+p.Dirty)
		p.Due = p.Overdue > 0 || p.Ratio >= b.MinRatio
	}
	return p
}
