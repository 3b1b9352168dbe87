package window

import (
	"fmt"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
)

// SessionWindows says when a session ends.
type SessionWindows struct{ gap, grace time.Duration }

// Sessions returns sessions that end after a gap without records.
func Sessions(gap time.Duration) SessionWindows { return SessionWindows{gap: gap} }

// Grace lets a session take late records until stream time has passed its end,
// the gap and d. Forever never closes a session.
func (w SessionWindows) Grace(d time.Duration) SessionWindows {
	w.grace = d
	return w
}

// CheckSessions says what is wrong with sessions.
func CheckSessions(w SessionWindows) error {
	switch {
	case w.gap < time.Millisecond || w.gap%time.Millisecond != 0:
		return fmt.Errorf("%w: the gap %v is not a positive number of milliseconds", ErrWindow, w.gap)
	case w.grace < 0:
		return fmt.Errorf("%w: the grace %v is negative", ErrWindow, w.grace)
	default:
		return nil
	}
}

// GraceOfSessions returns how long after their gap sessions take records.
func GraceOfSessions(w SessionWindows) time.Duration { return w.grace }

// OpenFor returns how long after its last record a session may still grow.
func OpenFor(w SessionWindows) time.Duration { return Sum(w.gap, w.grace) }

// OfSessions returns what the processor of sessions has to know.
func OfSessions(w SessionWindows) op.Sessions {
	return op.Sessions{Gap: Millis(w.gap), Grace: Millis(w.grace)}
}

// SessionStore describes the store of an aggregation over sessions.
func SessionStore(s *graph.Store, emit EmitStrategy) {
	s.Kind, s.Timestamped = graph.Session, false
	if emit == OnWindowClose {
		s.Held, s.Cached = true, false
	}
}
