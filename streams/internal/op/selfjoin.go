package op

import (
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// SelfJoin is the join of a stream with itself: one store does for both sides.
// The results come in the order of a join with two: the new record with those
// before it, those before it with the new record, and the record with itself
// where its time puts it among these.
type SelfJoin[K, V, O any] struct {
	Side                     Side[K, V]
	Key                      serde.Serde[K]
	Before, After, Retention int64 // milliseconds
	Both                     func(K, V, V) O
}

// Open returns the operator in front of what comes after it.
func (j SelfJoin[K, V, O]) Open(e *Env, next Next[K, O]) (Next[K, V], error) {
	rows, err := OpenWindow(e, j.Side.Store, j.Key, j.Side.Value)
	if err != nil {
		return nil, fail(j.Side.Window, processor.Process, err)
	}
	s := &selfJoin[K, V, O]{SelfJoin: j, env: e, rows: rows, stream: rows.Time(), next: next}
	return s.process, nil
}

type selfJoin[K, V, O any] struct {
	SelfJoin[K, V, O]

	env    *Env
	rows   statestore.Window[K, V]
	stream int64
	next   Next[K, O]
}

func (s *selfJoin[K, V, O]) process(r processor.Record[K, V]) error {
	switch {
	case r.NullKey:
		s.env.Drop(NullKey)
		return nil
	case r.NullValue:
		s.env.Drop(NullValue)
		return nil
	}
	s.stream = max(s.stream, r.Timestamp)
	if err := s.join(&r); err != nil {
		return fail(s.Side.Join, processor.Process, err)
	}
	s.env.Enter(s.Side.Window)
	_, err := s.rows.Put(r.Key, r.Timestamp, r.Value, r.Timestamp)
	return fail(s.Side.Window, processor.Process, err)
}

func (s *selfJoin[K, V, O]) join(r *processor.Record[K, V]) error {
	err := s.each(r, s.Before, s.After, func(v V, at int64) error { return s.send(r, r.Value, v, at) })
	if err != nil {
		return err
	}
	// A record that is too old to be kept does not meet itself either.
	alone := r.Timestamp == s.stream || r.Timestamp > s.stream-s.Retention+1
	err = s.each(r, s.After, s.Before, func(v V, at int64) error {
		if alone && at > r.Timestamp {
			alone = false
			if err := s.send(r, r.Value, r.Value, r.Timestamp); err != nil {
				return err
			}
		}
		return s.send(r, v, r.Value, at)
	})
	if err != nil || !alone {
		return err
	}
	return s.send(r, r.Value, r.Value, r.Timestamp)
}

// each shows the kept records around r.
func (s *selfJoin[K, V, O]) each(r *processor.Record[K, V], before, after int64, f func(v V, at int64) error) error {
	s.env.Enter(s.Side.Join)
	for row, err := range s.rows.Fetch(r.Key, max(0, r.Timestamp-before), max(0, r.Timestamp+after), statestore.Ascending) {
		if err == nil {
			err = f(row.Value, row.Start)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *selfJoin[K, V, O]) send(r *processor.Record[K, V], left, right V, at int64) error {
	s.env.Enter(s.Side.Join)
	out := withValue(*r, s.Both(r.Key, left, right))
	out.Timestamp = max(r.Timestamp, at)
	return s.next(out)
}
