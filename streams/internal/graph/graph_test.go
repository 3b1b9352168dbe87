package graph_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/streams/internal/graph"
)

// failer is what *testing.T and *rapid.T have in common here.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func must(t failer, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// counting is in → rekey → x-repartition → count (store c) → out.
func counting(t *testing.T, partitions int32) *graph.Topology {
	b := graph.NewBuilder()
	must(t,
		b.AddSource("src", "in"),
		b.AddProcessor("rekey", "src"),
		b.AddRepartition(graph.Repartition{Name: "x-repartition", Partitions: partitions}),
		b.AddSink("x-sink", "x-repartition", "rekey"),
		b.AddSource("x-src", "x-repartition"),
		b.AddProcessor("count", "x-src"),
		b.AddStore(graph.Store{Name: "c", Logged: true}),
		b.AddStore(graph.Store{Name: "unused", Logged: true}),
		b.Connect("count", "c"),
		b.AddSink("sink", "out", "count"),
	)
	return b.Build()
}

func TestBuildCutsAtRepartitionTopics(t *testing.T) {
	topo := counting(t, 0)
	if n := len(topo.Subtopologies); n != 2 {
		t.Fatalf("%d sub-topologies, want 2", n)
	}
	up, down := topo.Subtopologies[0], topo.Subtopologies[1]
	if diff := cmp.Diff([]string{"in"}, up.Sources); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"x-repartition"}, up.Outlets); diff != "" {
		t.Error(diff)
	}
	if len(up.Stores) != 0 || len(down.Sources) != 0 {
		t.Errorf("stores upstream %v, sources downstream %v; want none", up.Stores, down.Sources)
	}
	if diff := cmp.Diff([]string{"app-x-repartition"}, down.SourceTopics("app")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"out"}, down.Sinks); diff != "" {
		t.Error(diff)
	}
	if _, ok := down.Store("c"); !ok {
		t.Error("store c is not in the sub-topology of its operator")
	}
	if _, ok := down.Store("unused"); ok {
		t.Error("a store without an operator is part of the topology")
	}
	if diff := cmp.Diff([]string{"in"}, topo.Sources()); diff != "" {
		t.Error(diff)
	}
}

func TestAStoreJoinsSubtopologies(t *testing.T) {
	b := graph.NewBuilder()
	must(t,
		b.AddSource("s1", "t1"), b.AddSource("s2", "t2"),
		b.AddProcessor("p1", "s1"), b.AddProcessor("p2", "s2"),
		b.AddStore(graph.Store{Name: "kv"}), b.Connect("p1", "kv"), b.Connect("p2", "kv"), b.Connect("p2", "kv"),
	)
	topo := b.Build()
	if n := len(topo.Subtopologies); n != 1 {
		t.Fatalf("%d sub-topologies, want 1", n)
	}
	if diff := cmp.Diff([]string{"t1", "t2"}, topo.Subtopologies[0].Sources); diff != "" {
		t.Error(diff)
	}
	if n := len(topo.Subtopologies[0].Stores); n != 1 {
		t.Errorf("%d stores, want 1", n)
	}
}

func TestBuilderRefusesClashes(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(b *graph.Builder) error
		want string
	}{
		"node name":         {func(b *graph.Builder) error { return b.AddProcessor("src") }, "taken"},
		"topic":             {func(b *graph.Builder) error { return b.AddSource("other", "in") }, "already read by src"},
		"source name":       {func(b *graph.Builder) error { return b.AddSource("src", "other") }, "taken"},
		"missing parent":    {func(b *graph.Builder) error { return b.AddSink("k", "t", "nobody") }, "nobody"},
		"store":             {func(b *graph.Builder) error { return b.AddStore(graph.Store{Name: "kv"}) }, "exists already"},
		"store of no node":  {func(b *graph.Builder) error { return b.Connect("nobody", "kv") }, "nobody"},
		"node of no store":  {func(b *graph.Builder) error { return b.Connect("src", "nothing") }, "nothing"},
		"repartition topic": {func(b *graph.Builder) error { return b.AddRepartition(graph.Repartition{Name: "r"}) }, "exists already"},
	} {
		t.Run(name, func(t *testing.T) {
			b := graph.NewBuilder()
			must(t, b.AddSource("src", "in"), b.AddStore(graph.Store{Name: "kv"}), b.AddRepartition(graph.Repartition{Name: "r"}))
			err := tc.do(b)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
			if n := len(b.Build().Subtopologies[0].Nodes); n != 1 {
				t.Errorf("%d nodes after a refusal, want 1", n)
			}
		})
	}
}

func partitions(counts map[string]int32) func(string) (int32, bool) {
	return func(topic string) (int32, bool) {
		n, ok := counts[topic]
		return n, ok
	}
}

func TestPlanFollowsTheLargestSourceUpstream(t *testing.T) {
	p, err := counting(t, 0).Plan("app", partitions(map[string]int32{"in": 6}))
	must(t, err)
	if diff := cmp.Diff([]int32{6, 6}, p.Tasks); diff != "" {
		t.Error(diff)
	}
	want := &graph.Plan{
		Tasks: []int32{6, 6},
		Repartitions: []graph.InternalTopic{{Name: "app-x-repartition", Partitions: 6, Config: map[string]string{
			"cleanup.policy": "delete", "retention.ms": "-1", "segment.bytes": "52428800", "message.timestamp.type": "CreateTime",
		}}},
		Changelogs: []graph.InternalTopic{{Name: "app-c-changelog", Partitions: 6, Config: map[string]string{
			"cleanup.policy": "compact", "message.timestamp.type": "CreateTime",
		}}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
}

func TestPlanTakesAGivenPartitionCount(t *testing.T) {
	p, err := counting(t, 3).Plan("app", partitions(map[string]int32{"in": 6}))
	must(t, err)
	if diff := cmp.Diff([]int32{6, 3}, p.Tasks); diff != "" {
		t.Error(diff)
	}
}

func TestPlanNamesEveryMissingTopic(t *testing.T) {
	b := graph.NewBuilder()
	must(t, b.AddSource("s1", "t1"), b.AddSource("s2", "t2"))
	_, err := b.Build().Plan("app", partitions(nil))
	if !errors.Is(err, graph.ErrNoTopic) || !strings.Contains(err.Error(), "t1") || !strings.Contains(err.Error(), "t2") {
		t.Errorf("error %v, want both topics", err)
	}
}

func TestPlanRefusesACountThatDependsOnItself(t *testing.T) {
	b := graph.NewBuilder()
	must(t,
		b.AddRepartition(graph.Repartition{Name: "loop-repartition"}),
		b.AddSource("s", "loop-repartition"), b.AddSink("k", "loop-repartition", "s"),
	)
	_, err := b.Build().Plan("app", partitions(nil))
	if err == nil || !strings.Contains(err.Error(), "loop-repartition") {
		t.Errorf("error %v, want one about loop-repartition", err)
	}
}

func TestPlanCopartitions(t *testing.T) {
	build := func(extra func(b *graph.Builder)) *graph.Topology {
		b := graph.NewBuilder()
		must(t, b.AddSource("a", "left"), b.AddSource("b", "right"), b.AddProcessor("join", "a", "b"))
		b.Copartition("join (main.go:7)", "join")
		if extra != nil {
			extra(b)
		}
		return b.Build()
	}
	if _, err := build(nil).Plan("app", partitions(map[string]int32{"left": 6, "right": 6})); err != nil {
		t.Errorf("equal counts: %v", err)
	}
	_, err := build(nil).Plan("app", partitions(map[string]int32{"left": 6, "right": 4}))
	if want := "join (main.go:7): co-partition: left has 6 partitions, right 4"; !errors.Is(err, graph.ErrCopartition) || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}

	b := graph.NewBuilder()
	must(t,
		b.AddSource("in", "in"), b.AddSink("k", "r-repartition", "in"),
		b.AddRepartition(graph.Repartition{Name: "r-repartition"}),
		b.AddSource("r", "r-repartition"), b.AddSource("l", "left"), b.AddProcessor("join", "r", "l"),
	)
	b.Copartition("join", "join")
	p, err := b.Build().Plan("app", partitions(map[string]int32{"in": 2, "left": 7}))
	must(t, err)
	if n := p.Repartitions[0].Partitions; n != 7 {
		t.Errorf("the repartition topic has %d partitions, want 7 as the topic it meets", n)
	}
}

func TestPlanCopartitionsRepartitionTopicsByTheLargest(t *testing.T) {
	b := graph.NewBuilder()
	must(t,
		b.AddSource("in1", "in1"), b.AddSink("k1", "r1-repartition", "in1"),
		b.AddSource("in2", "in2"), b.AddSink("k2", "r2-repartition", "in2"),
		b.AddRepartition(graph.Repartition{Name: "r1-repartition"}), b.AddRepartition(graph.Repartition{Name: "r2-repartition"}),
		b.AddSource("r1", "r1-repartition"), b.AddSource("r2", "r2-repartition"), b.AddProcessor("join", "r1", "r2"),
	)
	b.Copartition("join", "join")
	p, err := b.Build().Plan("app", partitions(map[string]int32{"in1": 2, "in2": 5}))
	must(t, err)
	if a, b := p.Repartitions[0].Partitions, p.Repartitions[1].Partitions; a != 5 || b != 5 {
		t.Errorf("counts %d and %d, want 5 both", a, b)
	}
}

func TestChangelogConfigIsThatOfKafkaStreams(t *testing.T) {
	base := map[string]string{"message.timestamp.type": "CreateTime"}
	for name, tc := range map[string]struct {
		store graph.Store
		want  map[string]string
	}{
		"key value": {graph.Store{}, map[string]string{"cleanup.policy": "compact"}},
		"window": {
			graph.Store{Kind: graph.Window, RetentionMs: 70_000},
			map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "86470000"},
		},
		"window forever": {
			graph.Store{Kind: graph.Window, RetentionMs: graph.Forever},
			map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "-1"},
		},
		"session": {
			graph.Store{Kind: graph.Session, RetentionMs: 1},
			map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "86400001"},
		},
		"versioned": {
			graph.Store{Kind: graph.Versioned, RetentionMs: 300_000},
			map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "86700000"},
		},
		"versioned forever": {
			graph.Store{Kind: graph.Versioned, RetentionMs: graph.Forever},
			map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "9223372036854775807"},
		},
		"overridden": {
			graph.Store{Kind: graph.Window, RetentionMs: 1, TopicConfig: map[string]string{"retention.ms": "-1", "segment.ms": "5"}},
			map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "-1", "segment.ms": "5"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := maps.Clone(base)
			maps.Copy(want, tc.want)
			if diff := cmp.Diff(want, tc.store.Changelog("app").Config); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDescribeShowsEveryEdgeFromBothEnds: whatever the graph, an arrow to a node
// has one back, and describing is deterministic.
func TestDescribeShowsEveryEdgeFromBothEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := graph.NewBuilder()
		names := []string{"s"}
		must(t, b.AddSource("s", "topic"))
		for i := range rapid.IntRange(0, 40).Draw(t, "nodes") {
			name := "n" + strings.Repeat("x", i)
			parents := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, min(3, len(names)), rapid.ID).Draw(t, "parents")
			must(t, b.AddProcessor(name, parents...))
			names = append(names, name)
		}
		topo := b.Build()
		if again := b.Build(); topo.Describe() != again.Describe() || len(topo.Subtopologies) != 1 {
			t.Fatal("the description is not one deterministic sub-topology")
		}
		edges := map[[2]string]int{}
		for _, n := range topo.Subtopologies[0].Nodes {
			for _, c := range n.Children {
				edges[[2]string{n.Name, c}]++
			}
			for _, p := range n.Parents {
				edges[[2]string{p, n.Name}]--
			}
		}
		for e, n := range edges {
			if n != 0 {
				t.Fatalf("edge %v is shown from one end only", e)
			}
		}
	})
}

func TestDescribeTopicsAndStoresInJavaOrder(t *testing.T) {
	b := graph.NewBuilder()
	must(t,
		b.AddSource("s", "zeta", "alpha", "in", "\U0001F600"), b.AddProcessor("p", "s"),
		b.AddStore(graph.Store{Name: "kv"}), b.AddStore(graph.Store{Name: "other"}), b.Connect("p", "kv"), b.Connect("p", "other"),
	)
	text := b.Build().Describe()
	for _, want := range []string{"zeta, in, alpha", "(stores: [other, kv])"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
