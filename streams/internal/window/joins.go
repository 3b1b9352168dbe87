package window

import (
	"fmt"
	"math"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
)

// JoinWindows says how close in time two records are that meet in a join of
// streams.
type JoinWindows struct {
	before, after, grace time.Duration
	eager                bool
}

// Within joins records that are at most d apart.
func Within(d time.Duration) JoinWindows { return JoinWindows{before: d, after: d} }

// Before sets how much earlier than the left record the right one may be. It
// may be negative: then it has to be later.
func (w JoinWindows) Before(d time.Duration) JoinWindows {
	w.before = d
	return w
}

// After sets how much later than the left record the right one may be. It may
// be negative: then it has to be earlier.
func (w JoinWindows) After(d time.Duration) JoinWindows {
	w.after = d
	return w
}

// Grace lets records be late by d. So long a record of an outer side waits for
// a match after its window has passed; with Forever it waits without end and
// never goes on alone.
func (w JoinWindows) Grace(d time.Duration) JoinWindows {
	w.grace = d
	return w
}

// Eager makes outer sides say at once that a record has no match yet, and again
// what it matches later: results come early and some of them are taken back.
// That is what Kafka Streams did before its release 3.1.
func (w JoinWindows) Eager() JoinWindows {
	w.eager = true
	return w
}

// CheckJoin says what is wrong with windows of a join.
func CheckJoin(w JoinWindows) error {
	const ms = time.Millisecond
	switch {
	case w.before%ms != 0 || w.after%ms != 0:
		return fmt.Errorf("%w: %v before and %v after are not whole milliseconds", ErrWindow, w.before, w.after)
	case w.before+w.after < 0 || w.before > Forever/4 || w.after > Forever/4:
		return fmt.Errorf("%w: %v before and %v after make no window", ErrWindow, w.before, w.after)
	case w.grace < 0:
		return fmt.Errorf("%w: the grace %v is negative", ErrWindow, w.grace)
	default:
		return nil
	}
}

// size is how long a record can be met.
func (w JoinWindows) size() time.Duration { return w.before + w.after }

// Reach returns the windows in milliseconds.
func Reach(w JoinWindows) (before, after, grace int64) {
	if w.grace > math.MaxInt64-w.size() {
		return w.before.Milliseconds(), w.after.Milliseconds(), op.NoEnd
	}
	return w.before.Milliseconds(), w.after.Milliseconds(), w.grace.Milliseconds()
}

// IsEager reports whether outer sides do not wait.
func IsEager(w JoinWindows) bool { return w.eager }

// JoinStore describes the store of the records of one side.
func JoinStore(w JoinWindows, s *graph.Store) {
	s.Kind, s.RetainDuplicates, s.Timestamped, s.Cached = graph.Window, true, false, false
	s.WindowSizeMs, s.RetentionMs = w.size().Milliseconds(), graph.Forever
	if _, _, grace := Reach(w); grace != op.NoEnd {
		s.RetentionMs = max(1, s.WindowSizeMs+grace)
	}
}
