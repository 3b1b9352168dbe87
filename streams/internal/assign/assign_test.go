package assign

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func id(sub int, partition int32) TaskID { return TaskID{Subtopology: sub, Partition: partition} }

const end = 50_000

func drawTasks(t *rapid.T) []Task {
	var tasks []Task
	for sub := range rapid.IntRange(0, 3).Draw(t, "subs") {
		stateful := rapid.Bool().Draw(t, "stateful")
		for p := range rapid.Int32Range(1, 8).Draw(t, "partitions") {
			task := Task{ID: id(sub, p), Stateful: stateful}
			if stateful {
				task.End = end
			}
			tasks = append(tasks, task)
		}
	}
	return tasks
}

func ids(tasks []Task) (all []TaskID) {
	for _, t := range tasks {
		all = append(all, t.ID)
	}
	return all
}

func drawMembers(t *rapid.T, tasks []Task) []Member {
	var members []Member
	for i := range rapid.IntRange(1, 6).Draw(t, "members") {
		m := Member{
			ID: fmt.Sprintf("m%d", i), Process: fmt.Sprintf("p%d", i/2),
			Generation: rapid.Int32Range(0, 2).Draw(t, "generation"), State: map[TaskID]int64{},
		}
		if len(tasks) > 0 {
			some := rapid.SliceOfDistinct(rapid.SampledFrom(append(ids(tasks), id(9, 9))), rapid.ID[TaskID])
			m.Owned = some.Draw(t, "owned")
			m.Following = some.Draw(t, "following")
			for _, task := range some.Draw(t, "stored") {
				m.State[task] = rapid.SampledFrom([]int64{0, 10, end - 10_001, end - 10_000, end, Latest}).Draw(t, "position")
			}
		}
		members = append(members, m)
	}
	return members
}

func drawOptions(t *rapid.T) Options {
	return Options{
		Standbys: rapid.IntRange(0, 3).Draw(t, "standbys"), AcceptableLag: 10_000, Warmups: rapid.IntRange(0, 3).Draw(t, "warm-ups"),
	}
}

// state is what the process of a member has of a task.
func state(members []Member, m *Member, task TaskID) (at int64) {
	for i := range members {
		if members[i].Process == m.Process {
			at = max(at, members[i].State[task])
		}
	}
	return at
}

func ready(o Options, members []Member, m *Member, t *Task) bool {
	return !t.Stateful || t.End-state(members, m, t.ID) <= o.AcceptableLag
}

// check holds a plan to the rules that every plan keeps.
func check(t *rapid.T, tasks []Task, members []Member, o Options, plan map[string]Share) {
	runs, warming := map[TaskID]*Member{}, 0
	for i := range members {
		m := &members[i]
		for _, task := range plan[m.ID].Active {
			if runs[task] != nil || !slices.Contains(ids(tasks), task) {
				t.Fatalf("%s runs %s, which %v runs", m.ID, task, runs[task])
			}
			runs[task] = m
		}
		warming += len(plan[m.ID].Warmup)
	}
	if len(runs) != len(tasks) || warming > o.Warmups {
		t.Fatalf("%d of %d tasks run, %d warm up", len(runs), len(tasks), warming)
	}
	processes := map[string]bool{}
	for i := range members {
		processes[members[i].Process] = true
	}
	for i := range tasks {
		task := &tasks[i]
		anyReady := slices.ContainsFunc(members, func(m Member) bool { return ready(o, members, &m, task) })
		if anyReady && !ready(o, members, runs[task.ID], task) {
			t.Fatalf("%s runs on %s, which lacks its state", task.ID, runs[task.ID].ID)
		}
		copies, standbys, warmups := map[string]int{runs[task.ID].Process: 1}, 0, 0
		for j := range members {
			m := &members[j]
			if slices.Contains(plan[m.ID].Standby, task.ID) {
				copies[m.Process]++
				standbys++
			}
			if slices.Contains(plan[m.ID].Warmup, task.ID) {
				copies[m.Process]++
				warmups++
				if ready(o, members, m, task) {
					t.Fatalf("%s warms up %s, which it is ready for", m.ID, task.ID)
				}
			}
		}
		want := min(o.Standbys, len(processes)-1-warmups)
		if !task.Stateful {
			want = 0
		}
		if standbys != want || warmups > 1 || slices.Contains(slices.Collect(maps.Values(copies)), 2) {
			t.Fatalf("%s has %d standbys of %d, %d warm-ups, copies %v", task.ID, standbys, want, warmups, copies)
		}
	}
}

// spread is the least and the most that members run.
func spread(plan map[string]Share, count func(s Share) int) int {
	var sizes []int
	for s := range maps.Values(plan) {
		sizes = append(sizes, count(s))
	}
	return slices.Max(sizes) - slices.Min(sizes)
}

func all(s Share) int { return len(s.Active) }

// follow makes the members what the plan made of them, with their copies done.
func follow(members []Member, plan map[string]Share, generation int32) []Member {
	members = slices.Clone(members)
	for i := range members {
		m := &members[i]
		share := plan[m.ID]
		m.Owned, m.Generation, m.State = share.Active, generation, maps.Clone(m.State)
		m.Following = slices.Concat(share.Standby, share.Warmup)
		for _, task := range slices.Concat(m.Owned, m.Following) {
			m.State[task] = Latest
		}
	}
	return members
}

func TestPlansKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawMembers(t, tasks)
		o := drawOptions(t)
		plan := Assign(tasks, members, o)
		check(t, tasks, members, o, plan)
		shuffled := rapid.Permutation(members).Draw(t, "order")
		if diff := cmp.Diff(plan, Assign(rapid.Permutation(tasks).Draw(t, "tasks"), shuffled, o)); diff != "" {
			t.Fatalf("the order of the arguments counts: %s", diff)
		}
	})
}

func TestWarmupsLeadToABalanceThatStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawMembers(t, tasks)
		o := drawOptions(t)
		o.Warmups = max(1, o.Warmups)
		plan := Assign(tasks, members, o)
		for generation := range int32(len(tasks) + 2) {
			members = follow(members, plan, 7+generation)
			plan = Assign(tasks, members, o)
			check(t, tasks, members, o, plan)
		}
		stateful := func(s Share) (n int) {
			for _, task := range tasks {
				if task.Stateful && slices.Contains(s.Active, task.ID) {
					n++
				}
			}
			return n
		}
		if spread(plan, all) > 1 || spread(plan, stateful) > 1 {
			t.Fatalf("not balanced: %v", plan)
		}
		for _, m := range members {
			if diff := cmp.Diff(m.Owned, plan[m.ID].Active, cmpopts.EquateEmpty()); diff != "" || len(plan[m.ID].Warmup) > 0 {
				t.Fatalf("tasks still move: %s, %v", diff, plan)
			}
		}
	})
}

func TestTasksMoveOnlyForWhoComesOrLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		for i := range tasks {
			tasks[i].Stateful = true
		}
		members := drawMembers(t, tasks)
		for i := range members {
			members[i].Owned, members[i].State = nil, map[TaskID]int64{}
		}
		o := Options{AcceptableLag: 10_000, Warmups: 2}
		plan := Assign(tasks, members, o)
		members = follow(members, plan, 7)
		gone := rapid.IntRange(0, len(members)-1).Draw(t, "gone")
		rest := slices.Delete(slices.Clone(members), gone, gone+1)
		after := Assign(tasks, rest, o)
		for _, m := range rest {
			for _, task := range m.Owned {
				if !slices.Contains(after[m.ID].Active, task) {
					t.Fatalf("%s lost %s because %s left", m.ID, task, members[gone].ID)
				}
			}
		}
		ahead := map[TaskID]int64{} // so that it need not warm up
		for _, task := range tasks {
			ahead[task.ID] = end
		}
		more := Assign(tasks, append(members, Member{ID: "new", Process: "new", State: ahead}), o)
		moved := 0
		for _, m := range members {
			for _, task := range m.Owned {
				if !slices.Contains(more[m.ID].Active, task) {
					moved++
				}
			}
		}
		if moved != len(more["new"].Active) {
			t.Fatalf("%d tasks moved for a member that got %d", moved, len(more["new"].Active))
		}
	})
}

func TestTasksRunWhereTheirStateIs(t *testing.T) {
	four := []Task{{id(0, 0), true, end}, {id(0, 1), true, end}, {id(0, 2), true, end}, {id(0, 3), true, end}}
	loose := []Task{{ID: id(0, 0)}, {ID: id(0, 1)}}
	run := func(ids ...TaskID) Share { return Share{Active: ids} }
	for name, test := range map[string]struct {
		tasks   []Task
		members []Member
		o       Options
		want    map[string]Share
	}{
		"nobody has state": {
			four,
			[]Member{{ID: "a", Process: "p"}, {ID: "b", Process: "q"}},
			Options{},
			map[string]Share{"a": run(id(0, 0), id(0, 2)), "b": run(id(0, 1), id(0, 3))},
		},
		"the most complete state": {
			four,
			[]Member{
				{ID: "a", Process: "p", State: map[TaskID]int64{id(0, 3): end, id(0, 2): 7}},
				{ID: "b", Process: "q", State: map[TaskID]int64{id(0, 0): end, id(0, 2): 6}},
			},
			Options{},
			map[string]Share{"a": run(id(0, 2), id(0, 3)), "b": run(id(0, 0), id(0, 1))},
		},
		"a new member warms up": {
			four,
			[]Member{
				{ID: "a", Process: "p", Owned: ids(four), State: map[TaskID]int64{id(0, 0): Latest, id(0, 1): Latest, id(0, 2): Latest, id(0, 3): Latest}},
				{ID: "b", Process: "q", State: map[TaskID]int64{id(0, 3): 5}},
			},
			Options{Warmups: 1},
			map[string]Share{"a": run(ids(four)...), "b": {Warmup: []TaskID{id(0, 3)}}},
		},
		"a standby takes over": {
			four[:2],
			[]Member{
				{ID: "b", Process: "q", Owned: []TaskID{id(0, 1)}, State: map[TaskID]int64{id(0, 1): Latest}},
				{ID: "c", Process: "r", Following: []TaskID{id(0, 0)}, State: map[TaskID]int64{id(0, 0): end - 3}},
			},
			Options{Standbys: 1, AcceptableLag: 10},
			map[string]Share{
				"b": {Active: []TaskID{id(0, 1)}, Standby: []TaskID{id(0, 0)}},
				"c": {Active: []TaskID{id(0, 0)}, Standby: []TaskID{id(0, 1)}},
			},
		},
		"the worker that has the standby open": {
			four[:1],
			[]Member{
				{ID: "a", Process: "p", State: map[TaskID]int64{id(0, 0): end}},
				{ID: "b", Process: "p", Following: []TaskID{id(0, 0)}},
			},
			Options{},
			map[string]Share{"a": {}, "b": run(id(0, 0))},
		},
		"the latest generation is believed": {
			loose,
			[]Member{
				{ID: "a", Owned: []TaskID{id(0, 0)}, Generation: 3},
				{ID: "b", Owned: []TaskID{id(0, 0)}, Generation: 4},
			},
			Options{Standbys: 1},
			map[string]Share{"a": run(id(0, 1)), "b": run(id(0, 0))},
		},
		"nobody": {loose, nil, Options{}, map[string]Share{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Assign(test.tasks, test.members, test.o), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
