package op

import "github.com/weirstream/weir/streams/processor"

// Joiner makes a result of the rows of two tables, one of which may be missing.
type Joiner[K, L, R, VR any] func(key K, left L, hasLeft bool, right R, hasRight bool) VR

// flip returns the joiner as the right side sees it.
func flip[K, L, R, VR any](f Joiner[K, L, R, VR]) Joiner[K, R, L, VR] {
	return func(key K, right R, hasRight bool, left L, hasLeft bool) VR {
		return f(key, left, hasLeft, right, hasRight)
	}
}

// JoinKind says which rows have a result without a partner.
type JoinKind struct{ Left, Right bool }

// TableSide is one side of a join of tables.
type TableSide struct {
	Operator string
	Old      bool // the old result is wanted
	Latest   bool // changes that are late are dropped (KIP-914)
}

// JoinLeft joins the changes of the left table with the rows of the right one.
func JoinLeft[K, L, R, VR any](e *Env, s TableSide, kind JoinKind, rows Lookup[K, R], f Joiner[K, L, R, VR], next Next[K, Change[VR]]) Next[K, Change[L]] {
	return joinTable(e, s, kind.Left, kind.Right, rows, f, next)
}

// JoinRight joins the changes of the right table with the rows of the left one.
func JoinRight[K, L, R, VR any](e *Env, s TableSide, kind JoinKind, rows Lookup[K, L], f Joiner[K, L, R, VR], next Next[K, Change[VR]]) Next[K, Change[R]] {
	return joinTable(e, s, kind.Right, kind.Left, rows, flip(f), next)
}

// joinTable joins changes of this table with the other one. alone says that a row
// of this table has a result without a partner, bare that one of the other has.
// The time of a result is the later one of its rows.
func joinTable[K, V, VO, VR any](e *Env, s TableSide, alone, bare bool, rows Lookup[K, VO], f Joiner[K, V, VO, VR], next Next[K, Change[VR]]) Next[K, Change[V]] {
	return func(r processor.Record[K, Change[V]]) error {
		if s.Latest && r.Value.Late {
			e.Drop(Late)
			return nil
		}
		e.Enter(s.Operator)
		other, at, has, err := rows(r.Key, Now)
		switch {
		case err != nil:
			return fail(s.Operator, processor.Process, err)
		case has:
			r.Timestamp = max(r.Timestamp, at)
		case !alone, r.NullValue && !r.Value.HasOld:
			return nil
		}
		e.Enter(s.Operator)
		result := func(value V, ok bool) (vr VR, _ bool) {
			if !ok && (!has || !bare) {
				return vr, false
			}
			return f(r.Key, value, ok, other, has), true
		}
		c := Change[VR]{Late: r.Value.Late}
		var ok bool
		c.New, ok = result(r.Value.New, !r.NullValue)
		if s.Old {
			c.Old, c.HasOld = result(r.Value.Old, r.Value.HasOld)
		}
		return next(changed(r, c, ok))
	}
}

// Merged keeps the results of both sides of a join, if the state has a store.
func Merged[K, VR any](e *Env, s State[K, VR], next Next[K, Change[VR]]) (Next[K, Change[VR]], error) {
	if s.Store == "" {
		return next, nil
	}
	table, err := OpenTable(e, s, next)
	if err != nil {
		return nil, err
	}
	return func(r processor.Record[K, Change[VR]]) error {
		e.Enter(s.Operator)
		return table.put(r.Key, row[VR]{value: r.Value.New, ok: !r.NullValue, at: r.Timestamp},
			row[VR]{value: r.Value.Old, ok: r.Value.HasOld}, r.Headers)
	}, nil
}

// Joined returns the lookup of a join that is not kept: it joins when it is
// read.
func Joined[K, L, R, VR any](kind JoinKind, left Lookup[K, L], right Lookup[K, R], f Joiner[K, L, R, VR]) Lookup[K, VR] {
	return func(key K, asOf int64) (vr VR, at int64, ok bool, err error) {
		l, at, hasLeft, err := left(key, asOf)
		if err != nil || !hasLeft && !kind.Right {
			return vr, at, false, err
		}
		r, atRight, hasRight, err := right(key, asOf)
		if err != nil || !hasRight && (!kind.Left || !hasLeft) {
			return vr, at, false, err
		}
		switch {
		case !hasLeft:
			at = atRight
		case hasRight:
			at = max(at, atRight)
		}
		return f(key, l, hasLeft, r, hasRight), at, true, nil
	}
}
