package partition

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// waiter is an append, or who asks for the end of the log, whose answer is due when the high
// watermark reaches need.
type waiter struct {
	need     int64
	deadline time.Time
	done     Completion
	token    int
	result   AppendResult
	err      error
}

// queue holds waiters in the order of their appends: those that are due stand in front of those
// that wait. Its slices are reused, so that a steady stream of appends allocates nothing.
type queue struct {
	due     []waiter
	taken   int // how many of due were popped
	waiting []waiter
}

func (q *queue) push(w waiter) { q.waiting = append(q.waiting, w) }

func (q *queue) len() int { return len(q.waiting) }

// reach makes the waiters due that need no more than hw, up to the first that does.
func (q *queue) reach(hw int64) {
	n := slices.IndexFunc(q.waiting, func(w waiter) bool { return w.need > hw })
	if n < 0 {
		n = len(q.waiting)
	}
	q.release(n)
}

// fail makes all waiters due with an error.
func (q *queue) fail(err error) {
	for i := range q.waiting {
		q.waiting[i].err = err
	}
	q.release(len(q.waiting))
}

// expire makes the waiters due whose deadline is not after now, and returns the earliest
// deadline of the others.
func (q *queue) expire(now time.Time) (next time.Time, any bool) {
	kept := q.waiting[:0]
	for _, w := range q.waiting {
		if !w.deadline.After(now) {
			w.err = kerr.RequestTimedOut
			q.due = append(q.due, w)
			continue
		}
		if !any || w.deadline.Before(next) {
			next, any = w.deadline, true
		}
		kept = append(kept, w)
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	return next, any
}

func (q *queue) release(n int) {
	q.due = append(q.due, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
}

// pop takes the first waiter that is due.
func (q *queue) pop() (waiter, bool) {
	if q.taken == len(q.due) {
		clear(q.due)
		q.due, q.taken = q.due[:0], 0
		return waiter{}, false
	}
	w := q.due[q.taken]
	q.taken++
	return w, true
}
