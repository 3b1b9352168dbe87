package streams

import (
	"errors"

	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
)

// JoinTables joins the rows of two tables that have the same key. The time of a
// result is the later one of its rows. Both topics need the same number of
// partitions. With [Store] the results are kept, to be read and queried. Options:
// those of [Table.Filter].
//
//	left        --a:1-----------------a:2-----a gone-->
//	right       ---------a:x--b:y--------------------->
//	JoinTables  ---------a:1x---------a:2x----a gone-->
func JoinTables[K, L, R, VR any](left *Table[K, L], right *Table[K, R], f func(key K, left L, right R) VR, opts ...Option) *Table[K, VR] {
	return joinTables(left, right, op.JoinKind{}, f == nil, func(key K, l L, _ bool, r R, _ bool) VR { return f(key, l, r) }, opts)
}

// LeftJoinTables is [JoinTables] with a result for every row of the left table;
// without a partner, f gets nil for it.
//
//	left            --a:1-----------------a:2-----a gone-->
//	right           ---------a:x--b:y---------------------->
//	LeftJoinTables  --a:1~---a:1x---------a:2x----a gone-->
func LeftJoinTables[K, L, R, VR any](left *Table[K, L], right *Table[K, R], f func(key K, left L, right *R) VR, opts ...Option) *Table[K, VR] {
	return joinTables(left, right, op.JoinKind{Left: true}, f == nil, func(key K, l L, _ bool, r R, hasRight bool) VR {
		return f(key, l, present(r, hasRight))
	}, opts)
}

// OuterJoinTables is [JoinTables] with a result for every row of both tables; f
// gets nil for the one that is missing, never for both.
//
//	left             --a:1-----------------a:2-----a gone-->
//	right            ---------a:x--b:y---------------------->
//	OuterJoinTables  --a:1~---a:1x-b:~y----a:2x----a:~x---->
func OuterJoinTables[K, L, R, VR any](left *Table[K, L], right *Table[K, R], f func(key K, left *L, right *R) VR, opts ...Option) *Table[K, VR] {
	return joinTables(left, right, op.JoinKind{Left: true, Right: true}, f == nil, func(key K, l L, hasLeft bool, r R, hasRight bool) VR {
		return f(key, present(l, hasLeft), present(r, hasRight))
	}, opts)
}

// present returns a pointer to a row that is there, else nil.
func present[V any](v V, ok bool) *V {
	if !ok {
		return nil
	}
	return &v
}

// joinTables adds a join. Kafka Streams' order of numbering is the merge of the
// results, the left side, the right side.
func joinTables[K, L, R, VR any](left *Table[K, L], right *Table[K, R], kind op.JoinKind, nilFunc bool, f op.Joiner[K, L, R, VR], opts []Option) *Table[K, VR] {
	if left.failed() || right.failed() {
		return &Table[K, VR]{}
	}
	b, o := left.b, collect(opts)
	st := b.next("KTABLE-MERGE", o, setName|setTable)
	this := &step{b: b, o: o, name: b.generate("KTABLE-JOINTHIS")}
	other := &step{b: b, o: o, name: b.generate("KTABLE-JOINOTHER")}
	if o.has(setName) {
		this.name, other.name = o.name+"-join-this", o.name+"-join-other"
	}
	st.need(!nilFunc, "the function is nil")
	if b != right.b {
		st.check(errors.New("the tables belong to different builders"))
	}
	state := materialised[K, VR](st, left.key, nil, 0)
	if !st.bad {
		this.processor(left.out.Name)
		other.processor(right.out.Name)
		st.bad = this.bad || other.bad
	}
	st.processor(this.name, other.name)
	if st.bad {
		return &Table[K, VR]{}
	}
	if kind.Left {
		left.view.tell(st, true)
	}
	if kind.Right {
		right.view.tell(st, true)
	}
	this.connectAll(right.view.keep(st))
	other.connectAll(left.view.keep(st))
	st.keepIn(state.Store)
	b.graph.Copartition(st.at(), st.name)
	if st.bad || this.bad || other.bad {
		return &Table[K, VR]{}
	}
	j := tableJoin[K, L, R, VR]{left: left, right: right, kind: kind, f: f, state: state, this: this.name, other: other.name}
	return &Table[K, VR]{b: b, out: j.wire(), key: left.key, value: state.Value, view: stored(st, state, j.view())}
}

// connectAll lets the operator use stores.
func (s *step) connectAll(stores []string) {
	for _, store := range stores {
		s.connect(store)
	}
}

// tableJoin is a join on its way into the topology.
type tableJoin[K, L, R, VR any] struct {
	left        *Table[K, L]
	right       *Table[K, R]
	kind        op.JoinKind
	f           op.Joiner[K, L, R, VR]
	state       *op.State[K, VR]
	this, other string // the nodes of the two sides
}

// wire connects both sides, by way of the merge of their results.
func (j tableJoin[K, L, R, VR]) wire() *flow[K, op.Change[VR]] {
	out := &flow[K, op.Change[VR]]{Name: j.state.Operator}
	merge := &flow[K, op.Change[VR]]{Name: j.state.Operator}
	wiring.Pass(merge, out, func(a *assembly, next op.Next[K, op.Change[VR]]) (op.Next[K, op.Change[VR]], error) {
		return op.Merged(a.Env, *j.state, next)
	})
	side := func(name string, versioned bool) op.TableSide {
		return op.TableSide{Operator: name, Old: j.state.Old, Latest: versioned}
	}
	wiring.Pass(j.left.out, merge, func(a *assembly, next op.Next[K, op.Change[VR]]) (op.Next[K, op.Change[L]], error) {
		rows, err := j.right.view.open(a)
		if err != nil {
			return nil, err
		}
		return op.JoinLeft(a.Env, side(j.this, j.left.view.versioned), j.kind, rows, j.f, next), nil
	})
	wiring.Pass(j.right.out, merge, func(a *assembly, next op.Next[K, op.Change[VR]]) (op.Next[K, op.Change[R]], error) {
		rows, err := j.left.view.open(a)
		if err != nil {
			return nil, err
		}
		return op.JoinRight(a.Env, side(j.other, j.right.view.versioned), j.kind, rows, j.f, next), nil
	})
	return out
}

// view is that of a join whose results are not kept: it joins what it reads. For
// old results both sides have to tell their old values.
func (j tableJoin[K, L, R, VR]) view() view[K, VR] {
	return view[K, VR]{
		keep: func(reader *step) []string { return append(j.left.view.keep(reader), j.right.view.keep(reader)...) },
		open: func(a *assembly) (op.Lookup[K, VR], error) {
			left, err := j.left.view.open(a)
			if err != nil {
				return nil, err
			}
			right, err := j.right.view.open(a)
			if err != nil {
				return nil, err
			}
			return op.Joined(j.kind, left, right, j.f), nil
		},
		tell: func(reader *step, _ bool) bool {
			j.state.Old = j.left.view.tell(reader, true) && j.right.view.tell(reader, true)
			return j.state.Old
		},
	}
}
