package txn

import (
	"slices"
	"time"
)

// noTime stops a timer.
func noTime() time.Time { return time.Time{} }

// watch looks after transactions that take too long, as long as there is one that may.
func (t *turn) watch() {
	if !t.watching {
		t.watching = true
		t.timer(timerAbort, "", t.now.Add(t.options.AbortCheck))
	}
}

// abortOverdue aborts transactions that took longer than their producer promised, and fences it: what
// it sends from now on belongs to no transaction.
func (t *turn) abortOverdue() {
	t.watching = false
	var overdue []string
	for id, x := range t.durable {
		switch {
		case x.state != Ongoing:
		case t.now.UnixMilli()-x.started > int64(x.timeout):
			overdue = append(overdue, id)
		default:
			t.watching = true
		}
	}
	slices.Sort(overdue)
	for _, id := range overdue {
		t.fence(id, t.durable[id])
	}
	if t.watching {
		t.timer(timerAbort, "", t.now.Add(t.options.AbortCheck))
	}
}

// expire deletes ids that were not used for long. One with a transaction under way stays.
func (t *turn) expire() {
	for _, id := range sortedKeys(t.durable) {
		x := t.durable[id]
		if x.state.settled() && t.now.UnixMilli()-x.updated >= t.options.Expiration.Milliseconds() {
			t.set(id, nil)
			delete(t.before, id)
		}
	}
	t.timer(timerExpire, "", t.now.Add(t.options.ExpireCheck))
}
