package streamstest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// TestConformance runs the cases of testdata/cases, or of the folder that
// WEIR_CASES names. A case whose operator does not exist yet is skipped by the
// name of the operator.
func TestConformance(t *testing.T) {
	dir := filepath.Join("testdata", "cases")
	if d, ok := os.LookupEnv("WEIR_CASES"); ok {
		dir = d
	}
	cases, err := readCases(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) { runCase(t, c) })
	}
}

func runCase(t *testing.T, c testCase) {
	missing := map[string]string{
		"ssjoin": "stream-stream join", "selfjoin": "self join", "stjoin": "stream-table join",
		"gtjoin": "global table join", "ttjoin": "table-table join", "fkjoin": "foreign-key join",
		"slidewin": "sliding window", "sesswin": "session window", "winsuppress": "suppress",
		"ktagg": "table aggregation", "cogroup": "cogroup",
	}
	if name, ok := missing[c.op]; ok {
		t.Skipf("operator %s (%s) does not exist yet", c.op, name)
	}
	if c.op != "timewin" {
		t.Fatalf("%s:%d: unknown op %q", c.file, c.line, c.op)
	}
	tw, err := parseTimeWin(&c)
	if err != nil {
		t.Fatalf("%s:%d: %v", c.file, c.line, err)
	}
	if tw.onClose {
		t.Skip("operator timewin with emit=close does not exist yet")
	}
	if err := tw.run(&c, nil); err != nil {
		t.Errorf("%s:%d: %v", c.file, c.line, err)
	}
	if tw.agg == "reduce" {
		return // a null value that comes first is a row without a cache only
	}
	if err := tw.run(&c, []streams.Option{streams.NoCache()}); err != nil {
		t.Errorf("%s:%d, without a cache: %v", c.file, c.line, err)
	}
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

// nullable is text that a lambda can tell from null.
type nullable = *string

type nullableSerde struct{}

func (nullableSerde) Append(dst []byte, _ string, v nullable) ([]byte, error) {
	return append(dst, *v...), nil
}

func (nullableSerde) Decode(_ string, b []byte) (nullable, error) {
	s := string(b)
	return &s, nil
}

// say is the text of a value inside an aggregate, as Java prints it.
func say(v nullable) string {
	if v == nil {
		return "null"
	}
	return *v
}

// topology builds groupByKey, windowedBy and the aggregation from T to out. All
// aggregates leave as text.
func (tw *timeWin) topology(opts []streams.Option) (*streams.Topology, error) {
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

// run replays the lines of a case.
func (tw *timeWin) run(c *testCase, opts []streams.Option) error {
	topo, err := tw.topology(opts)
	if err != nil {
		return err
	}
	d, err := streamstest.New(topo)
	if err != nil {
		return err
	}
	in := streamstest.Input(d, "T", serde.String(), serde.String())
	for i := range c.body {
		l := &c.body[i]
		if l.verb != "in" {
			got, err := tw.drain(d)
			if err == nil {
				err = l.check(got)
			}
			if err != nil {
				return err
			}
			continue
		}
		if l.topic != "T" {
			return fmt.Errorf("line %d: timewin reads T, not %s", l.line, l.topic)
		}
		for _, r := range l.recs {
			if err := in.PipeRecord(record(r)); err != nil {
				return fmt.Errorf("line %d, %s: %w", l.line, r, err)
			}
		}
	}
	return d.Close()
}

func record(r caseRec) streams.Record[string, string] {
	out := streams.Record[string, string]{NullKey: r.key == nil, NullValue: r.value == nil, Timestamp: r.at}
	if r.key != nil {
		out.Key = *r.key
	}
	if r.value != nil {
		out.Value = *r.value
	}
	return out
}

// drain returns what was emitted, in the text of a case.
func (tw *timeWin) drain(d *streamstest.Driver) ([]caseRec, error) {
	key := serde.TimeWindowed(serde.String(), tw.windows.Size())
	if tw.agg == "count" {
		return drain(streamstest.Output(d, "out", key, serde.Int64()), func(n int64) string { return strconv.FormatInt(n, 10) })
	}
	return drain(streamstest.Output(d, "out", key, serde.String()), strings.Clone)
}

func drain[V any](out *streamstest.OutputTopic[streams.Windowed[string], V], show func(V) string) ([]caseRec, error) {
	recs, err := out.Drain()
	if err != nil {
		return nil, err
	}
	list := make([]caseRec, 0, len(recs))
	for _, r := range recs {
		k := fmt.Sprintf("%s[%d,%d)", r.Key.Key, r.Key.Start, r.Key.End)
		c := caseRec{key: &k, at: r.Timestamp}
		if !r.NullValue {
			v := show(r.Value)
			c.value = &v
		}
		list = append(list, c)
	}
	return list, nil
}
