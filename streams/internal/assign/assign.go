// Package assign decides who of a group runs which task, and who keeps a copy of
// its state.
//
// A task runs where its state is. When the balance wants it elsewhere, it stays
// until that member has caught up with it by a warm-up, which is a copy that is
// on its way to take over; a standby is one that waits for a member to die. The
// result depends on nothing but the arguments, in whatever order they come.
package assign

import (
	"cmp"
	"math"
	"slices"

	"github.com/weirstream/weir/streams/processor"
)

// TaskID names a task.
type TaskID = processor.TaskID

// Task is one task to give away.
type Task struct {
	ID       TaskID
	Stateful bool  // has changelogs
	End      int64 // what the ends of its changelogs add up to; 0 if that is not known
}

// Latest is how far the state of a task is where it runs.
const Latest int64 = math.MaxInt64

// Member is one worker of a group as the assignment sees it.
type Member struct {
	ID         string
	Process    string           // workers of one process share its state directory
	Owned      []TaskID         // what it runs now
	Generation int32            // of the group when it got that; a newer claim wins
	Following  []TaskID         // what it keeps copies of
	State      map[TaskID]int64 // what its process has state of: what the positions in the changelogs add up to, or Latest
}

// Options are the wishes of an application.
type Options struct {
	Standbys      int   // copies of every task with state, each in a process of its own
	AcceptableLag int64 // offsets that a copy may lack and take over nonetheless
	Warmups       int   // at most, of the whole group at a time
}

// Share is what one member gets.
type Share struct {
	Active  []TaskID
	Standby []TaskID
	Warmup  []TaskID // to run once they have caught up
}

// Assign gives every task to one member. Members get equally many, to within one,
// of those with state and of all; as many as that allows stay where they are, and
// the rest go where their state is most complete. A task whose new member lacks
// too much of its state is run by one that has it, until the warm-up is done.
func Assign(tasks []Task, members []Member, o Options) map[string]Share {
	shares := make(map[string]Share, len(members))
	a := newAssignment(tasks, members, o)
	if len(a.seats) == 0 {
		return shares
	}
	a.stateful()
	a.stateless()
	a.standbys()
	for _, s := range a.seats {
		for _, list := range [][]TaskID{s.Active, s.Standby, s.Warmup} {
			slices.SortFunc(list, compare)
		}
		shares[s.id] = s.Share
	}
	return shares
}

// seat is a member while tasks are handed out.
type seat struct {
	Share
	id, process string
	owned       map[TaskID]bool
	following   map[TaskID]bool
	state       map[TaskID]int64 // of the process
	perSub      map[int]int
}

type assignment struct {
	o     Options
	tasks []Task  // sorted
	seats []*seat // sorted by id
	base  int     // tasks that every member gets
	extra int     // members that may get one more
}

func newAssignment(tasks []Task, members []Member, o Options) *assignment {
	a := &assignment{o: o, tasks: slices.SortedFunc(slices.Values(tasks), func(x, y Task) int { return compare(x.ID, y.ID) })}
	a.tasks = slices.CompactFunc(a.tasks, func(x, y Task) bool { return x.ID == y.ID })
	members = slices.SortedFunc(slices.Values(members), func(x, y Member) int { return cmp.Compare(x.ID, y.ID) })
	holder := holders(members)
	state := map[string]map[TaskID]int64{}
	for _, m := range members {
		of := state[m.Process]
		if of == nil {
			of = map[TaskID]int64{}
			state[m.Process] = of
		}
		for id, at := range m.State {
			of[id] = max(of[id], at)
		}
		s := &seat{
			id: m.ID, process: m.Process, state: of, perSub: map[int]int{},
			owned: map[TaskID]bool{}, following: map[TaskID]bool{},
		}
		for _, id := range m.Owned {
			s.owned[id] = holder[id] == m.ID
		}
		for _, id := range m.Following {
			s.following[id] = true
		}
		a.seats = append(a.seats, s)
	}
	return a
}

// holders returns who has each task now: of several that say so, the one of the
// latest generation.
func holders(members []Member) map[TaskID]string {
	holder, generation := map[TaskID]string{}, map[TaskID]int32{}
	for _, m := range members {
		for _, id := range m.Owned {
			if _, claimed := holder[id]; !claimed || m.Generation > generation[id] {
				holder[id], generation[id] = m.ID, m.Generation
			}
		}
	}
	return holder
}

// lag is how much of the state of a task a member lacks.
func (s *seat) lag(t *Task) int64 { return max(0, t.End-s.state[t.ID]) }

// ready says that a member can run a task without a long restore.
func (a *assignment) ready(s *seat, t *Task) bool {
	return !t.Stateful || s.lag(t) <= a.o.AcceptableLag
}

func (a *assignment) anyReady(t *Task) bool {
	return slices.ContainsFunc(a.seats, func(s *seat) bool { return a.ready(s, t) })
}

// share sets how many tasks a member may get of n.
func (a *assignment) share(n int) {
	a.base, a.extra = n/len(a.seats), n%len(a.seats)
	for _, s := range a.seats {
		if len(s.Active) > a.base && a.extra > 0 {
			a.extra--
		}
	}
}

func (a *assignment) room(s *seat) bool {
	return len(s.Active) < a.base || len(s.Active) == a.base && a.extra > 0
}

func (a *assignment) give(s *seat, id TaskID) {
	if len(s.Active) == a.base {
		a.extra--
	}
	s.Active = append(s.Active, id)
	s.perSub[id.Subtopology]++
}

// keep lets members keep of the tasks what they have, the largest first to get
// one more, and returns the rest. Nobody keeps what another one is readier for.
func (a *assignment) keep(tasks []Task) (rest []Task) {
	given := map[TaskID]bool{}
	owned := func(s *seat) (mine []*Task) {
		for i := range tasks {
			if t := &tasks[i]; s.owned[t.ID] && (a.ready(s, t) || !a.anyReady(t)) {
				mine = append(mine, t)
			}
		}
		return mine
	}
	order := slices.SortedStableFunc(slices.Values(a.seats), func(x, y *seat) int { return len(owned(y)) - len(owned(x)) })
	for _, s := range order {
		for _, t := range owned(s) {
			if a.room(s) {
				a.give(s, t.ID)
				given[t.ID] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool { return given[t.ID] })
}

// place hands out tasks among the members that fit, and returns the rest. How
// much state they lack comes first, then who has fewer tasks, then fewer of the
// same sub-topology.
func (a *assignment) place(tasks []Task, fits func(*seat, *Task) bool) (rest []Task) {
	for i := range tasks {
		t := &tasks[i]
		s := best(a.seats, func(s *seat) bool { return fits(s, t) }, func(x, y *seat) int {
			return cmp.Or(
				cmp.Compare(a.lack(x, t), a.lack(y, t)),
				first(x.following[t.ID], y.following[t.ID]),
				cmp.Compare(len(x.Active), len(y.Active)),
				cmp.Compare(x.perSub[t.ID.Subtopology], y.perSub[t.ID.Subtopology]))
		})
		if s == nil {
			rest = append(rest, *t)
			continue
		}
		a.give(s, t.ID)
	}
	return rest
}

// lack is the lag of a member as far as it matters.
func (a *assignment) lack(s *seat, t *Task) int64 {
	if a.ready(s, t) {
		return 0
	}
	return s.lag(t)
}

// stateful gives away the tasks that have state: first as the balance wants it,
// and then those whose members are not ready to members that are.
func (a *assignment) stateful() {
	tasks := slices.DeleteFunc(slices.Clone(a.tasks), func(t Task) bool { return !t.Stateful })
	a.share(len(tasks))
	rest := a.keep(tasks)
	rest = a.place(rest, func(s *seat, t *Task) bool { return a.room(s) && a.ready(s, t) })
	rest = a.place(rest, func(s *seat, t *Task) bool { return a.room(s) && s.state[t.ID] > 0 })
	a.place(rest, func(s *seat, _ *Task) bool { return a.room(s) })
	type move struct {
		t  *Task
		to *seat
	}
	var moves []move
	for i := range tasks {
		t := &tasks[i]
		to := a.active(t.ID)
		if !a.ready(to, t) && a.anyReady(t) {
			moves = append(moves, move{t, to})
		}
	}
	// What is nearly there goes on, instead of beginning with another one.
	slices.SortStableFunc(moves, func(x, y move) int { return cmp.Compare(x.to.lag(x.t), y.to.lag(y.t)) })
	for i, m := range moves {
		m.to.drop(m.t.ID)
		if i < a.o.Warmups {
			m.to.Warmup = append(m.to.Warmup, m.t.ID)
		}
	}
	for _, m := range moves {
		s := best(a.seats, func(s *seat) bool { return a.ready(s, m.t) }, func(x, y *seat) int {
			return cmp.Or(
				first(x.owned[m.t.ID], y.owned[m.t.ID]),
				cmp.Compare(len(x.Active), len(y.Active)),
				first(x.following[m.t.ID], y.following[m.t.ID]))
		})
		a.give(s, m.t.ID)
	}
}

func (a *assignment) active(id TaskID) *seat {
	return a.seats[slices.IndexFunc(a.seats, func(s *seat) bool { return slices.Contains(s.Active, id) })]
}

func (s *seat) drop(id TaskID) {
	s.Active = slices.DeleteFunc(s.Active, func(x TaskID) bool { return x == id })
	s.perSub[id.Subtopology]--
}

// stateless gives away the tasks that have no state, by count.
func (a *assignment) stateless() {
	tasks := slices.DeleteFunc(slices.Clone(a.tasks), func(t Task) bool { return t.Stateful })
	a.share(len(a.tasks))
	rest := a.keep(tasks)
	rest = a.place(rest, func(s *seat, _ *Task) bool { return a.room(s) })
	a.place(rest, func(*seat, *Task) bool { return true })
}

// standbys lets members keep copies: those that have them first, then those with
// the most state, then those with the least to do. A process has one copy of a task.
func (a *assignment) standbys() {
	tasks := slices.DeleteFunc(slices.Clone(a.tasks), func(t Task) bool { return !t.Stateful })
	quota := (len(tasks)*a.o.Standbys + len(a.seats) - 1) / len(a.seats)
	copies := map[TaskID]int{}
	fill := func(fits func(*seat, *Task) bool) {
		for i := range tasks {
			t := &tasks[i]
			for copies[t.ID] < a.o.Standbys {
				s := best(a.seats, func(s *seat) bool { return a.free(s, t.ID) && fits(s, t) }, func(x, y *seat) int {
					return cmp.Or(
						first(len(x.Standby) < quota, len(y.Standby) < quota),
						cmp.Compare(a.lack(x, t), a.lack(y, t)),
						cmp.Compare(len(x.Standby)+len(x.Active), len(y.Standby)+len(y.Active)))
				})
				if s == nil {
					break
				}
				s.Standby = append(s.Standby, t.ID)
				copies[t.ID]++
			}
		}
	}
	fill(func(s *seat, t *Task) bool { return s.following[t.ID] && len(s.Standby) < quota })
	fill(func(*seat, *Task) bool { return true })
}

// free says that the process of a member has no copy of a task yet.
func (a *assignment) free(s *seat, id TaskID) bool {
	return !slices.ContainsFunc(a.seats, func(x *seat) bool {
		return x.process == s.process &&
			(slices.Contains(x.Active, id) || slices.Contains(x.Standby, id) || slices.Contains(x.Warmup, id))
	})
}

// best returns the first of the seats that fit of which none compares less, nil
// if none fits.
func best(seats []*seat, fits func(*seat) bool, compare func(x, y *seat) int) (found *seat) {
	for _, s := range seats {
		if fits(s) && (found == nil || compare(s, found) < 0) {
			found = s
		}
	}
	return found
}

// first orders what is so before what is not.
func first(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	default:
		return 1
	}
}

func compare(a, b TaskID) int {
	return cmp.Or(cmp.Compare(a.Subtopology, b.Subtopology), cmp.Compare(a.Partition, b.Partition))
}
