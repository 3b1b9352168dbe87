package streamstest_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// tableSide is one input of a case whose table is plain or versioned.
type tableSide struct {
	topic   string
	history time.Duration // 0 is plain
}

// side reads what an argument says about the table of a topic.
func (c *testCase) side(arg, topic string) (tableSide, error) {
	hist, err := c.millis("hist", 300_000)
	if err != nil {
		return tableSide{}, err
	}
	switch c.args[arg] {
	case "", "plain":
		return tableSide{topic: topic}, nil
	case "versioned":
		return tableSide{topic, time.Duration(hist) * time.Millisecond}, nil
	default:
		return tableSide{}, fmt.Errorf("unknown %s=%s", arg, c.args[arg])
	}
}

func (s tableSide) table(b *streams.Builder, opts ...streams.Option) *streams.Table[string, string] {
	opts = append(opts, streams.Store("store-"+s.topic))
	if s.history > 0 {
		opts = append(opts, streams.Versioned(s.history))
	}
	return streams.TableFrom(b, s.topic, serde.String(), serde.String(), opts...)
}

// textRig is the rig of an op from text to text.
func textRig(build func(opts ...streams.Option) (*streams.Topology, error), topics ...string) *rig {
	return &rig{build: build, inputs: texts(topics...), cached: true, uncached: true, drain: func(d *streamstest.Driver) ([]caseRec, error) {
		return drain(d, "out", serde.String(), serde.String(), strings.Clone, strings.Clone)
	}}
}

// ttJoinRig is the rig of the op ttjoin.
func ttJoinRig(c *testCase) (*rig, error) {
	if err := c.only("kind", "left", "right", "hist", "sep"); err != nil {
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
	join, err := tableJoiner(c.args["kind"], c.args["sep"])
	if err != nil {
		return nil, err
	}
	return textRig(func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		l, r := left.table(b, opts...), right.table(b, opts...)
		join(l, r, append(opts, streams.Store("joined"))...).ToStream().To("out", serde.String(), serde.String())
		return b.Build()
	}, "L", "R"), nil
}

type table = streams.Table[string, string]

func tableJoiner(kind, sep string) (func(l, r *table, opts ...streams.Option) *table, error) {
	switch kind {
	case "inner":
		return func(l, r *table, opts ...streams.Option) *table {
			return streams.JoinTables(l, r, func(_, l, r string) string { return l + sep + r }, opts...)
		}, nil
	case "left":
		return func(l, r *table, opts ...streams.Option) *table {
			return streams.LeftJoinTables(l, r, func(_, l string, r *string) string { return l + sep + say(r) }, opts...)
		}, nil
	case "outer":
		return func(l, r *table, opts ...streams.Option) *table {
			return streams.OuterJoinTables(l, r, func(_ string, l, r *string) string { return say(l) + sep + say(r) }, opts...)
		}, nil
	default:
		return nil, fmt.Errorf("unknown kind=%s", kind)
	}
}
