package streamstest_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// ktAggRig is the rig of the op ktagg.
func ktAggRig(c *testCase) (*rig, error) {
	if err := c.only("sel", "agg", "table", "hist", "suppress", "maxrecords"); err != nil {
		return nil, err
	}
	in, err := c.side("table", "T")
	if err != nil {
		return nil, err
	}
	sel, err := selector(c.args["sel"])
	if err != nil {
		return nil, err
	}
	agg, err := tableAggregate(c.args["agg"])
	if err != nil {
		return nil, err
	}
	held, err := c.held()
	if err != nil {
		return nil, err
	}
	return textRig(func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		groups := streams.GroupTableBy(in.table(b, opts...).FilterNot(nameless), sel, serde.String(), serde.String())
		rows := agg(groups, opts...)
		if held == nil {
			rows.ToStream().To("out", serde.String(), serde.String())
			return b.Build()
		}
		prefixed(rows, "raw:")
		prefixed(rows.Suppress(*held), "S:")
		return b.Build()
	}, "T"), nil
}

// held reads how a case suppresses; nil if it does not.
func (c *testCase) held() (*streams.Suppressed, error) {
	wait, ok := c.args["suppress"]
	if !ok {
		return nil, nil
	}
	limit := streams.Forever
	if wait != "inf" {
		ms, err := c.millis("suppress", 0)
		if err != nil {
			return nil, err
		}
		limit = time.Duration(ms) * time.Millisecond
	}
	buffer := streams.Unbounded()
	if _, ok := c.args["maxrecords"]; ok {
		n, err := c.millis("maxrecords", 0)
		if err != nil {
			return nil, err
		}
		buffer = streams.MaxRecords(n).EmitEarlyWhenFull()
	}
	s := streams.UntilTimeLimit(limit, buffer)
	return &s, nil
}

// prefixed lets rows leave under keys with a prefix.
func prefixed(rows *table, prefix string) {
	streams.ToStreamBy(rows, func(k, _ string) string { return prefix + k }).To("out", serde.String(), serde.String())
}

// nameless says that the selector of the source has no group for a row.
func nameless(key, _ string) bool { return key == "null" || key == "NULL" }

func selector(sel string) (func(k, v string) (string, string), error) {
	switch sel {
	case "kv":
		return func(k, v string) (string, string) { return k, v }, nil
	case "value":
		return func(k, v string) (string, string) { return v, k }, nil
	case "vv":
		return func(_, v string) (string, string) { return v, v }, nil
	case "keychars":
		return func(k, _ string) (string, string) { return k[:1], k[1:2] }, nil
	default:
		return nil, fmt.Errorf("unknown sel=%s", sel)
	}
}

type groupedTable = streams.GroupedTable[string, string]

// tableAggregate returns an aggregation whose results are text.
func tableAggregate(agg string) (func(g *groupedTable, opts ...streams.Option) *table, error) {
	concat := func(initial string, add, subtract func(_, v, agg string) string) func(*groupedTable, ...streams.Option) *table {
		return func(g *groupedTable, opts ...streams.Option) *table {
			return streams.AggregateTable(g, func() string { return initial }, add, subtract, serde.String(), opts...)
		}
	}
	plus := func(_, v, agg string) string { return agg + "+" + v }
	minus := func(_, v, agg string) string { return agg + "-" + v }
	switch agg {
	case "count":
		return func(g *groupedTable, opts ...streams.Option) *table {
			return streams.MapTableValues(g.Count(opts...), func(_ string, n int64) string { return number(n) })
		}, nil
	case "concat0":
		return concat("0", plus, minus), nil
	case "concat":
		return concat("", plus, minus), nil
	case "chars":
		return concat("", func(_, v, agg string) string { return agg + v },
			func(_, v, agg string) string { return strings.ReplaceAll(agg, v, "") }), nil
	case "reduce":
		return func(g *groupedTable, opts ...streams.Option) *table {
			return g.Reduce(func(a, v string) string { return a + "+" + v }, func(a, v string) string { return a + "-" + v }, opts...)
		}, nil
	default:
		return nil, fmt.Errorf("unknown agg=%s", agg)
	}
}
