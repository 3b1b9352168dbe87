package streamstest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// timeWinRig is the rig of the op timewin.
func timeWinRig(c *testCase) (*rig, error) {
	wc, err := parseWindows(c, "size", "advance")
	if err != nil {
		return nil, err
	}
	return wc.rig(), wc.aligned(c)
}

// windowCase is a windowed aggregation from T to out.
type windowCase struct {
	windows    streams.Windows        // of time and sliding windows
	sessions   streams.SessionWindows // of session windows
	isSession  bool
	show       frameText
	retention  time.Duration // 0: the default
	grace      time.Duration
	agg        string
	onClose    bool
	suppressed bool // rows leave twice, as raw: and as S: once they are final
}

// parseWindows reads what all windows have in common; keys are those of one op.
func parseWindows(c *testCase, keys ...string) (*windowCase, error) {
	if err := c.only(append(keys, "grace", "agg", "emit", "retention")...); err != nil {
		return nil, err
	}
	wc := &windowCase{agg: c.args["agg"]}
	var err error
	if wc.grace, err = c.duration("grace", 0); err != nil {
		return nil, err
	}
	if wc.retention, err = c.duration("retention", 0); err != nil {
		return nil, err
	}
	emit, ok := c.args["emit"]
	if ok && emit != "close" && emit != "update" {
		return nil, fmt.Errorf("unknown emit=%s", emit)
	}
	wc.onClose = emit == "close"
	switch wc.agg {
	case "count", "concat0", "concat", "reduce", "chars":
		return wc, nil
	default:
		return nil, fmt.Errorf("unknown agg=%s", wc.agg)
	}
}

// duration is an argument in milliseconds; a missing one is def, and a missing
// one without def is an error.
func (c *testCase) duration(key string, def int64) (time.Duration, error) {
	if _, ok := c.args[key]; !ok && def < 0 {
		return 0, fmt.Errorf("op %s needs %s", c.op, key)
	}
	n, err := c.millis(key, def)
	return time.Duration(n) * time.Millisecond, err
}

// aligned sets windows of a size and an advance.
func (wc *windowCase) aligned(c *testCase) error {
	size, err := c.duration("size", -1)
	if err != nil {
		return err
	}
	advance, err := c.duration("advance", size.Milliseconds())
	wc.windows, wc.show = streams.Hopping(size, advance).Grace(wc.grace), frameText{end: ")"}
	return err
}

// slide sets windows of a time difference.
func (wc *windowCase) slide(c *testCase) error {
	diff, err := c.duration("diff", -1)
	wc.windows, wc.show = streams.Sliding(diff).Grace(wc.grace), frameText{end: "]"}
	return err
}

// session sets sessions of a gap.
func (wc *windowCase) session(c *testCase) error {
	gap, err := c.duration("gap", -1)
	if wc.retention == 0 {
		wc.retention = 3*gap + wc.grace
	}
	wc.sessions, wc.show, wc.isSession = streams.Sessions(gap).Grace(wc.grace), frameText{end: "]"}, true
	return err
}

func (wc *windowCase) rig() *rig {
	return &rig{
		build: wc.topology, inputs: texts("T"),
		drain: func(d *streamstest.Driver) ([]caseRec, error) {
			return drain(d, "out", serde.String(), serde.String(), strings.Clone, strings.Clone)
		},
		// a null value that comes first is a row without a cache only
		cached: true, uncached: wc.agg != "reduce",
	}
}

// topology builds groupByKey, windowedBy and the aggregation.
func (wc *windowCase) topology(opts ...streams.Option) (*streams.Topology, error) {
	b := streams.NewBuilder()
	in := streams.From(b, "T", serde.String(), serde.Serde[nullable](nullableSerde{}))
	if wc.retention > 0 {
		opts = append(opts, streams.Retention(wc.retention))
	}
	g := streams.GroupByKey(in)
	switch wc.agg {
	case "count":
		write(wc, wc.count(g, opts), decimal{})
	case "reduce":
		write(wc, wc.reduce(g, opts), serde.Serde[nullable](nullableSerde{}))
	case "concat0":
		write(wc, wc.concat(g, "0", "+", opts), serde.String())
	case "concat":
		write(wc, wc.concat(g, "", "+", opts), serde.String())
	case "chars":
		write(wc, wc.concat(g, "", "", opts), serde.String())
	}
	return b.Build()
}

type (
	grouped        = streams.Grouped[string, nullable]
	windows[V any] = streams.Table[streams.Windowed[string], V]
)

func (wc *windowCase) count(g *grouped, opts []streams.Option) *windows[int64] {
	if wc.isSession {
		return wc.bySession(g).Count(opts...)
	}
	return wc.byTime(g).Count(opts...)
}

func (wc *windowCase) reduce(g *grouped, opts []streams.Option) *windows[nullable] {
	combine := func(v1, v2 nullable) nullable {
		s := say(v1) + "+" + say(v2)
		return &s
	}
	if wc.isSession {
		return wc.bySession(g).Reduce(combine, opts...)
	}
	return wc.byTime(g).Reduce(combine, opts...)
}

func (wc *windowCase) concat(g *grouped, initial, sep string, opts []streams.Option) *windows[string] {
	start := func() string { return initial }
	add := func(_ string, v nullable, agg string) string { return agg + sep + say(v) }
	if wc.isSession {
		merge := func(_, a, b string) string { return a + sep + b }
		return streams.AggregateSession(wc.bySession(g), start, add, merge, serde.String(), opts...)
	}
	return streams.AggregateWindow(wc.byTime(g), start, add, serde.String(), opts...)
}

func (wc *windowCase) byTime(g *grouped) *streams.TimeWindowed[string, nullable] {
	w := g.WindowedBy(wc.windows)
	if wc.onClose {
		return w.EmitStrategy(streams.OnWindowClose)
	}
	return w
}

func (wc *windowCase) bySession(g *grouped) *streams.SessionWindowed[string, nullable] {
	w := g.WindowedBySession(wc.sessions)
	if wc.onClose {
		return w.EmitStrategy(streams.OnWindowClose)
	}
	return w
}

// write lets the rows leave.
func write[V any](wc *windowCase, t *windows[V], value serde.Serde[V]) {
	if !wc.suppressed {
		t.ToStream().To("out", wc.show, value)
		return
	}
	t.ToStream().To("out", wc.show.with("raw:"), value)
	t.Suppress(streams.UntilWindowCloses(streams.Unbounded())).ToStream().To("out", wc.show.with("S:"), value)
}

// frameText writes a windowed key as a case does.
type frameText struct{ prefix, end string }

func (f frameText) with(prefix string) frameText { return frameText{prefix, f.end} }

func (f frameText) Append(dst []byte, _ string, w streams.Windowed[string]) ([]byte, error) {
	return fmt.Appendf(dst, "%s%s[%d,%d%s", f.prefix, w.Key, w.Start, w.End, f.end), nil
}

func (frameText) Decode(string, []byte) (w streams.Windowed[string], err error) { return w, nil }

// decimal writes a number as a case does.
type decimal struct{}

func (decimal) Append(dst []byte, _ string, n int64) ([]byte, error) {
	return strconv.AppendInt(dst, n, 10), nil
}

func (decimal) Decode(_ string, b []byte) (int64, error) { return strconv.ParseInt(string(b), 10, 64) }

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
		if r, err := timeWinRig(&testCase{op: "timewin", args: args}); err == nil {
			t.Errorf("%v was read as %+v", args, r)
		}
	}
}
