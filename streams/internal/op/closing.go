package op

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// closing emits the rows of windows once each, when they have closed.
//
// It runs before a record is put, and the store holds every row until it says
// otherwise, so a jump of stream time loses none. How far it has come is part of
// the commit: what was emitted and not committed is emitted again.
type closing[K, V any] struct {
	e        *Env
	operator string
	mark     string // of the last close time
	key      serde.Serde[K]
	topic    string
	offset   int64 // from a close time to the first time of a row that has not closed
	retain   int64 // how long rows stay, for queries
	last     int64 // the close time up to which all was read; -1 before any
	emitted  int64 // the close time up to which all was emitted
	notYet   time.Time
	read     func(from, to int64, add func(serde.Windowed[K], row[V]) error) error
	expire   func(before int64) error
	next     Next[serde.Windowed[K], Change[V]]
	rows     []closedRow[K, V]
}

type closedRow[K, V any] struct {
	key   serde.Windowed[K]
	bytes []byte // of the plain key
	row   row[V]
}

func newClosing[K, V any](e *Env, s State[K, V], retain int64, read func(from, to int64, add func(serde.Windowed[K], row[V]) error) error, expire func(int64) error, next Next[serde.Windowed[K], Change[V]]) *closing[K, V] {
	c := &closing[K, V]{
		e: e, operator: s.Operator, mark: s.Store, key: s.Key, topic: changelog(e.ApplicationID(), s.Store),
		retain: retain, last: -1, read: read, expire: expire, next: next,
	}
	if last, ok := e.Remembered(s.Store); ok {
		c.last = last
	}
	c.emitted = c.last
	return c
}

// run emits the windows that a close time passed since the last run, by time and
// then by key, if it is time to look. latest is where the newest row stands. A
// row whose way on fails is not emitted again, the others are.
func (c *closing[K, V]) run(closeTime, latest int64) error {
	if closeTime > c.last && closeTime+c.offset > 0 {
		if now := c.e.Now(); !now.Before(c.notYet) {
			c.notYet = now.Add(c.e.EmitInterval())
			if err := c.collect(closeTime + c.offset - 1); err != nil {
				return fail(c.operator, processor.Process, err)
			}
			c.last = closeTime
		}
	}
	if c.emitted == c.last {
		return nil
	}
	for len(c.rows) > 0 {
		r := c.rows[0]
		c.rows = c.rows[1:]
		if err := forward(c.next, r.key, r.row, row[V]{}, nil); err != nil {
			return err
		}
	}
	c.emitted = c.last
	c.e.Remember(c.mark, c.last)
	return fail(c.operator, processor.Process, c.expire(min(c.last+c.offset, before(latest, c.retain))))
}

// collect adds the rows that are due up to a time.
func (c *closing[K, V]) collect(to int64) error {
	from := int64(0)
	if c.last >= 0 {
		from = max(0, c.last+c.offset)
	}
	c.e.Enter(c.operator)
	old := len(c.rows)
	err := c.read(from, to, func(key serde.Windowed[K], r row[V]) error {
		b, err := c.key.Append(nil, c.topic, key.Key)
		c.rows = append(c.rows, closedRow[K, V]{key, b, r})
		return err
	})
	slices.SortStableFunc(c.rows[old:], func(a, b closedRow[K, V]) int {
		return cmp.Or(cmp.Compare(a.key.End, b.key.End), cmp.Compare(a.key.Start, b.key.Start), bytes.Compare(a.bytes, b.bytes))
	})
	return err
}
