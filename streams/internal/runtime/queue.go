package runtime

import "github.com/weirstream/weir/streams/processor"

// queue holds the messages of one source partition that wait for their turn.
type queue struct {
	tp        TP
	ring      []processor.Message // length is a power of two
	head, len int
	stamped   bool  // the head has the time that its source extracts
	came      int64 // what it had before
	next      int64 // offset after the last message that came; -1 before any
	end       int64 // end of the partition when it was last seen; -1 if never
	committed int64 // offset of the last commit; -1 without one
	time      int64 // largest timestamp processed; -1 before any
}

func newQueue(tp TP) *queue {
	return &queue{tp: tp, next: -1, end: -1, committed: -1, time: -1}
}

// push adds a message. One below the position came twice and is dropped.
func (q *queue) push(m *processor.Message) bool {
	if m.Offset < q.next {
		return false
	}
	if q.len == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.len)&(len(q.ring)-1)] = *m
	q.len++
	q.next = m.Offset + 1
	return true
}

func (q *queue) grow() {
	bigger := make([]processor.Message, max(64, 2*len(q.ring)))
	n := copy(bigger, q.ring[q.head:])
	copy(bigger[n:], q.ring[:q.head])
	q.ring, q.head = bigger, 0
}

// first returns the head; the queue must not be empty.
func (q *queue) first() *processor.Message { return &q.ring[q.head] }

// pop forgets the head.
func (q *queue) pop() {
	q.ring[q.head] = processor.Message{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.len--
	q.stamped = false
}

// position is the offset to commit: that of the head, else what comes next.
func (q *queue) position() int64 {
	if q.len > 0 {
		return q.first().Offset
	}
	return q.next
}

// drained says that the queue is empty and the broker has no more, as far as is
// known. Nothing is known before the end was seen.
func (q *queue) drained() bool { return q.len == 0 && q.end >= 0 && q.next >= q.end }
