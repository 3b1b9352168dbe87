package op

import (
	"math"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Side is one input of a join of two streams.
type Side[K, V any] struct {
	Window string // the node that keeps the records
	Join   string // the node that joins them
	Store  string // of the records: a window store with duplicates
	Value  serde.Serde[V]
}

// StreamJoin joins the records of two streams that have the same key and are
// close in time: a right record at t meets left ones from t-After to t+Before.
//
// A record first meets those that the other side keeps, then it is kept itself.
// Records of an outer side that met nobody wait in a store of their own, by
// time, until no record that could meet them is on time any more; then a later
// record of either side sends them on alone. Without such a store they go on
// alone at once.
type StreamJoin[K, L, R, O any] struct {
	Left                 Side[K, L]
	Right                Side[K, R]
	Key                  serde.Serde[K]
	Before, After, Grace int64 // milliseconds; a grace of NoEnd lets nothing go on alone
	Both                 func(K, L, R) O
	LeftAlone            func(K, L) O // nil if the left side is not outer
	RightAlone           func(K, R) O // nil if the right side is not outer
	Waiting              string       // store of those that wait; "" for none
}

// Open returns the operators of both sides, in front of what comes after them.
func (j StreamJoin[K, L, R, O]) Open(e *Env, next Next[K, O]) (left Next[K, L], right Next[K, R], err error) {
	leftRows, err := OpenWindow(e, j.Left.Store, j.Key, j.Left.Value)
	if err != nil {
		return nil, nil, fail(j.Left.Window, processor.Process, err)
	}
	rightRows, err := OpenWindow(e, j.Right.Store, j.Key, j.Right.Value)
	if err != nil {
		return nil, nil, fail(j.Right.Window, processor.Process, err)
	}
	p := &pending[K]{
		env: e, left: j.After, right: j.Before, grace: j.Grace, stream: -1, oldest: math.MaxInt64,
	}
	if j.Waiting != "" {
		p.topic = changelog(e.ApplicationID(), j.Waiting)
		p.leftRow = goOn(codec[L]{j.Left.Value, p.topic}, j.LeftAlone, next)
		p.rightRow = goOn(codec[R]{j.Right.Value, p.topic}, j.RightAlone, next)
		if err := p.open(j.Waiting, j.Key); err != nil {
			return nil, nil, fail(j.Left.Join, processor.Process, err)
		}
	}
	l := &joinSide[K, L, R, O]{
		env: e, side: j.Left, leftSide: true, before: j.Before, after: j.After, own: leftRows, other: rightRows,
		both: j.Both, alone: j.LeftAlone, pending: p, next: next,
	}
	r := &joinSide[K, R, L, O]{
		env: e, side: j.Right, before: j.After, after: j.Before, own: rightRows, other: leftRows,
		both: func(k K, r R, l L) O { return j.Both(k, l, r) }, alone: j.RightAlone, pending: p, next: next,
	}
	return l.process, r.process, nil
}

// joinSide is one side of a running join: V comes in, W is kept by the other.
type joinSide[K, V, W, O any] struct {
	env           *Env
	side          Side[K, V]
	leftSide      bool
	before, after int64
	own           statestore.Window[K, V]
	other         statestore.Window[K, W]
	both          func(K, V, W) O
	alone         func(K, V) O
	pending       *pending[K]
	next          Next[K, O]
}

func (s *joinSide[K, V, W, O]) process(r processor.Record[K, V]) error {
	s.env.Enter(s.side.Join)
	if err := s.join(&r); err != nil {
		return fail(s.side.Join, processor.Process, err)
	}
	if r.NullKey || r.NullValue {
		return nil
	}
	s.env.Enter(s.side.Window)
	_, err := s.own.Put(r.Key, r.Timestamp, r.Value, r.Timestamp)
	return fail(s.side.Window, processor.Process, err)
}

func (s *joinSide[K, V, W, O]) join(r *processor.Record[K, V]) error {
	p := s.pending
	p.observe(r.Timestamp)
	switch {
	case r.NullKey && (r.NullValue || s.alone == nil):
		s.env.Drop(NullKey)
		return nil
	case r.NullValue:
		s.env.Drop(NullValue)
		return nil
	case r.NullKey:
		return s.goAlone(r)
	}
	if r.Timestamp == p.stream {
		if err := p.release(s.side.Join, s.after); err != nil {
			return err
		}
	}
	met, err := s.meet(r)
	switch {
	case err != nil || met || s.alone == nil:
		return err
	case p.rows == nil || max(0, r.Timestamp+s.after) < p.stream:
		return s.goAlone(r)
	default:
		return p.add(waiter[K]{at: r.Timestamp, left: s.leftSide, key: r.Key}, func(dst []byte) ([]byte, error) {
			return s.side.Value.Append(dst, p.topic, r.Value)
		})
	}
}

// meet joins a record with what the other side keeps around it.
func (s *joinSide[K, V, W, O]) meet(r *processor.Record[K, V]) (met bool, err error) {
	from, to := max(0, r.Timestamp-s.before), max(0, r.Timestamp+s.after)
	for row, err := range s.other.Fetch(r.Key, from, to, statestore.Ascending) {
		if err != nil {
			return met, err
		}
		met = true
		if err := s.pending.remove(waiter[K]{at: row.Start, left: !s.leftSide, key: r.Key}); err != nil {
			return met, err
		}
		s.env.Enter(s.side.Join)
		out := withValue(*r, s.both(r.Key, r.Value, row.Value))
		out.Timestamp = max(r.Timestamp, row.Start)
		if err := s.next(out); err != nil {
			return met, err
		}
	}
	return met, nil
}

// goAlone sends a record on without a match.
func (s *joinSide[K, V, W, O]) goAlone(r *processor.Record[K, V]) error {
	s.env.Enter(s.side.Join)
	return s.next(withValue(*r, s.alone(r.Key, r.Value)))
}
