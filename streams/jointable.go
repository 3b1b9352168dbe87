package streams

import "github.com/weirstream/weir/streams/internal/op"

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
// Options: [Named], and [KeySerde] and [ValueSerde] for the repartition topic.
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
	st.check(st.o.only(setName | setKey | setValue))
	st.need(s.b == t.b, "stream and table belong to different builders")
	st.need(!f.nilFunc, "the function is nil")
	in := *s
	if s.rekeyed {
		var err error
		in.key, err = pick(st.o.key, s.key)
		st.check(err)
		in.value, err = pick(st.o.value, s.value)
		st.check(err)
		in = *reroute(st, &in, st.suffixed("", in.out.Name))
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
	if st.bad {
		return broken[K, O]()
	}
	s.b.graph.Copartition(where, in.out.Name, t.out.Name)
	if f.alone != nil {
		s.b.graph.TakeNullKeys(st.name)
	}
	join := op.RowJoin[K, V, K, VT, O]{Operator: st.name, Key: op.SameKey[K, V], Both: f.both, Alone: f.alone}
	return lookUp(&in, join, t.view, false)
}

// lookUp puts a join with the rows of a table behind s.
func lookUp[K, V, KT, VT, O any](s *Stream[K, V], join op.RowJoin[K, V, KT, VT, O], v view[KT, VT], rekeyed bool) *Stream[K, O] {
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
		return join.Open(a.Env, next), nil
	})
	return &Stream[K, O]{b: s.b, out: out, key: s.key, rekeyed: rekeyed}
}
