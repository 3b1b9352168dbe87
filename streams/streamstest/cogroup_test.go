package streamstest_test

import (
	"strings"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// cogroupRig is the rig of the op cogroup: the streams one, two and three, and
// an aggregate that is their values in a row.
func cogroupRig(c *testCase) (*rig, error) {
	return &rig{
		build: func(opts ...streams.Option) (*streams.Topology, error) {
			b := streams.NewBuilder()
			add := func(_, v, agg string) string { return agg + v }
			group := func(topic string) *streams.Grouped[string, string] {
				return streams.GroupByKey(streams.From(b, topic, serde.String(), serde.String()))
			}
			all := streams.Cogroup(group("one"), add)
			all = streams.CogroupWith(streams.CogroupWith(all, group("two"), add), group("three"), add)
			none := func() string { return "" }
			all.Aggregate(none, serde.String(), opts...).ToStream().To("out", serde.String(), serde.String())
			return b.Build()
		},
		inputs: texts("one", "two", "three"),
		drain: func(d *streamstest.Driver) ([]caseRec, error) {
			return drain(d, "out", serde.String(), serde.String(), strings.Clone, strings.Clone)
		},
		cached: true, uncached: true,
	}, c.only()
}
