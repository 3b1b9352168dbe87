package streams

import (
	"time"

	"github.com/weirstream/weir/streams/internal/window"
)

// JoinWindows says how close in time two records are that meet in a join of
// streams: a right one joins a left one if it is at most Before earlier and at
// most After later, both included. Grace lets records be late; with [Forever] a
// record of an outer side waits for a match without end.
//
//	left record at       t
//	right ones   [t-before ... t+after]
type JoinWindows = window.JoinWindows

// Within joins records that are at most d apart, without grace.
func Within(d time.Duration) JoinWindows { return window.Within(d) }
