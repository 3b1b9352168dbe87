package streamstest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// timeWinRig is the rig of the op timewin.
func timeWinRig(c *testCase) (*rig, error) {
	tw, err := parseTimeWin(c)
	if err != nil {
		return nil, err
	}
	r := &rig{build: tw.topology, inputs: texts("T"), drain: tw.drain}
	if tw.onClose {
		r.missing = "emit on close"
	}
	// a null value that comes first is a row without a cache only
	r.cached, r.uncached = true, tw.agg != "reduce"
	return r, nil
}

// timeWin is the operator of a timewin case.
type timeWin struct {
	windows   streams.Windows
	retention time.Duration // 0: the default
	agg       string
	onClose   bool
}

func parseTimeWin(c *testCase) (*timeWin, error) {
	if err := c.only("size", "advance", "grace", "agg", "emit", "retention"); err != nil {
		return nil, err
	}
	if _, ok := c.args["size"]; !ok {
		return nil, fmt.Errorf("timewin needs size")
	}
	tw := &timeWin{agg: c.args["agg"]}
	size, err := c.millis("size", 0)
	if err != nil {
		return nil, err
	}
	advance, err := c.millis("advance", size)
	if err != nil {
		return nil, err
	}
	grace, err := c.millis("grace", 0)
	if err != nil {
		return nil, err
	}
	retention, err := c.millis("retention", 0)
	if err != nil {
		return nil, err
	}
	ms := time.Millisecond
	tw.windows = streams.Hopping(time.Duration(size)*ms, time.Duration(advance)*ms).Grace(time.Duration(grace) * ms)
	tw.retention = time.Duration(retention) * ms
	switch emit, ok := c.args["emit"]; {
	case ok && emit != "close":
		return nil, fmt.Errorf("unknown emit=%s", emit)
	default:
		tw.onClose = ok
	}
	switch tw.agg {
	case "count", "concat0", "concat", "reduce", "chars":
		return tw, nil
	default:
		return nil, fmt.Errorf("unknown agg=%s", tw.agg)
	}
}

// topology builds groupByKey, windowedBy and the aggregation from T to out. All
// aggregates leave as text.
func (tw *timeWin) topology(opts ...streams.Option) (*streams.Topology, error) {
	b := streams.NewBuilder()
	in := streams.From(b, "T", serde.String(), serde.Serde[nullable](nullableSerde{}))
	if tw.retention > 0 {
		opts = append(opts, streams.Retention(tw.retention))
	}
	w := streams.GroupByKey(in).WindowedBy(tw.windows)
	concat := func(initial, sep string) *streams.Stream[streams.Windowed[string], string] {
		return streams.AggregateWindow(w,
			func() string { return initial },
			func(_ string, v nullable, agg string) string { return agg + sep + say(v) },
			serde.String(), opts...).ToStream()
	}
	key := serde.TimeWindowed(serde.String(), tw.windows.Size())
	switch tw.agg {
	case "count":
		w.Count(opts...).ToStream().To("out", key, serde.Int64())
	case "concat0":
		concat("0", "+").To("out", key, serde.String())
	case "concat":
		concat("", "+").To("out", key, serde.String())
	case "chars":
		concat("", "").To("out", key, serde.String())
	case "reduce":
		w.Reduce(func(v1, v2 nullable) nullable {
			s := say(v1) + "+" + say(v2)
			return &s
		}, opts...).ToStream().To("out", key, serde.Serde[nullable](nullableSerde{}))
	}
	return b.Build()
}

// drain returns what was emitted, in the text of a case.
func (tw *timeWin) drain(d *streamstest.Driver) ([]caseRec, error) {
	key := serde.TimeWindowed(serde.String(), tw.windows.Size())
	if tw.agg == "count" {
		return drain(d, "out", key, serde.Int64(), timeKey, number)
	}
	return drain(d, "out", key, serde.String(), timeKey, strings.Clone)
}

// timeKey is the text of a key in a time window.
func timeKey(k streams.Windowed[string]) string {
	return fmt.Sprintf("%s[%d,%d)", k.Key, k.Start, k.End)
}

func TestParseTimeWinRefuses(t *testing.T) {
	for _, args := range []map[string]string{
		{"agg": "count"},
		{"size": "10"},
		{"size": "x", "agg": "count"},
		{"size": "10", "advance": "x", "agg": "count"},
		{"size": "10", "grace": "x", "agg": "count"},
		{"size": "10", "retention": "x", "agg": "count"},
		{"size": "10", "agg": "median"},
		{"size": "10", "agg": "count", "emit": "sometimes"},
		{"size": "10", "agg": "count", "color": "red"},
	} {
		if tw, err := parseTimeWin(&testCase{op: "timewin", args: args}); err == nil {
			t.Errorf("%v was read as %+v", args, tw)
		}
	}
}
