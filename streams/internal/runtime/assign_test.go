package runtime

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/streams/internal/graph"
)

func task(sub int, partition int32) TaskID { return TaskID{Subtopology: sub, Partition: partition} }

func drawTasks(t *rapid.T) []TaskID {
	var tasks []TaskID
	for sub := range rapid.IntRange(0, 3).Draw(t, "subs") {
		for p := range rapid.Int32Range(1, 8).Draw(t, "partitions") {
			tasks = append(tasks, task(sub, p))
		}
	}
	return tasks
}

func drawMembers(t *rapid.T, tasks []TaskID) []Member {
	var members []Member
	for i := range rapid.IntRange(1, 6).Draw(t, "members") {
		m := Member{
			ID: fmt.Sprintf("m%d", i), Process: fmt.Sprintf("p%d", i/2),
			Generation: rapid.Int32Range(0, 2).Draw(t, "generation"),
		}
		if len(tasks) > 0 {
			m.Owned = rapid.SliceOfDistinct(rapid.SampledFrom(append(tasks, task(9, 9))), func(id TaskID) TaskID { return id }).Draw(t, "owned")
			m.Stored = rapid.SliceOf(rapid.SampledFrom(tasks)).Draw(t, "stored")
		}
		members = append(members, m)
	}
	return members
}

func TestAssignGivesEveryTaskOnceAndEqually(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawMembers(t, tasks)
		given := Assign(tasks, members)
		seen := map[TaskID]int{}
		least, most := len(tasks), 0
		for _, m := range members {
			for _, id := range given[m.ID] {
				seen[id]++
			}
			least, most = min(least, len(given[m.ID])), max(most, len(given[m.ID]))
		}
		if len(seen) != len(tasks) || most-least > 1 {
			t.Fatalf("%d of %d tasks, %d to %d each", len(seen), len(tasks), least, most)
		}
		for id, n := range seen {
			if n != 1 || !slices.Contains(tasks, id) {
				t.Fatalf("task %s was given %d times", id, n)
			}
		}
		shuffled := rapid.Permutation(members).Draw(t, "order")
		if diff := cmp.Diff(given, Assign(rapid.Permutation(tasks).Draw(t, "tasks"), shuffled)); diff != "" {
			t.Fatalf("the order of the arguments counts: %s", diff)
		}
	})
}

func TestAssignMovesNoMoreThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawMembers(t, tasks)
		first := Assign(tasks, members)
		for i := range members {
			members[i].Owned, members[i].Generation = first[members[i].ID], 7
		}
		if diff := cmp.Diff(first, Assign(tasks, members)); diff != "" {
			t.Fatalf("a second round moved tasks: %s", diff)
		}
		gone := rapid.IntRange(0, len(members)-1).Draw(t, "gone")
		rest := slices.Delete(slices.Clone(members), gone, gone+1)
		after := Assign(tasks, rest)
		for _, m := range rest {
			for _, id := range m.Owned {
				if !slices.Contains(after[m.ID], id) {
					t.Fatalf("%s lost %s because %s left", m.ID, id, members[gone].ID)
				}
			}
		}
		more := Assign(tasks, append(members, Member{ID: "new", Process: "new"}))
		moved := 0
		for _, m := range members {
			for _, id := range m.Owned {
				if !slices.Contains(more[m.ID], id) {
					moved++
				}
			}
		}
		if moved != len(more["new"]) {
			t.Fatalf("%d tasks moved for a member that got %d", moved, len(more["new"]))
		}
	})
}

func TestAssignPrefersStoredState(t *testing.T) {
	tasks := []TaskID{task(0, 0), task(0, 1), task(0, 2), task(0, 3)}
	got := Assign(tasks, []Member{
		{ID: "a", Process: "p", Stored: []TaskID{task(0, 3), task(0, 2)}},
		{ID: "b", Process: "q", Stored: []TaskID{task(0, 0)}},
	})
	want := map[string][]TaskID{"a": {task(0, 2), task(0, 3)}, "b": {task(0, 0), task(0, 1)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAssignBelievesTheLatestGeneration(t *testing.T) {
	tasks := []TaskID{task(0, 0), task(0, 1)}
	got := Assign(tasks, []Member{
		{ID: "a", Owned: []TaskID{task(0, 0)}, Generation: 3},
		{ID: "b", Owned: []TaskID{task(0, 0)}, Generation: 4},
	})
	if diff := cmp.Diff(map[string][]TaskID{"a": {task(0, 1)}, "b": {task(0, 0)}}, got); diff != "" {
		t.Error(diff)
	}
	if got := Assign(tasks, nil); len(got) != 0 {
		t.Errorf("gave tasks to nobody: %v", got)
	}
}

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
	if diff := cmp.Diff([]string{"in", "in2"}, l.Topics()); diff != "" {
		t.Error(diff)
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
