//go:build go1.27

package streams_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
)

// TestChainedSpelling: the methods build what the functions build.
func TestChainedSpelling(t *testing.T) {
	chain := streams.NewBuilder()
	from(chain, "in").Map(pair).MapValues(value).FlatMap(wordPairs).FlatMapValues(words).SelectKey(value).
		Process(quiet).GroupBy(value, str).Aggregate(empty, keep, str).ToStream().
		GroupBy(value, str).WindowedBy(window()).Aggregate(empty, keep, str).ToStream()
	plain := streams.NewBuilder()
	s := streams.FlatMapValues(streams.FlatMap(streams.MapValues(streams.Map(from(plain, "in"), pair), value), wordPairs), words)
	s = streams.Process(streams.SelectKey(s, value), quiet)
	s = streams.Aggregate(byValue(s), empty, keep, str).ToStream()
	streams.AggregateWindow(byValue(s).WindowedBy(window()), empty, keep, str).ToStream()
	rows := streams.TableFrom(chain, "t", str, str)
	from(chain, "l").Join(from(chain, "r"), both, joinWindow()).LeftJoin(from(chain, "r"), orRight, joinWindow()).
		OuterJoin(from(chain, "r"), orEither, joinWindow()).JoinTable(rows, both).LeftJoinTable(rows, orRight)
	rows = streams.TableFrom(plain, "t", str, str)
	j := streams.Join(from(plain, "l"), from(plain, "r"), both, joinWindow())
	j = streams.OuterJoin(streams.LeftJoin(j, from(plain, "r"), orRight, joinWindow()), from(plain, "r"), orEither, joinWindow())
	streams.LeftJoinTable(streams.JoinTable(j, rows, both), rows, orRight)
	g := tables(chain, "t1").MapValues(value).TransformValues(sameRows).Join(tables(chain, "t2"), left).LeftJoin(tables(chain, "t3"), leftOr).
		OuterJoin(tables(chain, "t4"), either).JoinForeign(tables(chain, "t5"), pointed, left).LeftJoinForeign(tables(chain, "t6"), pointed, leftOr)
	g.GroupBy(swap, str, str).Aggregate(empty, keep, keep, str).ToStreamBy(value)
	p := streams.TransformTableValues(streams.MapTableValues(tables(plain, "t1"), value), sameRows)
	p = streams.LeftJoinTables(streams.JoinTables(p, tables(plain, "t2"), left), tables(plain, "t3"), leftOr)
	p = streams.JoinForeign(streams.OuterJoinTables(p, tables(plain, "t4"), either), tables(plain, "t5"), pointed, left)
	p = streams.LeftJoinForeign(p, tables(plain, "t6"), pointed, leftOr)
	streams.ToStreamBy(streams.AggregateTable(groups(p), empty, keep, keep, str), value)
	one, err := chain.Build()
	if err != nil {
		t.Fatal(err)
	}
	two, err := plain.Build()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(two.Describe(), one.Describe()); diff != "" {
		t.Error(diff)
	}
}
