package streams_test

import (
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
)

func tables(b *builder, topic string, opts ...streams.Option) *streams.Table[string, string] {
	return streams.TableFrom(b, topic, str, str, opts...)
}

func swap(k, v string) (string, string) { return v, k }

func groups(t *streams.Table[string, string], opts ...streams.Option) *streams.GroupedTable[string, string] {
	return streams.GroupTableBy(t, swap, str, str, opts...)
}

func left(_, l, _ string) string { return l }

func leftOr(_, l string, _ *string) string { return l }

func either(_ string, l, _ *string) string { return orEmpty(l) }

func pointed(_, v string) (string, bool) { return v, true }

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// same is a row transformer that changes nothing.
type same struct{}

func (same) Init(processor.RowContext) error                      { return nil }
func (same) Transform(_, v string, ok bool) (string, bool, error) { return v, ok, nil }
func (same) Close() error                                         { return nil }
func sameRows() streams.RowTransformer[string, string, string]    { return same{} }

func describedTables() map[string]func(b *builder) {
	return map[string]func(b *builder){
		"table-ops": func(b *builder) {
			out(streams.MapTableValues(tables(b, "in").Filter(yes).FilterNot(yes), value), "out", str)
		},
		"table-ops-named": func(b *builder) {
			out(streams.MapTableValues(tables(b, "in").Filter(yes, named("f"), store("fs")), value, named("m"), store("ms")), "out", str)
		},
		"table-tostream-key":  func(b *builder) { to(streams.ToStreamBy(tables(b, "in"), value), "out", str) },
		"table-groupby-count": func(b *builder) { out(groups(tables(b, "in")).Count(), "out", i64) },
		"table-groupby-named": func(b *builder) {
			out(groups(tables(b, "in"), named("grp")).Reduce(first, first, named("red"), store("rs")), "out", str)
		},
		"table-groupby-twice": func(b *builder) {
			g := groups(tables(b, "in"), named("grp"))
			out(g.Count(), "out", i64)
			out(g.Reduce(first, first), "out", str)
		},
		"table-groupby-aggregate": func(b *builder) {
			out(streams.AggregateTable(groups(tables(b, "in").Filter(yes)), empty, keep, keep, str, store("ag")), "out", str)
		},
		"table-join":     func(b *builder) { out(streams.JoinTables(tables(b, "l"), tables(b, "r"), left), "out", str) },
		"table-leftjoin": func(b *builder) { out(streams.LeftJoinTables(tables(b, "l"), tables(b, "r"), leftOr), "out", str) },
		"table-outerjoin-named": func(b *builder) {
			out(streams.OuterJoinTables(tables(b, "l", store("ls")), tables(b, "r", store("rs")), either, named("j"), store("js")), "out", str)
		},
		"table-join-derived": func(b *builder) {
			l, r := tables(b, "l").Filter(yes), streams.MapTableValues(tables(b, "r"), value)
			out(streams.JoinTables(streams.JoinTables(l, r, left), tables(b, "o"), left), "out", str)
		},
		"table-fkjoin": func(b *builder) {
			out(streams.JoinForeign(tables(b, "l"), tables(b, "r"), pointed, left), "out", str)
		},
		"table-fkjoin-plain": func(b *builder) {
			out(streams.LeftJoinForeign(tables(b, "l"), tables(b, "r"), pointed, leftOr), "out", str)
		},
		"table-fkjoin-named": func(b *builder) {
			out(streams.LeftJoinForeign(tables(b, "l", store("ls")), tables(b, "r", store("rs")), pointed, leftOr, named("fk"), store("js")), "out", str)
		},
		"table-fkjoin-grouped": func(b *builder) {
			out(groups(streams.JoinForeign(tables(b, "l"), tables(b, "r"), pointed, left)).Count(), "out", i64)
		},
		"table-transform": func(b *builder) { out(streams.TransformTableValues(tables(b, "in"), sameRows), "out", str) },
	}
}
