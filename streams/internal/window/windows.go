// Package window is what users say about time: how it is cut into windows and
// sessions, how close records are that meet in a join, when rows of windows go
// on and how long changes wait. Package streams gives the types to users; the
// functions here are for its operators.
package window

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
)

// ErrWindow means that windows make no sense.
var ErrWindow = errors.New("bad windows")

// Forever is a grace or a size without end.
const Forever time.Duration = math.MaxInt64

// Millis returns a duration in milliseconds, in which Forever has no end.
func Millis(d time.Duration) int64 {
	if d == Forever {
		return op.NoEnd
	}
	return d.Milliseconds()
}

// Sum adds durations; with Forever it is Forever.
func Sum(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return Forever
	}
	return a + b
}

// Windows says how time is cut: Tumbling, Hopping, Sliding or Unlimited.
type Windows struct {
	shape                shape
	start                int64 // of unlimited windows
	size, advance, grace time.Duration
}

type shape int

const (
	aligned   shape = iota // [start, start+size), one every advance from the epoch on
	sliding                // [start, start+size], wherever a record begins or ends one
	unlimited              // [start, end of time)
)

// Aligned returns windows that start every advance.
func Aligned(size, advance time.Duration) Windows { return Windows{size: size, advance: advance} }

// Sliding returns windows that begin or end at a record.
func Sliding(diff time.Duration) Windows { return Windows{shape: sliding, size: diff} }

// Unlimited returns one window without end.
func Unlimited(start time.Time) Windows {
	return Windows{shape: unlimited, start: start.UnixMilli(), size: Forever, grace: Forever}
}

// Grace lets a window take late records until stream time reaches its end plus
// d. Forever never closes a window: no record is late, and no row expires.
func (w Windows) Grace(d time.Duration) Windows {
	w.grace = d
	return w
}

// Size returns the length of a window, Forever if it has no end.
func (w Windows) Size() time.Duration { return w.size }

// Check says what is wrong with windows.
func Check(w Windows) error {
	least := time.Millisecond
	if w.shape == sliding {
		least = 0
	}
	switch {
	case w.shape == unlimited && w.start < 0:
		return fmt.Errorf("%w: they start before the epoch", ErrWindow)
	case w.shape != unlimited && (w.size < least || w.size%time.Millisecond != 0):
		return fmt.Errorf("%w: the size %v is not a positive number of milliseconds", ErrWindow, w.size)
	case w.shape == aligned && (w.advance < time.Millisecond || w.advance%time.Millisecond != 0 || w.advance > w.size):
		return fmt.Errorf("%w: the advance %v is not a number of milliseconds between 1 and the size", ErrWindow, w.advance)
	case w.grace < 0:
		return fmt.Errorf("%w: the grace %v is negative", ErrWindow, w.grace)
	default:
		return nil
	}
}

// Grace returns how long after their end windows take records.
func Grace(w Windows) time.Duration { return w.grace }

// Slides reports whether windows begin or end at a record.
func Slides(w Windows) bool { return w.shape == sliding }

// Store describes the store of an aggregation over windows, and returns how long
// it has to keep its rows.
func Store(w Windows, s *graph.Store, emit EmitStrategy) (least time.Duration) {
	s.Kind, s.WindowSizeMs = graph.Window, Millis(w.size)
	least = w.size
	if w.shape == sliding {
		least = Sum(w.size, w.size)
	}
	if emit == OnWindowClose {
		s.Held, s.Cached = true, false
		if w.shape == aligned {
			s.SegmentMs = max(w.advance, time.Second).Milliseconds()
		}
	}
	return Sum(least, w.grace)
}

// Fold returns the processor that folds records into windows.
func Fold[K, V, A any](w Windows, e *op.Env, name string, rows *op.WindowRows[K, A], fold op.Fold[K, V, A]) op.Next[K, V] {
	if w.shape == sliding {
		return op.Slide(e, name, rows, Millis(w.size), Millis(w.grace), fold)
	}
	return op.Window(e, name, rows, op.Windows{
		Start: w.start, Size: Millis(w.size), Advance: w.advance.Milliseconds(), Grace: Millis(w.grace),
	}, fold)
}
