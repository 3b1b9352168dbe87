package runtime

import (
	"cmp"
	"slices"
)

// Member is one worker of a group as the assignment sees it.
type Member struct {
	ID         string
	Process    string   // workers of one process share its state directory
	Owned      []TaskID // what it has now
	Generation int32    // of the group when it got that; a newer claim wins
	Stored     []TaskID // what its process has state of
}

// Assign gives every task to one member. Members get equally many, to within
// one; as many tasks as that allows stay where they are; of the rest, tasks go
// to a process that has their state, then to the member with the least. The
// result depends on nothing but the arguments, in whatever order they come.
func Assign(tasks []TaskID, members []Member) map[string][]TaskID {
	a := newAssignment(tasks, members)
	if len(a.seats) == 0 {
		return map[string][]TaskID{}
	}
	a.keep()
	a.place(func(s *seat, id TaskID) bool { return s.stored[id] })
	a.place(func(*seat, TaskID) bool { return true })
	result := make(map[string][]TaskID, len(a.seats))
	for _, s := range a.seats {
		slices.SortFunc(s.tasks, compareTasks)
		result[s.id] = s.tasks
	}
	return result
}

// seat is a member while tasks are handed out.
type seat struct {
	id     string
	owned  []TaskID
	stored map[TaskID]bool
	tasks  []TaskID
	perSub map[int]int
}

type assignment struct {
	open  []TaskID // sorted, not yet given away
	seats []*seat  // sorted by id
	base  int      // tasks that every member gets
	extra int      // members that may get one more
}

func newAssignment(tasks []TaskID, members []Member) *assignment {
	a := &assignment{open: slices.SortedFunc(slices.Values(tasks), compareTasks)}
	a.open = slices.Compact(a.open)
	members = slices.SortedFunc(slices.Values(members), func(x, y Member) int { return cmp.Compare(x.ID, y.ID) })
	if len(members) == 0 {
		return a
	}
	a.base, a.extra = len(a.open)/len(members), len(a.open)%len(members)
	holder := holders(a.open, members)
	byProcess := map[string]map[TaskID]bool{}
	for _, m := range members {
		known := byProcess[m.Process]
		if known == nil {
			known = map[TaskID]bool{}
			byProcess[m.Process] = known
		}
		for _, id := range m.Stored {
			known[id] = true
		}
		s := &seat{id: m.ID, stored: known, perSub: map[int]int{}}
		for _, id := range a.open {
			if holder[id] == m.ID {
				s.owned = append(s.owned, id)
			}
		}
		a.seats = append(a.seats, s)
	}
	return a
}

// holders returns who has each task now: of several that say so, the one of the
// latest generation.
func holders(tasks []TaskID, members []Member) map[TaskID]string {
	exists := map[TaskID]bool{}
	for _, id := range tasks {
		exists[id] = true
	}
	holder, generation := map[TaskID]string{}, map[TaskID]int32{}
	for _, m := range members {
		for _, id := range m.Owned {
			if _, claimed := holder[id]; exists[id] && (!claimed || m.Generation > generation[id]) {
				holder[id], generation[id] = m.ID, m.Generation
			}
		}
	}
	return holder
}

// keep lets members keep what they have, the largest first to get one more.
func (a *assignment) keep() {
	order := slices.SortedStableFunc(slices.Values(a.seats), func(x, y *seat) int { return len(y.owned) - len(x.owned) })
	for _, s := range order {
		for _, id := range s.owned {
			if a.room(s) {
				a.give(s, id)
			}
		}
	}
}

// place hands out open tasks among the members that fit.
func (a *assignment) place(fits func(*seat, TaskID) bool) {
	for _, id := range slices.Clone(a.open) {
		var best *seat
		for _, s := range a.seats {
			if a.room(s) && fits(s, id) && (best == nil || s.before(best, id)) {
				best = s
			}
		}
		if best != nil {
			a.give(best, id)
		}
	}
}

// before says that s should rather get the task than other: who has fewer
// tasks, then fewer of the same sub-topology.
func (s *seat) before(other *seat, id TaskID) bool {
	return cmp.Or(
		cmp.Compare(len(s.tasks), len(other.tasks)),
		cmp.Compare(s.perSub[id.Subtopology], other.perSub[id.Subtopology])) < 0
}

func (a *assignment) room(s *seat) bool {
	return len(s.tasks) < a.base || len(s.tasks) == a.base && a.extra > 0
}

func (a *assignment) give(s *seat, id TaskID) {
	if len(s.tasks) == a.base {
		a.extra--
	}
	s.tasks = append(s.tasks, id)
	s.perSub[id.Subtopology]++
	i, _ := slices.BinarySearchFunc(a.open, id, compareTasks)
	a.open = slices.Delete(a.open, i, i+1)
}
