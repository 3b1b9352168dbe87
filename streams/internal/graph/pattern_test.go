package graph_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams/internal/graph"
)

func pattern(expr string) *graph.Pattern { return graph.NewPattern(regexp.MustCompile(expr)) }

// meeting joins a pattern with a topic, and counts what it reads by another key.
func meeting(t *testing.T) *graph.Topology {
	b := graph.NewBuilder()
	must(t,
		b.AddPattern("all", pattern("a.*|app-.*")), b.AddSource("one", "other"), b.AddProcessor("join", "all", "one"),
		b.AddStore(graph.Store{Name: "rows", Logged: true}), b.Connect("join", "rows"),
		b.AddSink("away", "r-repartition", "all"), b.AddRepartition(graph.Repartition{Name: "r-repartition", Partitions: 2}),
		b.AddSource("back", "r-repartition"),
	)
	b.Copartition("join", "join")
	return b.Build()
}

func TestBindFindsTheTopicsOfPatterns(t *testing.T) {
	free := meeting(t)
	bound, err := free.Bind("app", []string{"b", "a2", "ab", "a", "other", "app-rows-changelog", "app-r-repartition", "app-x"})
	must(t, err)
	sub := bound.Subtopologies[0]
	if diff := cmp.Diff([]string{"a", "a2", "ab", "app-x", "other"}, sub.Sources); diff != "" {
		t.Error(diff)
	}
	if n, ok := sub.Source("ab"); !ok || n.Name != "all" || !cmp.Equal(n.Topics, []string{"a", "a2", "ab", "app-x"}) {
		t.Errorf("node %+v", n)
	}
	if diff := cmp.Diff([]string{"a", "a2", "ab", "app-x", "other"}, sub.Copartitions[0].Topics); diff != "" {
		t.Error(diff)
	}
	if _, ok := sub.Source("b"); ok {
		t.Error("b has a source")
	}
	if n := free.Subtopologies[0]; len(n.Sources) != 1 || len(n.Copartitions[0].Topics) != 1 || !free.Patterned() {
		t.Errorf("the topology itself became %+v", n)
	}
	if same := counting(t, 1); same.Patterned() {
		t.Error("a topology without patterns has some")
	} else if b, err := same.Bind("app", []string{"in"}); b != same || err != nil {
		t.Errorf("got %v, %v", b, err)
	}
}

func TestBindRefusesTopicsOfTwoPatterns(t *testing.T) {
	b := graph.NewBuilder()
	must(t, b.AddPattern("s1", pattern("a.*")), b.AddPattern("s2", pattern(".*z")))
	topo := b.Build()
	if _, err := topo.Bind("app", []string{"a", "z"}); err != nil {
		t.Error(err)
	}
	_, err := topo.Bind("app", []string{"az", "z", "abz"})
	if !errors.Is(err, graph.ErrOverlap) || !strings.Contains(err.Error(), "abz matches a.* and .*z") || !strings.Contains(err.Error(), ": az matches") {
		t.Errorf("got %v", err)
	}
}

func TestPlanOfPatterns(t *testing.T) {
	plan := func(counts map[string]int32) (*graph.Plan, error) {
		var names []string
		for name := range counts {
			names = append(names, name)
		}
		bound, err := meeting(t).Bind("app", names)
		must(t, err)
		return bound.Plan("app", partitions(counts))
	}
	p, err := plan(map[string]int32{"a1": 3, "a2": 3, "other": 3})
	must(t, err)
	if diff := cmp.Diff([]int32{3, 2}, p.Tasks); diff != "" || p.Changelogs[0].Partitions != 3 {
		t.Errorf("%+v", p)
	}
	if _, err := plan(map[string]int32{"a1": 3, "a2": 4, "other": 3}); !errors.Is(err, graph.ErrCopartition) || !strings.Contains(err.Error(), "a1 has 3 partitions, a2 4") {
		t.Errorf("got %v", err)
	}
	if p, err = plan(map[string]int32{"other": 5}); err != nil || p.Tasks[0] != 5 {
		t.Errorf("nothing matches: %+v, %v", p, err)
	}
}

// TestPlanOfPatternsThatMatchNothing: there are no tasks yet, unless a repartition
// topic needs to know how many.
func TestPlanOfPatternsThatMatchNothing(t *testing.T) {
	build := func(partitions int32) *graph.Topology {
		b := graph.NewBuilder()
		must(t,
			b.AddPattern("all", pattern("a.*")), b.AddProcessor("count", "all"), b.AddStore(graph.Store{Name: "c", Logged: true}), b.Connect("count", "c"),
			b.AddRepartition(graph.Repartition{Name: "r-repartition", Partitions: partitions}),
			b.AddSink("away", "r-repartition", "count"), b.AddSource("back", "r-repartition"),
		)
		b.Copartition("itself", "count")
		return b.Build()
	}
	p, err := build(3).Plan("app", partitions(nil))
	must(t, err)
	if diff := cmp.Diff([]int32{0, 3}, p.Tasks); diff != "" || p.Changelogs[0].Partitions != 0 {
		t.Errorf("%+v", p)
	}
	if _, err := build(0).Plan("app", partitions(nil)); !errors.Is(err, graph.ErrNoTopic) || !strings.Contains(err.Error(), "r-repartition") {
		t.Errorf("got %v", err)
	}
	bound, err := build(0).Bind("app", []string{"a"})
	must(t, err)
	if p, err = bound.Plan("app", partitions(map[string]int32{"a": 4})); err != nil || p.Repartitions[0].Partitions != 4 {
		t.Errorf("%+v, %v", p, err)
	}
}
