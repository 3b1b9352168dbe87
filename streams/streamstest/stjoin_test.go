package streamstest_test

import (
	"fmt"
	"time"

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
		r.uncached = true
	case "versioned":
		if _, ok := c.args["grace"]; ok {
			r.missing = "a grace"
		}
	default:
		return nil, fmt.Errorf("unknown table=%s", c.args["table"])
	}
	history, err := c.millis("hist", 0)
	if err != nil {
		return nil, err
	}
	r.build = func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		s := streams.From(b, "L", intKeys, serde.String())
		if history > 0 {
			opts = append(opts, streams.Versioned(time.Duration(history)*time.Millisecond))
		}
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
