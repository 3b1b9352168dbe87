package streams_test

import (
	"errors"
	"strconv"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

func plus(_, v, agg string) string  { return agg + "+" + v }
func minus(_, v, agg string) string { return agg + "-" + v }

func leftRight(_, l, r string) string            { return l + r }
func leftAnd(_, l string, r *string) string      { return l + orMissing(r) }
func leftAndRight(_ string, l, r *string) string { return orMissing(l) + orMissing(r) }

func orMissing(s *string) string {
	if s == nil {
		return "~"
	}
	return *s
}

// lastLetter is the key that a row points to: its last letter, unless that is a
// dot.
func lastLetter(_, v string) (string, bool) {
	key := v[len(v)-1:]
	return key, key != "."
}

// visits puts behind each value how often its row was made.
type visits struct {
	ref  streams.StoreRef[string, int64]
	seen streams.KV[string, int64]
}

func (p *visits) Init(ctx processor.RowContext) (err error) {
	p.seen, err = p.ref.Open(ctx)
	return err
}

func (p *visits) Transform(key, value string, ok bool) (string, bool, error) {
	if value == "bad" {
		return "", false, errors.New("no row")
	}
	n, _, err := p.seen.Get(key)
	if err != nil {
		return "", false, err
	}
	return value + strconv.FormatInt(n+1, 10), ok, p.seen.Put(key, n+1)
}

func (p *visits) Close() error { return nil }

// tableOperators are the topologies of the transcripts of tables. u lets every
// change go on at once.
func tableOperators() map[string]func(b *builder) {
	u := streams.NoCache()
	in := func(b *builder) *streams.Table[string, string] { return tables(b, "in", store("t"), u) }
	return map[string]func(b *builder){
		"table-filter":    func(b *builder) { show(in(b).Filter(long), str) },
		"table-filternot": func(b *builder) { show(in(b).FilterNot(long), str) },
		// nobody knows which rows passed before
		"table-filter-bare": func(b *builder) { show(tables(b, "in").Filter(long), str) },
		"table-filter-old": func(b *builder) { // what groups rows wants old values, so nothing is said of rows that never passed
			f := tables(b, "in").Filter(long)
			show(f, str)
			groups(f)
		},
		"table-filter-store": func(b *builder) { show(in(b).Filter(long, store("f")), str) },
		"table-mapvalues": func(b *builder) {
			show(streams.MapTableValues(in(b), func(k, v string) string { return k + v }), str)
		},
		"table-tostreamby": func(b *builder) { to(streams.ToStreamBy(in(b), value), "out", str) },
		"table-transform": func(b *builder) {
			seen := streams.NewStore(b, "seen", str, serde.Int64())
			rows := func() streams.RowTransformer[string, string, string] { return &visits{ref: seen} }
			show(streams.TransformTableValues(in(b), rows, seen), str)
		},
		"table-count": func(b *builder) { show(groups(in(b)).Count(u), digits{}) },
		"table-reduce": func(b *builder) {
			g := streams.GroupTableBy(in(b), swap, str, str)
			show(g.Reduce(func(a, v string) string { return a + "+" + v }, func(a, v string) string { return a + "-" + v }), str)
		},
		"table-aggregate": func(b *builder) { show(streams.AggregateTable(groups(in(b)), empty, plus, minus, str, u), str) },
		"table-aggregate-derived": func(b *builder) {
			rows := streams.MapTableValues(in(b).Filter(long), func(_, v string) string { return v[:1] })
			show(streams.AggregateTable(groups(rows), empty, plus, minus, str, u), str)
		},
		"table-join": func(b *builder) {
			show(streams.JoinTables(tables(b, "l"), tables(b, "r"), leftRight), str)
		},
		"table-leftjoin":  func(b *builder) { show(streams.LeftJoinTables(tables(b, "l"), tables(b, "r"), leftAnd), str) },
		"table-outerjoin": func(b *builder) { show(streams.OuterJoinTables(tables(b, "l"), tables(b, "r"), leftAndRight), str) },
		"table-join-of-joins": func(b *builder) { // reads through operators that keep nothing
			l := streams.LeftJoinTables(tables(b, "l").Filter(long), tables(b, "r"), leftAnd)
			show(streams.AggregateTable(groups(streams.JoinTables(l, tables(b, "o"), leftRight)), empty, plus, minus, str, u), str)
		},
		"suppress-joined": func(b *builder) { // reads the row that a held one is to replace
			l := tables(b, "l", store("l"), u).Suppress(streams.UntilTimeLimit(10*time.Millisecond, streams.Unbounded()))
			show(streams.JoinTables(l, tables(b, "r"), leftRight), str)
		},
		"join-foreign": func(b *builder) {
			show(streams.JoinForeign(tables(b, "l"), tables(b, "r"), lastLetter, leftRight), str)
		},
		"leftjoin-foreign": func(b *builder) {
			show(streams.LeftJoinForeign(tables(b, "l"), tables(b, "r"), lastLetter, leftAnd), str)
		},
		"table-join-versioned": func(b *builder) {
			l := tables(b, "l", store("l"), streams.Versioned(10*time.Millisecond))
			show(streams.JoinTables(l, tables(b, "r"), leftRight), str)
		},
	}
}
