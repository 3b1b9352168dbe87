package streamstest_test

import (
	"fmt"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// stJoinRig is the rig of the op stjoin.
func stJoinRig(c *testCase) (*rig, error) {
	if err := c.only("kind", "table", "hist", "grace", "sep"); err != nil {
		return nil, err
	}
	kind, sep := c.args["kind"], c.args["sep"]
	if kind != "inner" && kind != "left" {
		return nil, fmt.Errorf("unknown kind=%s", kind)
	}
	r := &rig{inputs: ints("L", "R"), drain: drainInts, cached: true}
	switch c.args["table"] {
	case "plain":
	case "versioned":
		r.missing = "versioned tables"
	default:
		return nil, fmt.Errorf("unknown table=%s", c.args["table"])
	}
	r.uncached = true
	r.build = func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		s := streams.From(b, "L", intKeys, serde.String())
		if len(opts) > 0 {
			opts = append(opts, streams.Store("rows"))
		}
		t := streams.TableFrom(b, "R", intKeys, serde.String(), opts...)
		if kind == "left" {
			s = streams.LeftJoinTable(s, t, func(_, v string, row *string) string { return v + sep + orNullText(row) })
		} else {
			s = streams.JoinTable(s, t, func(_, v, row string) string { return v + sep + row })
		}
		s.To("out", intKeys, serde.String())
		return b.Build()
	}
	return r, nil
}
