package streams

import "github.com/weirstream/weir/streams/internal/op"

// Filter keeps the rows for which keep is true; a row that no longer passes is
// deleted. With [Store] the rows are kept, to be read and queried. If neither the
// filter nor the table keeps rows, nor what follows needs old values, then nothing
// tells whether there is something to delete, and each change of a row that does
// not pass goes on as a deletion. Options: [Named], [Store], [Versioned],
// [NoCache], [InMemory], [NoChangelog], [TopicConfig], [ValueSerde].
//
//	table   --a:1----a:2----b:4----a:3----->
//	Filter  ---------a:2----b:4----a gone-->   (even)
func (t *Table[K, V]) Filter(keep func(key K, value V) bool, opts ...Option) *Table[K, V] {
	return filterTable(t, keep, true, opts)
}

// FilterNot keeps the rows for which drop is false. Options: those of
// [Table.Filter].
//
//	table      --a:1----a:2----b:4----a:3-->
//	FilterNot  --a:1----a gone--------a:3-->   (even)
func (t *Table[K, V]) FilterNot(drop func(key K, value V) bool, opts ...Option) *Table[K, V] {
	return filterTable(t, drop, false, opts)
}

func filterTable[K, V any](t *Table[K, V], test func(K, V) bool, want bool, opts []Option) *Table[K, V] {
	if t.failed() {
		return &Table[K, V]{}
	}
	return derive(t, derived[K, V, V]{
		prefix: "KTABLE-FILTER", opts: opts, nilFunc: test == nil, value: t.value, quiet: true,
		each: func(st *step, a *assembly) op.Each[K, V, V] { return op.Keep(a.Env, st.name, test, want) },
	})
}
