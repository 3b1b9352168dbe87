package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams/internal/graph"
)

func task(sub int, partition int32) TaskID { return TaskID{Subtopology: sub, Partition: partition} }

func TestLayoutKeepsCopartitionedPartitionsTogether(t *testing.T) {
	l := NewLayout("app", newProgram(t).graph)
	got := l.Work(map[string]int32{"in": 2, "in2": 3})
	want := []Work{
		{task(0, 0), []TP{{"in", 0}, {"in2", 0}}},
		{task(0, 1), []TP{{"in", 1}, {"in2", 1}}},
		{task(0, 2), []TP{{"in2", 2}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := l.Task(TP{"other", 0}); ok {
		t.Error("a foreign topic has a task")
	}
	if !l.Named("in2") || l.Named("other") {
		t.Error("names are taken for others")
	}
}

func TestStoresFlushUpstreamFirst(t *testing.T) {
	b := graph.NewBuilder()
	must(t, b.AddSource("source", "in"))
	must(t, b.AddProcessor("z", "source"))
	must(t, b.AddProcessor("y", "z"))
	must(t, b.AddProcessor("x", "y"))
	for _, s := range []struct{ node, store string }{{"x", "first-by-name"}, {"y", "second"}, {"z", "third"}} {
		must(t, b.AddStore(graph.Store{Name: s.store}))
		must(t, b.Connect(s.node, s.store))
	}
	must(t, b.Connect("x", "third"))
	var order []string
	for _, s := range flushOrder(&b.Build().Subtopologies[0]) {
		order = append(order, s.Name)
	}
	if diff := cmp.Diff([]string{"third", "second", "first-by-name"}, order); diff != "" {
		t.Error(diff)
	}
}
