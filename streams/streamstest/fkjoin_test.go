package streamstest_test

import (
	"fmt"
	"strings"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// fkJoinRig is the rig of the op fkjoin.
func fkJoinRig(c *testCase) (*rig, error) {
	if err := c.only("kind", "left", "right", "hist"); err != nil {
		return nil, err
	}
	left, err := c.side("left", "L")
	if err != nil {
		return nil, err
	}
	right, err := c.side("right", "R")
	if err != nil {
		return nil, err
	}
	var join func(l, r *table, opts ...streams.Option) *table
	switch c.args["kind"] {
	case "inner":
		join = func(l, r *table, opts ...streams.Option) *table {
			return streams.JoinForeign(l, r, afterBar, func(_, l, r string) string { return "(" + l + "," + r + ")" }, opts...)
		}
	case "left":
		join = func(l, r *table, opts ...streams.Option) *table {
			return streams.LeftJoinForeign(l, r, afterBar, func(_, l string, r *string) string { return "(" + l + "," + say(r) + ")" }, opts...)
		}
	default:
		return nil, fmt.Errorf("unknown kind=%s", c.args["kind"])
	}
	return textRig(func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		join(left.table(b, opts...), right.table(b, opts...)).ToStream().To("out", serde.String(), serde.String())
		return b.Build()
	}, "L", "R"), nil
}

// afterBar is the foreign key of a row.
func afterBar(_, v string) (string, bool) {
	_, key, ok := strings.Cut(v, "|")
	return key, ok && key != "returnNull"
}
