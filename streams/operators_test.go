package streams_test

import (
	"fmt"
	"iter"
	"maps"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// TestOperators replays the transcripts of testdata/operators, one file for each
// operator. Commands: topology NAME starts one; pipe has lines "TOPIC rec..." and
// prints what goes out, record by record; clock moves the wall clock; dropped
// prints the dropped records. A record is KEY=VALUE@TIME, ~ is null.
func TestOperators(t *testing.T) {
	topologies := operators()
	maps.Copy(topologies, windowOperators())
	maps.Copy(topologies, tableOperators())
	datadriven.Walk(t, "testdata/operators", func(t *testing.T, path string) {
		var d *streamstest.Driver
		var skipped []string
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			switch td.Cmd {
			case "topology":
				name := td.CmdArgs[0].Key
				if topologies[name] == nil {
					t.Fatalf("%s: no topology is named %s", td.Pos, name)
				}
				d = start(t, topologies[name], streamstest.SkipErrors(func(err *processor.Error) { skipped = append(skipped, err.Error()) }))
				return ""
			case "pipe":
				return pipe(t, d, td.Input, &skipped)
			case "clock":
				by, err := time.ParseDuration(td.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.AdvanceWallClock(by); err != nil {
					t.Fatal(err)
				}
				return drained(d)
			case "dropped":
				return dropped(d)
			default:
				t.Fatalf("%s: unknown command %s", td.Pos, td.Cmd)
				return ""
			}
		})
	})
}

func start(t *testing.T, build func(b *builder), opts ...streamstest.Option) *streamstest.Driver {
	t.Helper()
	b := streams.NewBuilder()
	build(b)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d, err := streamstest.New(topo, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func pipe(t *testing.T, d *streamstest.Driver, input string, skipped *[]string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		for _, w := range words[1:] {
			m := streams.Message{Topic: words[0]}
			at := strings.LastIndexByte(w, '@')
			ts, err := strconv.ParseInt(w[at+1:], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			k, v, _ := strings.Cut(w[:at], "=")
			m.Key, m.Value, m.Timestamp = orNull(k), orNull(v), ts
			if err := d.PipeMessage(m); err != nil {
				t.Fatal(err)
			}
			for _, text := range *skipped {
				b.WriteString("error: " + text + "\n")
			}
			*skipped = nil
			b.WriteString(drained(d))
		}
	}
	return b.String()
}

func orNull(s string) []byte {
	if s == "~" {
		return nil
	}
	return []byte(s)
}

func orTilde(b []byte) string {
	if b == nil {
		return "~"
	}
	return string(b)
}

func drained(d *streamstest.Driver) string {
	var b strings.Builder
	for _, m := range d.Drain() {
		fmt.Fprintf(&b, "%s %s=%s@%d\n", m.Topic, orTilde(m.Key), orTilde(m.Value), m.Timestamp)
	}
	return b.String()
}

func dropped(d *streamstest.Driver) string {
	_, reasons := d.Dropped()
	var list []string
	for reason, n := range reasons {
		list = append(list, fmt.Sprintf("%s %d\n", reason, n))
	}
	sort.Strings(list)
	return strings.Join(list, "")
}

// digits is an int64 as text, so that transcripts can be read.
type digits struct{}

func (digits) Append(dst []byte, _ string, v int64) ([]byte, error) {
	return strconv.AppendInt(dst, v, 10), nil
}

func (digits) Decode(_ string, b []byte) (int64, error) { return strconv.ParseInt(string(b), 10, 64) }

// frame is a windowed key as text.
type frame struct{}

func (frame) Append(dst []byte, _ string, w streams.Windowed[string]) ([]byte, error) {
	return fmt.Appendf(dst, "%s[%d,%d)", w.Key, w.Start, w.End), nil
}

func (frame) Decode(string, []byte) (w streams.Windowed[string], err error) { return w, nil }

func num(b *builder, topic string) *streams.Stream[string, int64] {
	return streams.From(b, topic, str, serde.Serde[int64](digits{}))
}

func show[V any](t *streams.Table[string, V], value serde.Serde[V]) {
	t.ToStream().To("out", str, value)
}

func frames[V any](t *streams.Table[streams.Windowed[string], V], value serde.Serde[V]) {
	t.ToStream().To("out", frame{}, value)
}

func long(_, v string) bool      { return len(v) > 1 }
func sum(a, b int64) int64       { return a + b }
func list(_, v, l string) string { return l + v }

func letters(_, v string) iter.Seq[string] { return strings.SplitSeq(v, "") }

func swapped(k, v string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for c := range strings.SplitSeq(v, "") {
			if !yield(c, k) {
				return
			}
		}
	}
}

func operators() map[string]func(b *builder) {
	m := operatorsOfStreams()
	maps.Copy(m, operatorsOfJoins())
	maps.Copy(m, moreOperators())
	return m
}

func operatorsOfStreams() map[string]func(b *builder) {
	ms := time.Millisecond
	ten := streams.Tumbling(10 * ms)
	return map[string]func(b *builder){
		"filter":    func(b *builder) { to(from(b, "in").Filter(long), "out", str) },
		"filternot": func(b *builder) { to(from(b, "in").FilterNot(long), "out", str) },
		"map": func(b *builder) {
			to(streams.Map(from(b, "in"), func(k, v string) (string, string) { return v, k }), "out", str)
		},
		"mapvalues": func(b *builder) {
			to(streams.MapValues(from(b, "in"), func(k, v string) string { return k + v }), "out", str)
		},
		"flatmap":       func(b *builder) { to(streams.FlatMap(from(b, "in"), swapped), "out", str) },
		"flatmapvalues": func(b *builder) { to(streams.FlatMapValues(from(b, "in"), letters), "out", str) },
		"selectkey":     func(b *builder) { to(streams.SelectKey(from(b, "in"), value), "out", str) },
		"merge":         func(b *builder) { to(from(b, "a").Merge(from(b, "b")), "out", str) },
		"merge-itself":  func(b *builder) { s := from(b, "in"); to(s.Merge(s.Filter(long)), "out", str) },
		"peek": func(b *builder) {
			seen := 0
			to(streams.MapValues(from(b, "in").Peek(func(_, _ string) { seen++ }), func(_, _ string) string { return strconv.Itoa(seen) }), "out", str)
		},
		"foreach": func(b *builder) {
			seen := 0
			s := from(b, "in")
			s.ForEach(func(_, _ string) { seen++ })
			to(streams.MapValues(s, func(_, _ string) string { return strconv.Itoa(seen) }), "out", str)
		},
		"split": func(b *builder) {
			split := from(b, "in").Split()
			to(split.Branch(long), "long", str)
			to(split.Branch(func(k, _ string) bool { return k == "a" }), "a", str)
			to(split.Default(), "rest", str)
		},
		"split-drops": func(b *builder) { to(from(b, "in").Split().Branch(long), "long", str) },
		"to-twice":    func(b *builder) { s := from(b, "in"); to(s, "one", str); to(s, "two", str) },
		"to-source": func(b *builder) {
			to(from(b, "in"), "next", str)
			to(streams.MapValues(from(b, "next"), func(_, v string) string { return v + "!" }), "out", str)
		},
		"repartition-plain": func(b *builder) { to(from(b, "in").Repartition(), "out", str) },
		"repartition":       func(b *builder) { to(streams.SelectKey(from(b, "in"), value).Repartition(), "out", str) },
		"table":             func(b *builder) { show(streams.TableFrom(b, "in", str, str), str) },
		"table-store":       func(b *builder) { show(streams.TableFrom(b, "in", str, str, store("t")), str) },
		"table-versioned": func(b *builder) {
			show(streams.TableFrom(b, "in", str, str, store("t"), streams.Versioned(10*ms)), str)
		},
		"count-versioned": func(b *builder) {
			show(streams.GroupByKey(from(b, "in")).Count(streams.Versioned(10*ms)), digits{})
		},
		"groupby":    func(b *builder) { show(byValue(from(b, "in")).Count(), digits{}) },
		"groupbykey": func(b *builder) { show(streams.GroupByKey(from(b, "in")).Count(), digits{}) },
		"count-uncached": func(b *builder) {
			show(streams.GroupByKey(from(b, "in")).Count(streams.NoCache()), digits{})
		},
		"reduce":    func(b *builder) { show(streams.GroupByKey(num(b, "in")).Reduce(sum), digits{}) },
		"aggregate": func(b *builder) { show(streams.Aggregate(streams.GroupByKey(from(b, "in")), empty, list, str), str) },
		"tumbling": func(b *builder) {
			frames(streams.GroupByKey(from(b, "in")).WindowedBy(ten).Count(), digits{})
		},
		"hopping": func(b *builder) {
			w := streams.GroupByKey(from(b, "in")).WindowedBy(streams.Hopping(10*ms, 5*ms).Grace(5 * ms))
			frames(streams.AggregateWindow(w, empty, list, str), str)
		},
		"grace-forever": func(b *builder) {
			frames(streams.GroupByKey(from(b, "in")).WindowedBy(ten.Grace(streams.Forever)).Count(), digits{})
		},
		"reduce-windowed": func(b *builder) {
			frames(streams.GroupByKey(num(b, "in")).WindowedBy(ten.Grace(100*ms)).Reduce(sum, streams.NoCache()), digits{})
		},
		"process": func(b *builder) {
			seen := streams.NewStore(b, "seen", str, serde.Int64())
			to(streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &nth{ref: seen} }, seen), "out", str)
		},
		"timestamp": func(b *builder) {
			at := func(m *streams.Message) (int64, error) { return strconv.ParseInt(string(m.Value), 10, 64) }
			to(from(b, "in", streams.TimestampFrom(at)), "out", str)
		},
		"two-steps": func(b *builder) {
			counts := byValue(from(b, "in")).Count(store("c")).ToStream()
			odd := streams.GroupBy(counts, func(_ string, n int64) string { return strconv.FormatInt(n%2, 10) }, str)
			show(odd.Reduce(sum, store("r")), digits{})
		},
	}
}

func windowOperators() map[string]func(b *builder) {
	ms := time.Millisecond
	byKey := func(b *builder) *streams.Grouped[string, string] { return streams.GroupByKey(from(b, "in")) }
	ten, slide, gap := streams.Tumbling(10*ms), streams.Sliding(10*ms), streams.Sessions(10*ms)
	join := func(_, x, y string) string { return x + y }
	two := func(b *builder) *streams.Cogrouped[string, string] {
		return streams.CogroupWith(streams.Cogroup(streams.GroupByKey(from(b, "one")), list), streams.GroupByKey(from(b, "two")), list)
	}
	count := func(b *builder) *streams.Table[string, int64] { return byKey(b).Count() }
	return map[string]func(b *builder){
		"sliding": func(b *builder) {
			frames(streams.AggregateWindow(byKey(b).WindowedBy(slide.Grace(10*ms)), empty, list, str, streams.NoCache()), str)
		},
		"sliding-close": func(b *builder) {
			frames(byKey(b).WindowedBy(slide).EmitStrategy(streams.OnWindowClose).Count(), digits{})
		},
		"sessions": func(b *builder) {
			frames(streams.AggregateSession(byKey(b).WindowedBySession(gap), empty, list, join, str), str)
		},
		"sessions-close": func(b *builder) {
			frames(byKey(b).WindowedBySession(gap.Grace(5*ms)).EmitStrategy(streams.OnWindowClose).Count(), digits{})
		},
		"sessions-reduce": func(b *builder) {
			frames(streams.GroupByKey(num(b, "in")).WindowedBySession(gap).Reduce(sum, streams.NoCache()), digits{})
		},
		"unlimited": func(b *builder) {
			frames(byKey(b).WindowedBy(streams.Unlimited(time.UnixMilli(5))).Count(), digits{})
		},
		"close": func(b *builder) {
			frames(byKey(b).WindowedBy(ten.Grace(5*ms)).EmitStrategy(streams.OnWindowClose).Count(), digits{})
		},
		"suppress": func(b *builder) {
			frames(byKey(b).WindowedBy(ten).Count().Suppress(streams.UntilWindowCloses(streams.Unbounded())), digits{})
		},
		"suppress-limit": func(b *builder) {
			show(count(b).Suppress(streams.UntilTimeLimit(10*ms, streams.Unbounded())), digits{})
		},
		"suppress-early": func(b *builder) {
			show(count(b).Suppress(streams.UntilTimeLimit(streams.Forever, streams.MaxRecords(1))), digits{})
		},
		"suppress-strict": func(b *builder) {
			show(count(b).Suppress(streams.UntilTimeLimit(streams.Forever, streams.MaxRecords(1).ShutDownWhenFull())), digits{})
		},
		"cogroup":         func(b *builder) { show(two(b).Aggregate(empty, str), str) },
		"cogroup-windows": func(b *builder) { frames(two(b).WindowedBy(ten).Aggregate(empty, str), str) },
		"cogroup-sessions": func(b *builder) {
			frames(two(b).WindowedBySession(gap).Aggregate(empty, join, str), str)
		},
	}
}

// nth tells of each record how often its key has come, and every 10 ms of wall
// clock how many keys there are.
type nth struct {
	ref  streams.StoreRef[string, int64]
	ctx  streams.Context[string, string]
	seen streams.KV[string, int64]
}

func (p *nth) Init(ctx streams.Context[string, string]) (err error) {
	p.ctx = ctx
	if p.seen, err = p.ref.Open(ctx); err != nil {
		return err
	}
	ctx.Schedule(10*time.Millisecond, streams.WallClock, p.report)
	return nil
}

func (p *nth) Process(r streams.Record[string, string]) error {
	n, _, err := p.seen.Get(r.Key)
	if err != nil {
		return err
	}
	if err := p.seen.Put(r.Key, n+1); err != nil {
		return err
	}
	r.Value = strconv.FormatInt(n+1, 10)
	return p.ctx.Forward(r)
}

func (p *nth) report(now int64) error {
	n := 0
	for _, err := range p.seen.All(false) {
		if err != nil {
			return err
		}
		n++
	}
	return p.ctx.Forward(streams.Record[string, string]{Key: "keys", Value: strconv.Itoa(n), Timestamp: now})
}

func (p *nth) Close() error { return nil }
