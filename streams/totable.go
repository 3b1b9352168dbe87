package streams

import "github.com/weirstream/weir/streams/internal/op"

// ToTable makes a table of the stream: each record replaces the row of its key, a
// null value deletes it, a record without a key is dropped. Keys that were changed
// go through a repartition topic first. It has a store when [TableFrom] would have
// one. Options: [Named], [Store], [Versioned], [NoCache], [InMemory],
// [NoChangelog], [TopicConfig], [KeySerde], [ValueSerde].
//
//	in       --(k,1)--(l,5)--(k,2)--(k,~)-->
//	ToTable  --k:1----l:5----k:2----k gone-->
func (s *Stream[K, V]) ToTable(opts ...Option) *Table[K, V] {
	if s.failed() {
		return &Table[K, V]{}
	}
	o := collect(opts)
	st := s.b.next("KSTREAM-TOTABLE", o, setName|setTable|setKey)
	name := ""
	if !o.has(setStore) {
		name = s.b.generate("KSTREAM-TOTABLE-STATE-STORE")
		st.check(o.only(setName | setKey | setValue))
	}
	in := s.encoded(st)
	if in.rekeyed {
		in = reroute(st, in, st.name)
	}
	if st.bad {
		return &Table[K, V]{}
	}
	st.processor(in.out.Name)
	st.keepIn(o.store)
	if st.bad {
		return &Table[K, V]{}
	}
	return tableOf(st, in.out, &op.State[K, V]{Operator: st.name, Store: o.store, Key: in.key, Value: in.value}, name)
}

// encoded returns the stream with serdes: those of the options, else those that
// are known, else those that fit the types.
func (s *Stream[K, V]) encoded(st *step) *Stream[K, V] {
	in := *s
	var err error
	in.key, err = pick(st.o.key, s.key)
	st.check(err)
	in.value, err = pick(st.o.value, s.value)
	st.check(err)
	return &in
}
