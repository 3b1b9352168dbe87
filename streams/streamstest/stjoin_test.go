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
	r := &rig{inputs: ints("L", "R"), drain: drainInts, cached: true, uncached: true}
	if table := c.args["table"]; table != "plain" && table != "versioned" {
		return nil, fmt.Errorf("unknown table=%s", table)
	}
	grace, err := c.millis("grace", -1)
	if err != nil {
		return nil, err
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
		var late streams.Option
		if grace >= 0 {
			late = streams.Grace(time.Duration(grace) * time.Millisecond)
		}
		if kind == "left" {
			s = streams.LeftJoinTable(s, t, func(_, v string, row *string) string { return v + sep + orNullText(row) }, late)
		} else {
			s = streams.JoinTable(s, t, func(_, v, row string) string { return v + sep + row }, late)
		}
		s.To("out", intKeys, serde.String())
		return b.Build()
	}
	return r, nil
}
