package streams_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// TestBuildReportsMistakes: each mistake is one TopologyError that names the
// operator and this file.
func TestBuildReportsMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		build func(b *builder)
		op    string
		want  string
		is    error
	}{
		"empty topic": {
			build: func(b *builder) { from(b, "") },
			op:    "KSTREAM-SOURCE-0000000000", want: "name is empty",
		},
		"illegal topic": {
			build: func(b *builder) { from(b, "a b") },
			op:    "KSTREAM-SOURCE-0000000000", want: `"a b" holds a character`,
		},
		"dots": {
			build: func(b *builder) { from(b, "..") },
			op:    "KSTREAM-SOURCE-0000000000", want: "cannot be a name",
		},
		"long name": {
			build: func(b *builder) { from(b, strings.Repeat("x", 250)) },
			op:    "KSTREAM-SOURCE-0000000000", want: "longer than 249 bytes",
		},
		"nil serde": {
			build: func(b *builder) { streams.From[string, string](b, "in", nil, str) },
			op:    "KSTREAM-SOURCE-0000000000", want: "serde is nil",
		},
		"nil serde of a table": {
			build: func(b *builder) { streams.TableFrom[string, string](b, "in", str, nil) },
			op:    "KTABLE-SOURCE-0000000002", want: "serde is nil",
		},
		"illegal name": {
			build: func(b *builder) { from(b, "in").Filter(yes, named("a/b")) },
			op:    "a/b", want: "holds a character",
		},
		"nil filter": {
			build: func(b *builder) { from(b, "in").Filter(nil) },
			op:    "KSTREAM-FILTER-0000000001", want: "function is nil",
		},
		"nil map": {
			build: func(b *builder) { streams.Map[string, string, string, string](from(b, "in"), nil) },
			op:    "KSTREAM-MAP-0000000001", want: "function is nil",
		},
		"nil branch": {
			build: func(b *builder) { from(b, "in").Split().Branch(nil) },
			op:    "KSTREAM-BRANCH-00000000011", want: "function is nil",
		},
		"branch after default": {
			build: func(b *builder) {
				split := from(b, "in").Split(named("s"))
				split.Default()
				split.Branch(yes, named("late"))
			},
			op: "slate", want: "gets no records",
		},
		"nil reducer": {
			build: func(b *builder) { streams.GroupByKey(from(b, "in")).Reduce(nil) },
			op:    "KSTREAM-REDUCE-0000000002", want: "function is nil",
		},
		"nil initial": {
			build: func(b *builder) { streams.Aggregate(streams.GroupByKey(from(b, "in")), nil, keep, str, named("agg")) },
			op:    "agg", want: "function is nil",
		},
		"nil supplier": {
			build: func(b *builder) { streams.Process[string, string, string, string](from(b, "in"), nil, named("p")) },
			op:    "p", want: "supplier is nil",
		},
		"name taken": {
			build: func(b *builder) { from(b, "in").Filter(yes, named("x")).Filter(yes, named("x")) },
			op:    "x", want: "taken",
		},
		"store taken": {
			build: func(b *builder) {
				streams.GroupByKey(from(b, "in")).Count(store("c"))
				streams.GroupByKey(from(b, "in2")).Count(store("c"), named("second"))
			},
			op: "second", want: "store named c exists",
		},
		"illegal store": {
			build: func(b *builder) { streams.NewStore(b, "k v", str, str) },
			op:    "k v", want: "holds a character",
		},
		"store with a nil serde": {
			build: func(b *builder) { streams.NewStore[string, string](b, "kv", str, nil) },
			op:    "kv", want: "serde is nil",
		},
		"repartition topic taken": {
			build: func(b *builder) {
				byValue(from(b, "in"), named("g")).Count(store("a"))
				streams.GroupByKey(streams.SelectKey(from(b, "in2"), value), named("g")).Count(store("b"), named("second"))
			},
			op: "second", want: "g-repartition", is: streams.ErrDuplicate,
		},
		"source name taken": {
			build: func(b *builder) { from(b, "a", named("s")); from(b, "b", named("s")) },
			op:    "s", want: "taken", is: streams.ErrDuplicate,
		},
		"table and stream": {
			build: func(b *builder) { streams.TableFrom(b, "in", str, str); from(b, "in") },
			op:    "KSTREAM-SOURCE-0000000003", want: "either a table or streams", is: streams.ErrDuplicate,
		},
		"window store without size": {
			build: func(b *builder) { streams.NewWindowStore(b, "w", 0, str, str) },
			op:    "w", want: "positive number of milliseconds", is: streams.ErrWindow,
		},
		"window store that forgets too early": {
			build: func(b *builder) {
				streams.NewWindowStore(b, "w", time.Minute, str, str, streams.Retention(time.Second))
			},
			op: "w", want: "shorter than the windows need", is: streams.ErrWindow,
		},
		"session store without retention": {
			build: func(b *builder) { streams.NewSessionStore(b, "s", 0, str, str) },
			op:    "s", want: "not positive",
		},
		"nil supplier of values": {
			build: func(b *builder) { streams.ProcessValues[string, string, string](from(b, "in"), nil, named("p")) },
			op:    "p", want: "supplier is nil",
		},
		"print nowhere": {
			build: func(b *builder) { from(b, "in").Print(nil, named("p")) },
			op:    "p", want: "function is nil",
		},
		"option of a store without one": {
			build: func(b *builder) { from(b, "in").ToTable(named("t"), streams.NoCache()) },
			op:    "t", want: "NoCache", is: streams.ErrOption,
		},
		"no topics": {
			build: func(b *builder) { fromAll(b) },
			op:    "KSTREAM-SOURCE-0000000000", want: "no topic is named",
		},
		"topic named twice": {
			build: func(b *builder) { fromAll(b, "a", "b", "a") },
			op:    "KSTREAM-SOURCE-0000000000", want: "topic a is named twice",
		},
		"topics that overlap": {
			build: func(b *builder) { fromAll(b, "a", "b"); fromAll(b, "b", "c") },
			op:    "KSTREAM-SOURCE-0000000001", want: "topic b is already read by KSTREAM-SOURCE-0000000000, with other topics", is: streams.ErrDuplicate,
		},
		"partitions of other types": {
			build: func(b *builder) {
				from(b, "in").To("out", str, str, named("k"), streams.PartitionBy(func(k, v int64, n int32) int32 { return 0 }))
			},
			op: "k", want: "does not choose partitions here",
		},
		"partitions of a join that are not foreign": {
			build: func(b *builder) {
				l, r := tables(b, "l"), tables(b, "r")
				streams.JoinForeign(l, r, lastLetter, leftRight, named("j"), streams.PartitionBy(func(k, v string, n int32) int32 { return 0 }))
			},
			op: "j-result", want: "does not choose partitions here",
		},
		"grace without versions": {
			build: func(b *builder) {
				streams.JoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str), both, named("j"), streams.Grace(time.Second))
			},
			op: "j", want: "only a versioned table",
		},
		"grace beyond the history": {
			build: func(b *builder) {
				rows := streams.TableFrom(b, "t", str, str, store("t"), streams.Versioned(time.Second))
				streams.JoinTable(from(b, "s"), rows, both, named("j"), streams.Grace(time.Minute))
			},
			op: "j", want: "longer than the history",
		},
		"negative grace of a table": {
			build: func(b *builder) {
				rows := streams.TableFrom(b, "t", str, str, store("t"), streams.Versioned(time.Second))
				streams.JoinTable(from(b, "s"), rows, both, named("j"), streams.Grace(-1))
			},
			op: "j", want: "negative",
		},
		"join without function": {
			build: func(b *builder) {
				streams.Join[string, string, string, string](from(b, "l"), from(b, "r"), nil, joinWindow())
			},
			op: "Join of KSTREAM-SOURCE-0000000000 and KSTREAM-SOURCE-0000000001", want: "function is nil",
		},
		"left join without function": {
			build: func(b *builder) {
				streams.LeftJoin[string, string, string, string](from(b, "l"), from(b, "r"), nil, joinWindow(), named("j"))
			},
			op: "j", want: "function is nil",
		},
		"join across builders": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(streams.NewBuilder(), "r"), both, joinWindow(), named("j"))
			},
			op: "j", want: "different builders",
		},
		"join window of less than nothing": {
			build: func(b *builder) {
				w := joinWindow().Before(-2 * time.Minute)
				streams.Join(from(b, "l"), from(b, "r"), both, w, named("j"))
			},
			op: "j", want: "make no window", is: streams.ErrWindow,
		},
		"join window of a microsecond": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(b, "r"), both, streams.Within(time.Microsecond), named("j"))
			},
			op: "j", want: "whole milliseconds", is: streams.ErrWindow,
		},
		"join with negative grace": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(b, "r"), both, joinWindow().Grace(-1), named("j"))
			},
			op: "j", want: "negative", is: streams.ErrWindow,
		},
		"join with a cache": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("j"), streams.NoCache())
			},
			op: "j", want: "NoCache", is: streams.ErrOption,
		},
		"join with another serde": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("j"), streams.OtherSerde(i64))
			},
			op: "j", want: "does not encode string",
		},
		"join with an illegal name": {
			build: func(b *builder) { streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("a b")) },
			op:    "a b", want: "holds a character",
		},
		"join name taken": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("j"))
				streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("j"))
			},
			op: "j", want: "taken",
		},
		"table join without function": {
			build: func(b *builder) {
				streams.JoinTable[string, string, string, string](from(b, "s"), streams.TableFrom(b, "t", str, str), nil, named("j"))
			},
			op: "j", want: "function is nil",
		},
		"table join across builders": {
			build: func(b *builder) {
				streams.JoinTable(from(b, "s"), streams.TableFrom(streams.NewBuilder(), "t", str, str), both, named("j"))
			},
			op: "j", want: "different builders",
		},
		"table join with a store": {
			build: func(b *builder) {
				streams.JoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str), both, named("j"), store("x"))
			},
			op: "j", want: "Store", is: streams.ErrOption,
		},
		"global join without function": {
			build: func(b *builder) {
				g := streams.GlobalTableFrom(b, "g", str, str)
				streams.JoinGlobal[string, string, string, string, string](from(b, "s"), g, nil, both, named("j"))
			},
			op: "j", want: "function is nil",
		},
		"global join across builders": {
			build: func(b *builder) {
				g := streams.GlobalTableFrom(streams.NewBuilder(), "g", str, str)
				streams.LeftJoinGlobal(from(b, "s"), g, byText, orRight, named("j"))
			},
			op: "j", want: "different builders",
		},
		"global table with a nil serde": {
			build: func(b *builder) { streams.GlobalTableFrom[string, string](b, "g", nil, str, named("g")) },
			op:    "g", want: "serde is nil",
		},
		"global table of a topic that is taken": {
			build: func(b *builder) { from(b, "g"); streams.GlobalTableFrom(b, "g", str, str, named("x")) },
			op:    "x", want: "already read", is: streams.ErrDuplicate,
		},
		"second timestamp": {
			build: func(b *builder) {
				from(b, "in")
				from(b, "in", streams.TimestampFrom(func(m *streams.Message) (int64, error) { return m.Timestamp, nil }))
			},
			op: "KSTREAM-SOURCE-0000000001", want: "first reading",
		},
		"read a repartition topic": {
			build: func(b *builder) { from(b, "in").Repartition(named("r")); from(b, "r-repartition") },
			op:    "KSTREAM-SOURCE-0000000004", want: "repartition topic", is: streams.ErrDuplicate,
		},
		"foreign stream": {
			build: func(b *builder) { from(b, "in").Merge(from(streams.NewBuilder(), "in")) },
			op:    "KSTREAM-MERGE-0000000001", want: "different builders",
		},
		"foreign store": {
			build: func(b *builder) {
				streams.NewStore(b, "kv", str, str)
				streams.Process(from(b, "in"), quiet, named("p"), streams.NewStore(streams.NewBuilder(), "kv", str, str))
			},
			op: "p", want: "kv belongs to another builder",
		},
		"sink without serde": {
			build: func(b *builder) { from(b, "in").To("out", nil, str, named("k")) },
			op:    "k", want: "serde is nil",
		},
		"sink without topic": {
			build: func(b *builder) { from(b, "in").To("", str, str, named("k")) },
			op:    "k", want: "name is empty",
		},
		"option of another operator": {
			build: func(b *builder) { from(b, "in").Filter(yes, store("s")) },
			op:    "KSTREAM-FILTER-0000000001", want: "Store", is: streams.ErrOption,
		},
		"store option of a table without store": {
			build: func(b *builder) { streams.TableFrom(b, "in", str, str, streams.NoCache()) },
			op:    "KTABLE-SOURCE-0000000002", want: "NoCache", is: streams.ErrOption,
		},
		"join of tables of two builders": {
			build: func(b *builder) { streams.JoinTables(tables(b, "l"), tables(streams.NewBuilder(), "r"), left) },
			op:    "KTABLE-MERGE-0000000003", want: "different builders",
		},
		"foreign join of two builders": {
			build: func(b *builder) {
				streams.JoinForeign(tables(b, "l"), tables(streams.NewBuilder(), "r"), pointed, left)
			},
			op: "KTABLE-FK-JOIN-OUTPUT-0000000015", want: "different builders",
		},
		"cache of a filter without store": {
			build: func(b *builder) { tables(b, "in").Filter(yes, streams.NoCache()) },
			op:    "KTABLE-FILTER-0000000003", want: "NoCache", is: streams.ErrOption,
		},
		"grouping without serdes": {
			build: func(b *builder) { streams.GroupTableBy(tables(b, "in"), swap, nil, str) },
			op:    "KTABLE-SELECT-0000000003", want: "a serde is nil",
		},
		"reduce without subtractor": {
			build: func(b *builder) { groups(tables(b, "in")).Reduce(first, nil) },
			op:    "KTABLE-REDUCE-0000000007", want: "the function is nil",
		},
		"versions without a store": {
			build: func(b *builder) { streams.TableFrom(b, "in", str, str, streams.Versioned(time.Hour)) },
			op:    "KTABLE-SOURCE-0000000002", want: "option does not apply: Versioned", is: streams.ErrOption,
		},
		"negative history": {
			build: func(b *builder) { streams.TableFrom(b, "in", str, str, store("t"), streams.Versioned(-time.Hour)) },
			op:    "KTABLE-SOURCE-0000000001", want: "history of the store is negative",
		},
		"retention without windows": {
			build: func(b *builder) { streams.GroupByKey(from(b, "in")).Count(streams.Retention(time.Hour)) },
			op:    "KSTREAM-AGGREGATE-0000000002", want: "Retention", is: streams.ErrOption,
		},
		"serde of another type": {
			build: func(b *builder) { streams.GroupByKey(from(b, "in"), streams.ValueSerde(serde.Int64())) },
			op:    "GroupByKey of KSTREAM-SOURCE-0000000000", want: "does not encode string",
		},
		"key serde of another type": {
			build: func(b *builder) { streams.GroupByKey(from(b, "in"), streams.KeySerde(serde.Int64())) },
			op:    "GroupByKey of KSTREAM-SOURCE-0000000000", want: "does not encode string",
		},
		"count as text": {
			build: func(b *builder) { streams.GroupByKey(from(b, "in")).Count(streams.ValueSerde(str)) },
			op:    "KSTREAM-AGGREGATE-0000000002", want: "does not encode int64",
		},
		"nil group serde": {
			build: func(b *builder) { streams.GroupBy(from(b, "in"), value, nil, named("g")) },
			op:    "g", want: "serde is nil",
		},
		"nil selector": {
			build: func(b *builder) { streams.GroupBy[string, string, string](from(b, "in"), nil, str, named("g")) },
			op:    "g", want: "function is nil",
		},
		"illegal group": {
			build: func(b *builder) { streams.GroupByKey(from(b, "in"), named("")) },
			op:    "GroupByKey of KSTREAM-SOURCE-0000000000", want: "name is empty",
		},
		"no partitions": {
			build: func(b *builder) { from(b, "in").Repartition(named("r"), streams.Partitions(0)) },
			op:    "r", want: "at least one partition",
		},
		"illegal repartition name": {
			build: func(b *builder) { from(b, "in").Repartition(named("r r")) },
			op:    "r r", want: "holds a character",
		},
		"window of nothing": {
			build: windowed(streams.Tumbling(0)), op: windowedOp, want: "size 0s", is: streams.ErrWindow,
		},
		"window of microseconds": {
			build: windowed(streams.Tumbling(1500 * time.Microsecond)), op: windowedOp, want: "size 1.5ms", is: streams.ErrWindow,
		},
		"advance over size": {
			build: windowed(streams.Hopping(10*time.Millisecond, 11*time.Millisecond)), op: windowedOp, want: "advance 11ms", is: streams.ErrWindow,
		},
		"no advance": {
			build: windowed(streams.Hopping(10*time.Millisecond, 0)), op: windowedOp, want: "advance 0s", is: streams.ErrWindow,
		},
		"negative grace": {
			build: windowed(streams.Tumbling(time.Second).Grace(-1)), op: windowedOp, want: "grace -1ns", is: streams.ErrWindow,
		},
		"short retention": {
			build: func(b *builder) {
				streams.GroupByKey(from(b, "in")).WindowedBy(window()).Count(streams.Retention(time.Minute), named("c"))
			},
			op: "c", want: "retention 1m0s is shorter", is: streams.ErrWindow,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			tc.build(b)
			topo, err := b.Build()
			if topo != nil {
				t.Error("a topology with a mistake was built")
			}
			var te *streams.TopologyError
			if !errors.As(err, &te) {
				t.Fatalf("error %v, want a TopologyError", err)
			}
			if te.Op != tc.op || !strings.Contains(te.Pos, "_test.go:") {
				t.Errorf("operator %q at %q, want %q in a test file", te.Op, te.Pos, tc.op)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %q is not %q", err, tc.is)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("one mistake gave more than one error: %q", err)
			}
		})
	}
}

const windowedOp = "WindowedBy of KSTREAM-SOURCE-0000000000"

func windowed(w streams.Windows) func(b *builder) {
	return func(b *builder) { streams.GroupByKey(from(b, "in")).WindowedBy(w).Count() }
}

func TestBuildJoinsMistakesInOrder(t *testing.T) {
	b := streams.NewBuilder()
	from(b, "in").Filter(nil, named("one"))
	from(b, "in").Filter(nil, named("two"))
	_, err := b.Build()
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "one (") || !strings.HasPrefix(lines[1], "two (") {
		t.Errorf("error %q, want one line for each operator, in order", err)
	}
}

func TestBuildRefusesNothing(t *testing.T) {
	if _, err := streams.NewBuilder().Build(); !errors.Is(err, streams.ErrEmpty) {
		t.Errorf("error %v, want %v", err, streams.ErrEmpty)
	}
}

func TestBuilderIsSpentOnceBuilt(t *testing.T) {
	b := streams.NewBuilder()
	s := from(b, "in")
	to(s, "out", str)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	before := topo.Describe()
	to(s, "more", str)
	streams.NewStore(b, "kv", str, str)
	if diff := cmp.Diff(before, topo.Describe()); diff != "" {
		t.Error(diff)
	}
	_, err = b.Build()
	if err == nil || !strings.Contains(err.Error(), "built already") || !strings.Contains(err.Error(), "built before") {
		t.Errorf("error %v, want both the operator and the second Build", err)
	}
}

// TestFailedHandlesDoNothing: after a mistake every operator may be called on
// what it returned, and none adds an error or a node.
func TestFailedHandlesDoNothing(t *testing.T) {
	b := streams.NewBuilder()
	bad := from(b, "a b")
	onStreams(b, bad)
	onGroups(bad)
	onGroups(bad.Filter(yes))
	_, err := b.Build()
	if n := len(strings.Split(err.Error(), "\n")); n != 1 {
		t.Errorf("%d errors, want the first only: %v", n, err)
	}
}

func onStreams(b *builder, bad *strs) {
	bad.Filter(yes).FilterNot(yes).Peek(look).Merge(bad).Repartition().ForEach(look)
	from(b, "good").Merge(bad)
	bad.To("out", str, str)
	split := bad.Split()
	split.Branch(yes)
	split.Default()
	streams.Map(bad, pair)
	streams.MapValues(bad, value)
	streams.FlatMap(bad, wordPairs)
	streams.FlatMapValues(bad, words)
	streams.SelectKey(bad, value)
	streams.Process(bad, quiet)
}

func onGroups(bad *strs) {
	byValue(bad)
	streams.LeftJoin(bad, bad, orRight, joinWindow()).Peek(look)
	streams.OuterJoin(bad, streams.Join(bad, bad, both, joinWindow()), orEither, joinWindow())
	streams.LeftJoinTable(streams.JoinTable(bad, streams.GroupByKey(bad).Reduce(first), both), nil, orRight)
	streams.JoinGlobal(streams.LeftJoinGlobal(bad, nil, byText, orRight), &streams.GlobalTable[string, string]{}, byText, both)
	g := streams.GroupByKey(bad)
	g.Count().ToStream().Peek(func(string, int64) {})
	g.Reduce(first).ToStream()
	streams.Aggregate(g, empty, keep, str).ToStream()
	w := g.WindowedBy(window())
	w.Count().ToStream()
	w.Reduce(first).ToStream()
	streams.AggregateWindow(w, empty, keep, str).ToStream()
}

func TestRequireNames(t *testing.T) {
	build := func(f func(b *builder)) error {
		b := streams.NewBuilder(streams.RequireNames())
		f(b)
		_, err := b.Build()
		return err
	}
	for name, f := range map[string]func(b *builder){
		"store":             func(b *builder) { streams.GroupByKey(from(b, "in")).Count() },
		"window store":      func(b *builder) { streams.GroupByKey(from(b, "in")).WindowedBy(window()).Count() },
		"repartition topic": func(b *builder) { from(b, "in").Repartition() },
		"stores of a join":  func(b *builder) { streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("j")) },
		"topic of a join": func(b *builder) {
			streams.Join(rekeyed(from(b, "l")), from(b, "r"), both, joinWindow(), store("j"))
		},
		"rows of a joined table": func(b *builder) {
			streams.JoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str), both)
		},
		"what waits for late rows": func(b *builder) {
			rows := streams.TableFrom(b, "t", str, str, store("t"), streams.Versioned(time.Minute))
			streams.JoinTable(from(b, "s"), rows, both, streams.Grace(time.Second))
		},
	} {
		if err := build(f); !errors.Is(err, streams.ErrUnnamed) {
			t.Errorf("%s: error %v, want %v", name, err, streams.ErrUnnamed)
		}
	}
	for name, f := range map[string]func(b *builder){
		"nothing to name":       func(b *builder) { to(from(b, "in").Filter(yes), "out", str) },
		"store":                 func(b *builder) { streams.GroupByKey(from(b, "in")).Count(store("c")) },
		"topic named after it":  func(b *builder) { byValue(from(b, "in")).Count(store("c")) },
		"named repartition":     func(b *builder) { from(b, "in").Repartition(named("r")) },
		"table without a store": func(b *builder) { streams.TableFrom(b, "in", str, str) },
		"join": func(b *builder) {
			streams.Join(rekeyed(from(b, "l")), from(b, "r"), both, joinWindow(), named("j"), store("j"))
		},
		"joined table": func(b *builder) {
			streams.JoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str, store("rows")), both)
		},
		"both named":             func(b *builder) { byValue(from(b, "in"), named("g")).Count(store("c")) },
		"two groups of one name": func(b *builder) { g := byValue(from(b, "in"), named("g")); g.Count(store("c")); g.Count(store("d")) },
	} {
		if err := build(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
