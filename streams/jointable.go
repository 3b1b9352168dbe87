package streams

import (
	"time"

	"github.com/weirstream/weir/streams/internal/op"
)

// JoinTable joins each record with the row that its key has in a table at that
// moment; a record without a row is dropped. Changes of the table send nothing.
// The result keeps the time of the record. Keys that were changed go through a
// repartition topic first; the topics of both sides need equally many
// partitions. Records with a null key or value are dropped.
//
//	s          --(a,1)-----------(a,2)--(b,3)-->
//	t          ---------(a,x)------------------>
//	JoinTable  ------------------(a,2x)-------->
//
// Options: [Named], [Grace] with a versioned table, and [KeySerde] and [ValueSerde]
// for the repartition topic and for what waits.
func JoinTable[K, V, VT, O any](s *Stream[K, V], t *Table[K, VT], join func(key K, value V, row VT) O, opts ...Option) *Stream[K, O] {
	return joinTable(s, t, rowJoiner[K, V, VT, O]{prefix: "KSTREAM-JOIN", nilFunc: join == nil, both: join}, opts)
}

// LeftJoinTable is [JoinTable] and shows records without a row as well, those
// with a null key among them, with a nil row.
//
//	s              --(a,1)-----------(a,2)---(b,3)-->
//	t              ---------(a,x)------------------->
//	LeftJoinTable  --(a,1)-----------(a,2x)--(b,3)-->
func LeftJoinTable[K, V, VT, O any](s *Stream[K, V], t *Table[K, VT], join func(key K, value V, row *VT) O, opts ...Option) *Stream[K, O] {
	return joinTable(s, t, leftRows(join), opts)
}

// rowJoiner is a function of the user, and what it is called for.
type rowJoiner[K, V, VT, O any] struct {
	prefix  string // of generated names
	nilFunc bool
	both    func(K, V, VT) O
	alone   func(K, V) O // nil if records without a row are dropped
}

func leftRows[K, V, VT, O any](join func(K, V, *VT) O) rowJoiner[K, V, VT, O] {
	return rowJoiner[K, V, VT, O]{
		prefix: "KSTREAM-LEFTJOIN", nilFunc: join == nil,
		both:  func(k K, v V, row VT) O { return join(k, v, &row) },
		alone: func(k K, v V) O { return join(k, v, nil) },
	}
}

func joinTable[K, V, VT, O any](s *Stream[K, V], t *Table[K, VT], f rowJoiner[K, V, VT, O], opts []Option) *Stream[K, O] {
	if s.failed() || t.failed() {
		return broken[K, O]()
	}
	st := s.b.between("JoinTable", s.out.Name, t.out.Name, opts)
	st.check(st.o.only(setName | setKey | setValue | setGrace))
	st.need(s.b == t.b, "stream and table belong to different builders")
	st.need(!f.nilFunc, "the function is nil")
	st.delays(t.view.versioned, t.view.history)
	in := s
	if s.rekeyed || st.o.has(setGrace) {
		in = s.encoded(st)
	}
	if s.rekeyed {
		in = reroute(st, in, st.suffixed("", s.out.Name))
	}
	if st.bad {
		return broken[K, O]()
	}
	where := st.at()
	st.name = st.suffixed("", s.b.generate(f.prefix))
	st.processor(in.out.Name)
	for _, store := range t.view.keep(st) {
		st.connect(store)
	}
	wait := op.Delay[K, V]{Operator: st.name, Store: st.buffer(), Key: in.key, Value: in.value, Grace: st.o.grace.Milliseconds()}
	if st.bad {
		return broken[K, O]()
	}
	s.b.graph.Copartition(where, in.out.Name, t.out.Name)
	if f.alone != nil {
		s.b.graph.TakeNullKeys(st.name)
	}
	join := op.RowJoin[K, V, K, VT, O]{Operator: st.name, Key: op.SameKey[K, V], Both: f.both, Alone: f.alone}
	return lookUp(in, join, t.view, false, func(e *op.Env, next op.Next[K, V]) (op.Next[K, V], error) {
		if wait.Store == "" {
			return next, nil
		}
		return wait.Open(e, next)
	})
}

// delays checks that a stream may wait for the rows of a table.
func (s *step) delays(versioned bool, history time.Duration) {
	s.need(s.o.grace >= 0, "the grace %v is negative", s.o.grace)
	if s.o.has(setGrace) {
		s.need(versioned, "only a versioned table tells which row a record meets after a grace")
		s.need(!versioned || s.o.grace <= history, "the grace %v is longer than the history of the table, which is %v", s.o.grace, history)
	}
}

// buffer declares the store of what waits, and returns its name; "" if nothing
// does.
func (s *step) buffer() string {
	if !s.o.has(setGrace) {
		return ""
	}
	name := s.name + "-Buffer"
	s.need(s.o.has(setName) || !s.b.requireNames, "%w: of the store; give one with Named", ErrUnnamed)
	desc := s.o.keyValue(name)
	desc.Timestamped, desc.Cached = false, false
	s.addStore(desc)
	s.connect(name)
	return name
}

// lookUp puts a join with the rows of a table behind s; wait may put something in
// front of it.
func lookUp[K, V, KT, VT, O any](s *Stream[K, V], join op.RowJoin[K, V, KT, VT, O], v view[KT, VT], rekeyed bool, wait func(*op.Env, op.Next[K, V]) (op.Next[K, V], error)) *Stream[K, O] {
	out := &flow[K, O]{Name: join.Operator}
	s.out.Then(func(a *assembly) (op.Next[K, V], error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		rows, err := v.open(a)
		if err != nil {
			return nil, err
		}
		join := join
		join.Rows = rows
		return wait(a.Env, join.Open(a.Env, next))
	})
	return &Stream[K, O]{b: s.b, out: out, key: s.key, rekeyed: rekeyed}
}
