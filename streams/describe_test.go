package streams_test

import (
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

type (
	builder = streams.Builder
	strs    = streams.Stream[string, string]
)

func from(b *builder, topic string, opts ...streams.Option) *strs {
	return streams.From(b, topic, serde.String(), serde.String(), opts...)
}

func to[V any](s *streams.Stream[string, V], topic string, value serde.Serde[V]) {
	s.To(topic, serde.String(), value)
}

func out[V any](t *streams.Table[string, V], topic string, value serde.Serde[V]) {
	to(t.ToStream(), topic, value)
}

func outWindowed[V any](t *streams.Table[streams.Windowed[string], V], value serde.Serde[V]) {
	t.ToStream().To("out", serde.TimeWindowed(serde.String(), time.Minute), value)
}

func yes(_, _ string) bool              { return true }
func value(_, v string) string          { return v }
func pair(k, v string) (string, string) { return k, v }
func first(x, _ string) string          { return x }
func empty() string                     { return "" }
func keep(_, _, agg string) string      { return agg }
func look(_, _ string)                  {}

func words(_, v string) iter.Seq[string] { return strings.FieldsSeq(v) }

func wordPairs(k, v string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) { yield(k, v) }
}

type silent struct{}

func (silent) Init(streams.Context[string, string]) error   { return nil }
func (silent) Process(streams.Record[string, string]) error { return nil }
func (silent) Close() error                                 { return nil }

func quiet() streams.Processor[string, string, string, string] { return silent{} }

func byValue(s *strs, opts ...streams.Option) *streams.Grouped[string, string] {
	return streams.GroupBy(s, value, serde.String(), opts...)
}

var (
	named = streams.Named
	store = streams.Store
	str   = serde.String()
	i64   = serde.Int64()
)

func window() streams.Windows { return streams.Tumbling(time.Minute).Grace(10 * time.Second) }

// described holds the topologies of testdata/describe.txt, spelled here.
func described() map[string]func(b *builder) {
	m := maps.Clone(describedStateless())
	maps.Copy(m, describedAggregations())
	maps.Copy(m, describedWindows())
	maps.Copy(m, describedShared())
	maps.Copy(m, describedJoins())
	maps.Copy(m, describedTableJoins())
	maps.Copy(m, describedMoreWindows())
	maps.Copy(m, describedSuppressions())
	maps.Copy(m, describedCogroups())
	maps.Copy(m, describedGlobals())
	maps.Copy(m, describedTables())
	maps.Copy(m, describedPatterns())
	m["numbers-stateless"] = numbersStateless
	m["numbers-state"] = numbersState
	return m
}

func describedStateless() map[string]func(b *builder) {
	return map[string]func(b *builder){
		"stateless": func(b *builder) {
			s := streams.Map(from(b, "in").Filter(yes).FilterNot(yes), pair)
			s = streams.FlatMapValues(streams.FlatMap(streams.MapValues(s, value), wordPairs), words)
			to(streams.SelectKey(s, value).Peek(look), "out", str)
		},
		"foreach":       func(b *builder) { from(b, "in").ForEach(look) },
		"foreach-named": func(b *builder) { from(b, "in").ForEach(look, named("fe")) },
		"merge":         func(b *builder) { to(from(b, "a").Merge(from(b, "b")), "out", str) },
		"merge-named": func(b *builder) {
			to(from(b, "a").Filter(yes).Merge(streams.MapValues(from(b, "b"), value), named("both")), "out", str)
		},
		"split": func(b *builder) {
			split := from(b, "in").Split()
			one, two, rest := split.Branch(yes), split.Branch(yes), split.Default()
			to(rest, "out0", str)
			to(one, "out1", str)
			to(two, "out2", str)
		},
		"split-named": func(b *builder) {
			split := from(b, "in").Split(named("sp-"))
			x, two, rest := split.Branch(yes, named("x")), split.Branch(yes), split.Default(named("rest"))
			to(two, "out0", str)
			to(rest, "out1", str)
			to(x, "out2", str)
		},
		"split-nodefault": func(b *builder) { to(from(b, "in").Split().Branch(yes, named("-x")), "o", str) },
		"table": func(b *builder) {
			out(streams.TableFrom(b, "in", str, str), "out", str)
		},
		"table-store": func(b *builder) {
			out(streams.TableFrom(b, "in", str, str, store("st")), "out", str)
		},
		"table-named":       func(b *builder) { out(streams.TableFrom(b, "in", str, str, named("src")), "out", str) },
		"table-alone":       func(b *builder) { streams.TableFrom(b, "in", str, str) },
		"table-store-alone": func(b *builder) { streams.TableFrom(b, "in", str, str, store("st")) },
		"same-topic-twice": func(b *builder) {
			to(from(b, "in").Filter(yes), "o1", str)
			to(streams.MapValues(from(b, "in"), value), "o2", str)
		},
		"named-source": func(b *builder) { to(from(b, "in", named("src")), "out", str) },
		"two-sub": func(b *builder) {
			to(from(b, "b"), "o1", str)
			to(from(b, "a"), "o2", str)
		},
		"fanout": func(b *builder) {
			s := from(b, "in")
			to(streams.MapValues(s.Filter(yes), value), "o1", str)
			to(s, "o2", str)
			to(s.Peek(look), "o3", str)
			to(streams.MapValues(streams.MapValues(s.Filter(yes), value), value), "o4", str)
		},
		"process": func(b *builder) {
			kv := streams.NewStore(b, "kv", str, str)
			to(streams.Process(from(b, "in"), quiet, kv), "out", str)
		},
		"process-named-shared": func(b *builder) {
			kv, other := streams.NewStore(b, "kv", str, str), streams.NewStore(b, "other", str, str)
			streams.Process(from(b, "in"), quiet, named("p1"), kv, other)
			streams.Process(from(b, "in2"), quiet, named("p2"), kv)
		},
		"unused-store": func(b *builder) {
			streams.NewStore(b, "kv", str, str)
			to(from(b, "in"), "out", str)
		},
		"repartition": func(b *builder) { to(from(b, "in").Repartition(), "out", str) },
		"diamond": func(b *builder) {
			s := from(b, "in")
			x, y := s.Filter(yes), streams.MapValues(s, value).Peek(look)
			to(y.Merge(x), "o", str)
			to(x, "o2", str)
		},
	}
}

func describedAggregations() map[string]func(b *builder) {
	return map[string]func(b *builder){
		"count-bykey":       func(b *builder) { out(streams.GroupByKey(from(b, "in")).Count(), "out", i64) },
		"count-bykey-store": func(b *builder) { out(streams.GroupByKey(from(b, "in")).Count(store("counts")), "out", i64) },
		"count-bykey-named-store": func(b *builder) {
			streams.GroupByKey(from(b, "in")).Count(named("cnt"), store("counts")).ToStream(named("ts")).
				To("out", str, i64, named("snk"))
		},
		"count-groupby":       func(b *builder) { out(byValue(from(b, "in")).Count(), "out", i64) },
		"count-groupby-store": func(b *builder) { out(byValue(from(b, "in")).Count(store("counts")), "out", i64) },
		"count-groupby-named": func(b *builder) { out(byValue(from(b, "in"), named("grp")).Count(), "out", i64) },
		"count-groupby-named-store": func(b *builder) {
			out(byValue(from(b, "in"), named("grp")).Count(store("counts")), "out", i64)
		},
		"count-groupby-namedop-store": func(b *builder) {
			out(byValue(from(b, "in"), named("grp")).Count(named("cnt"), store("counts")), "out", i64)
		},
		"reduce-bykey":         func(b *builder) { out(streams.GroupByKey(from(b, "in")).Reduce(first), "out", str) },
		"reduce-groupby":       func(b *builder) { out(byValue(from(b, "in")).Reduce(first), "out", str) },
		"reduce-groupby-store": func(b *builder) { out(byValue(from(b, "in")).Reduce(first, store("st")), "out", str) },
		"reduce-named": func(b *builder) {
			out(streams.GroupByKey(from(b, "in")).Reduce(first, named("red")), "out", str)
		},
		"aggregate-bykey": func(b *builder) {
			out(streams.Aggregate(streams.GroupByKey(from(b, "in")), empty, keep, str), "out", str)
		},
		"aggregate-groupby": func(b *builder) {
			out(streams.Aggregate(byValue(from(b, "in")), empty, keep, str), "out", str)
		},
		"aggregate-groupby-store": func(b *builder) {
			out(streams.Aggregate(byValue(from(b, "in")), empty, keep, str, store("st")), "out", str)
		},
		"aggregate-named": func(b *builder) {
			out(streams.Aggregate(byValue(from(b, "in")), empty, keep, str, named("agg")), "out", str)
		},
		"toStream-agg-alone": func(b *builder) { streams.GroupByKey(from(b, "in")).Count() },
		"process-then-count": func(b *builder) {
			out(streams.GroupByKey(streams.Process(from(b, "in"), quiet)).Count(), "out", i64)
		},
		"map-then-bykey": func(b *builder) {
			out(streams.GroupByKey(streams.Map(from(b, "in"), pair)).Count(), "out", i64)
		},
		"bykey-named-norepart": func(b *builder) {
			out(streams.GroupByKey(from(b, "in"), named("grp")).Count(), "out", i64)
		},
		"wordcount": func(b *builder) {
			s := streams.FlatMapValues(from(b, "lines"), words)
			out(byValue(s).Count(store("counts-store")), "counts", i64)
		},
		"repartition-named": func(b *builder) {
			s := streams.SelectKey(from(b, "in"), value).Repartition(named("again"), streams.Partitions(5))
			out(streams.GroupByKey(s).Count(), "out", i64)
		},
		"selectkey-named": func(b *builder) {
			out(streams.GroupByKey(streams.SelectKey(from(b, "in"), value, named("sk"))).Count(), "o", i64)
		},
	}
}

func describedWindows() map[string]func(b *builder) {
	byKey := func(b *builder) *streams.TimeWindowed[string, string] {
		return streams.GroupByKey(from(b, "in")).WindowedBy(window())
	}
	return map[string]func(b *builder){
		"win-count":       func(b *builder) { outWindowed(byKey(b).Count(), i64) },
		"win-count-store": func(b *builder) { outWindowed(byKey(b).Count(store("st")), i64) },
		"win-count-named": func(b *builder) { outWindowed(byKey(b).Count(named("cnt")), i64) },
		"win-count-groupby": func(b *builder) {
			outWindowed(byValue(from(b, "in")).WindowedBy(window()).Count(), i64)
		},
		"win-count-groupby-store": func(b *builder) {
			outWindowed(byValue(from(b, "in")).WindowedBy(window()).Count(store("st")), i64)
		},
		"win-reduce": func(b *builder) { outWindowed(byKey(b).Reduce(first), str) },
		"win-reduce-store": func(b *builder) {
			outWindowed(byValue(from(b, "in")).WindowedBy(window()).Reduce(first, store("st")), str)
		},
		"win-aggregate": func(b *builder) { outWindowed(streams.AggregateWindow(byKey(b), empty, keep, str), str) },
		"win-aggregate-groupby-named-store": func(b *builder) {
			w := byValue(from(b, "in"), named("grp")).WindowedBy(window())
			outWindowed(streams.AggregateWindow(w, empty, keep, str, store("st")), str)
		},
	}
}

func slides() streams.Windows { return streams.Sliding(time.Minute).Grace(10 * time.Second) }

func sessions() streams.SessionWindows { return streams.Sessions(time.Minute).Grace(10 * time.Second) }

func outSessions[V any](t *streams.Table[streams.Windowed[string], V], value serde.Serde[V]) {
	t.ToStream().To("out", serde.SessionWindowed(str), value)
}

func describedMoreWindows() map[string]func(b *builder) {
	slide := func(b *builder) *streams.TimeWindowed[string, string] {
		return streams.GroupByKey(from(b, "in")).WindowedBy(slides())
	}
	session := func(b *builder) *streams.SessionWindowed[string, string] {
		return streams.GroupByKey(from(b, "in")).WindowedBySession(sessions())
	}
	merge := func(_, x, _ string) string { return x }
	return map[string]func(b *builder){
		"slide-count":       func(b *builder) { outWindowed(slide(b).Count(), i64) },
		"slide-count-store": func(b *builder) { outWindowed(byValue(from(b, "in")).WindowedBy(slides()).Count(store("st")), i64) },
		"slide-count-named": func(b *builder) { outWindowed(slide(b).Count(named("cnt")), i64) },
		"slide-reduce":      func(b *builder) { outWindowed(slide(b).Reduce(first), str) },
		"slide-aggregate":   func(b *builder) { outWindowed(streams.AggregateWindow(slide(b), empty, keep, str), str) },
		"unlimited-count": func(b *builder) {
			outWindowed(streams.GroupByKey(from(b, "in")).WindowedBy(streams.Unlimited(time.UnixMilli(0))).Count(), i64)
		},
		"session-count": func(b *builder) { outSessions(session(b).Count(), i64) },
		"session-count-store": func(b *builder) {
			outSessions(byValue(from(b, "in")).WindowedBySession(sessions()).Count(store("st")), i64)
		},
		"session-count-named": func(b *builder) { outSessions(session(b).Count(named("cnt")), i64) },
		"session-reduce":      func(b *builder) { outSessions(session(b).Reduce(first), str) },
		"session-reduce-groupby": func(b *builder) {
			outSessions(byValue(from(b, "in")).WindowedBySession(sessions()).Reduce(first), str)
		},
		"session-aggregate": func(b *builder) {
			outSessions(streams.AggregateSession(session(b), empty, keep, merge, str), str)
		},
		"session-aggregate-named-store": func(b *builder) {
			s := byValue(from(b, "in"), named("grp")).WindowedBySession(sessions())
			outSessions(streams.AggregateSession(s, empty, keep, merge, str, named("agg"), store("st")), str)
		},
		"close-time": func(b *builder) {
			outWindowed(streams.GroupByKey(from(b, "in")).WindowedBy(window()).EmitStrategy(streams.OnWindowClose).Count(), i64)
		},
		"close-slide":   func(b *builder) { outWindowed(slide(b).EmitStrategy(streams.OnWindowClose).Reduce(first), str) },
		"close-session": func(b *builder) { outSessions(session(b).EmitStrategy(streams.OnWindowClose).Count(store("st")), i64) },
	}
}

func describedSuppressions() map[string]func(b *builder) {
	closed := streams.UntilWindowCloses(streams.Unbounded())
	limit := streams.UntilTimeLimit(time.Second, streams.MaxRecords(5))
	count := func(b *builder, opts ...streams.Option) *streams.Table[streams.Windowed[string], int64] {
		return streams.GroupByKey(from(b, "in")).WindowedBy(window()).Count(opts...)
	}
	return map[string]func(b *builder){
		"suppress":       func(b *builder) { outWindowed(count(b).Suppress(closed), i64) },
		"suppress-named": func(b *builder) { outWindowed(count(b, store("st")).Suppress(closed, named("sup")), i64) },
		"suppress-session": func(b *builder) {
			outSessions(streams.GroupByKey(from(b, "in")).WindowedBySession(sessions()).Count().Suppress(closed), i64)
		},
		"suppress-time": func(b *builder) { out(streams.GroupByKey(from(b, "in")).Count().Suppress(limit), "out", i64) },
		"suppress-time-named": func(b *builder) {
			out(byValue(from(b, "in")).Count().Suppress(limit, named("sup")), "out", i64)
		},
		"suppress-table-store": func(b *builder) {
			t := streams.TableFrom(b, "in", str, str, store("st"))
			out(t.Suppress(streams.UntilTimeLimit(time.Second, streams.Unbounded())), "out", str)
		},
		"suppress-table": func(b *builder) { out(tables(b, "in").Suppress(limit), "out", str) },
	}
}

func describedCogroups() map[string]func(b *builder) {
	byKey := func(b *builder, topic string) *streams.Grouped[string, string] {
		return streams.GroupByKey(from(b, topic))
	}
	two := func(one, other *streams.Grouped[string, string]) *streams.Cogrouped[string, string] {
		return streams.CogroupWith(streams.Cogroup(one, keep), other, keep)
	}
	both := func(b *builder) *streams.Cogrouped[string, string] { return two(byKey(b, "one"), byKey(b, "two")) }
	merge := func(_, x, _ string) string { return x }
	return map[string]func(b *builder){
		"cogroup-one":         func(b *builder) { out(streams.Cogroup(byKey(b, "in"), keep).Aggregate(empty, str), "out", str) },
		"cogroup":             func(b *builder) { out(both(b).Aggregate(empty, str), "out", str) },
		"cogroup-store":       func(b *builder) { out(both(b).Aggregate(empty, str, store("st")), "out", str) },
		"cogroup-named":       func(b *builder) { out(both(b).Aggregate(empty, str, named("cg")), "out", str) },
		"cogroup-named-store": func(b *builder) { out(both(b).Aggregate(empty, str, named("cg"), store("st")), "out", str) },
		"cogroup-groupby-store": func(b *builder) {
			out(two(byValue(from(b, "one")), byKey(b, "two")).Aggregate(empty, str, store("st")), "out", str)
		},
		"cogroup-groupby-named": func(b *builder) {
			g := two(byValue(from(b, "one"), named("g1")), byValue(from(b, "two"), named("g2")))
			out(g.Aggregate(empty, str, named("cg"), store("st")), "out", str)
		},
		"cogroup-time":  func(b *builder) { outWindowed(both(b).WindowedBy(window()).Aggregate(empty, str), str) },
		"cogroup-slide": func(b *builder) { outWindowed(both(b).WindowedBy(slides()).Aggregate(empty, str, store("st")), str) },
		"cogroup-session": func(b *builder) {
			outSessions(both(b).WindowedBySession(sessions()).Aggregate(empty, merge, str, named("cg")), str)
		},
		"cogroup-session-groupby": func(b *builder) {
			g := two(byValue(from(b, "one")), byValue(from(b, "two"), named("g2")))
			outSessions(g.WindowedBySession(sessions()).Aggregate(empty, merge, str), str)
		},
	}
}

func describedShared() map[string]func(b *builder) {
	two := func(count *streams.Table[string, int64], agg func() *streams.Table[string, string]) {
		out(count, "o1", i64)
		out(agg(), "o2", str)
	}
	windowed := func(count *streams.Table[streams.Windowed[string], int64], agg func() *streams.Table[streams.Windowed[string], string]) {
		count.ToStream().To("o1", serde.TimeWindowed(str, time.Minute), i64)
		agg().ToStream().To("o2", serde.TimeWindowed(str, time.Minute), str)
	}
	return map[string]func(b *builder){
		"shared-grouped": func(b *builder) {
			g := byValue(from(b, "in"), named("grp"))
			two(g.Count(store("c")), func() *streams.Table[string, string] {
				return streams.Aggregate(g, empty, keep, str, store("a"))
			})
		},
		"shared-grouped-unnamed": func(b *builder) {
			g := byValue(from(b, "in"))
			two(g.Count(store("c")), func() *streams.Table[string, string] {
				return streams.Aggregate(g, empty, keep, str, store("a"))
			})
		},
		"shared-windowed": func(b *builder) {
			w := byValue(from(b, "in"), named("grp")).WindowedBy(window())
			windowed(w.Count(store("c")), func() *streams.Table[streams.Windowed[string], string] {
				return streams.AggregateWindow(w, empty, keep, str, store("a"))
			})
		},
		"shared-windowed-twice": func(b *builder) {
			g := byValue(from(b, "in"), named("grp"))
			windowed(g.WindowedBy(window()).Count(store("c")), func() *streams.Table[streams.Windowed[string], string] {
				return streams.AggregateWindow(g.WindowedBy(window()), empty, keep, str, store("a"))
			})
		},
		"agg-twice-regrouped": func(b *builder) {
			counts := byValue(from(b, "in")).Count(store("c1")).ToStream()
			again := streams.SelectKey(counts, func(k string, _ int64) string { return k + "x" })
			sum := streams.GroupByKey(again).Reduce(func(x, y int64) int64 { return x + y }, store("r1"))
			out(sum, "out", i64)
		},
		"merge-after-key": func(b *builder) {
			s := streams.SelectKey(from(b, "a"), value).Merge(from(b, "b"))
			out(streams.GroupByKey(s).Count(store("m")), "o", i64)
		},
	}
}

// numbersStateless shows which named operators take a number all the same.
func numbersStateless(b *builder) {
	s := from(b, "in", named("src")).Filter(yes).Filter(yes, named("n-filter")).Peek(look)
	s = streams.MapValues(streams.Map(s, pair, named("n-map")).Peek(look), value, named("n-mapvalues")).Peek(look)
	s = streams.FlatMap(s, wordPairs, named("n-flatmap")).Peek(look)
	s = streams.FlatMapValues(s, words, named("n-flatmapvalues")).Peek(look)
	s = streams.SelectKey(s, value, named("n-selectkey")).Peek(look).Peek(look, named("n-peek")).Peek(look)
	s.To("out", str, str, named("n-sink"))
	s.ForEach(look, named("n-foreach"))
	s.ForEach(look)
	streams.Process(s, quiet, named("n-process")).Peek(look)
	to(s.Merge(from(b, "in2"), named("n-merge")), "out2", str)
	split := s.Split(named("n-split"))
	x := split.Branch(yes, named("-x"))
	split.Default(named("-rest"))
	to(x, "out3", str)
}

// numbersState does so for operators with state.
func numbersState(b *builder) {
	s := from(b, "in")
	to(streams.TableFrom(b, "t", str, str, named("n-table"), store("n-tstore")).ToStream(named("n-ts")), "o1", str)
	out(streams.GroupByKey(s).Count(named("n-count")), "o2", i64)
	out(streams.GroupByKey(s).Reduce(first, named("n-reduce"), store("rs")), "o3", str)
	out(streams.GroupByKey(s).Reduce(first, store("rs2")), "o3b", str)
	out(streams.Aggregate(streams.GroupByKey(s), empty, keep, str, named("n-agg"), store("as")), "o4", str)
	w := streams.GroupByKey(s).WindowedBy(streams.Tumbling(time.Minute))
	key := serde.TimeWindowed(str, time.Minute)
	w.Reduce(first, named("n-wreduce"), store("ws")).ToStream().To("o5", key, str)
	streams.AggregateWindow(w, empty, keep, str, named("n-wagg"), store("was")).ToStream().To("o6", key, str)
	w.Count(named("n-wc"), store("wcs")).ToStream().To("o7", key, i64)
	out(byValue(s, named("n-grp")).Count(named("n-gc"), store("gcs")), "o8", i64)
}

// TestDescribeIsKafkaStreams compares with what Kafka Streams 4.3.1 prints for
// the same topologies.
func TestDescribeIsKafkaStreams(t *testing.T) {
	data, err := os.ReadFile("testdata/describe.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, part := range strings.Split(string(data), "\n== ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		want[name] = text
	}
	topologies := described()
	for name := range want {
		if topologies[name] == nil {
			t.Errorf("no topology is named %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(topologies)) {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			topologies[name](b)
			topo, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimRight(want[name], "\n")+"\n\n", topo.Describe()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
