package runtime

import (
	"container/heap"
	"time"

	"github.com/weirstream/weir/streams/processor"
)

// schedule is one punctuation. Times are in milliseconds.
type schedule struct {
	due, every int64
	seq        int // order of creation, for schedules due at the same time
	call       func(now int64) error
	cancelled  bool
}

// agenda is the schedules of one clock, the next one first.
type agenda []*schedule

// Len implements heap.Interface.
func (a *agenda) Len() int { return len(*a) }

// Less implements heap.Interface.
func (a *agenda) Less(i, j int) bool {
	x, y := (*a)[i], (*a)[j]
	if x.due != y.due {
		return x.due < y.due
	}
	return x.seq < y.seq
}

// Swap implements heap.Interface.
func (a *agenda) Swap(i, j int) { (*a)[i], (*a)[j] = (*a)[j], (*a)[i] }

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	if s, ok := x.(*schedule); ok {
		*a = append(*a, s)
	}
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	s := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return s
}

// run calls everything that is due, each once however many intervals were
// missed: a schedule keeps its phase. It reports whether anything was called.
func (a *agenda) run(now int64) (bool, error) {
	called := false
	for len(*a) > 0 && (*a)[0].due <= now {
		s := (*a)[0]
		if s.cancelled {
			heap.Pop(a)
			continue
		}
		s.due += ((now-s.due)/s.every + 1) * s.every
		heap.Fix(a, 0)
		called = true
		if err := s.call(now); err != nil {
			return called, err
		}
	}
	return called, nil
}

// Schedule implements processor.Host. An interval below a millisecond is one.
func (t *Task) Schedule(every time.Duration, kind processor.PunctuationType, f func(now int64) error) (cancel func()) {
	t.schedules++
	t.acted++
	s := &schedule{every: max(1, every.Milliseconds()), seq: t.schedules, call: func(now int64) error { return t.Handle(f(now)) }}
	if kind == processor.WallClock {
		s.due = t.Now().UnixMilli() + s.every
		heap.Push(&t.wall, s)
	} else {
		heap.Push(&t.stream, s)
	}
	return func() { s.cancelled = true }
}

// Punctuate calls the wall-clock punctuations that are due.
func (t *Task) Punctuate() error {
	if len(t.wall) == 0 {
		return nil
	}
	called, err := t.wall.run(t.Now().UnixMilli())
	t.touched = t.touched || called
	return err
}

// NextPunctuation returns the time of the next wall-clock punctuation, and
// false if there is none.
func (t *Task) NextPunctuation() (time.Time, bool) {
	if len(t.wall) == 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(t.wall[0].due), true
}
