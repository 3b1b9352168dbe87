package streamstest_test

import (
	"fmt"
	"strings"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// gtJoinRig is the rig of the op gtjoin.
func gtJoinRig(c *testCase) (*rig, error) {
	if err := c.only("kind", "sep"); err != nil {
		return nil, err
	}
	kind, sep := c.args["kind"], c.args["sep"]
	if kind != "inner" && kind != "left" {
		return nil, fmt.Errorf("unknown kind=%s", kind)
	}
	r := &rig{inputs: ints("L"), drain: drainInts, cached: true}
	r.inputs["G"] = texts("G")["G"]
	r.build = func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		s := streams.From(b, "L", intKeys, serde.String())
		g := streams.GlobalTableFrom(b, "G", serde.String(), serde.String())
		by := func(_, v string) (string, bool) {
			_, key, ok := strings.Cut(v, ",")
			return key, ok
		}
		if kind == "left" {
			s = streams.LeftJoinGlobal(s, g, by, func(_, v string, row *string) string { return v + sep + orNullText(row) }, opts...)
		} else {
			s = streams.JoinGlobal(s, g, by, func(_, v, row string) string { return v + sep + row }, opts...)
		}
		s.To("out", intKeys, serde.String())
		return b.Build()
	}
	return r, nil
}
