package runtime

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weirstream/weir/streams/internal/graph"
)

// Layout tells which partitions belong to which task. It is never changed.
type Layout struct {
	graph      *graph.Topology
	topics     map[string]int // topic that is read by name → sub-topology
	changelogs [][]string     // topics, by sub-topology
}

// Work is one task and what it reads.
type Work struct {
	ID         TaskID
	Partitions []TP
}

// NewLayout returns the layout of an application.
func NewLayout(app string, g *graph.Topology) *Layout {
	l := &Layout{graph: g, topics: map[string]int{}}
	for i := range g.Subtopologies {
		for _, topic := range g.Subtopologies[i].SourceTopics(app) {
			l.topics[topic] = i
		}
		var logs []string
		for j := range g.Subtopologies[i].Stores {
			if s := &g.Subtopologies[i].Stores[j]; s.Logged {
				logs = append(logs, s.Changelog(app).Name)
			}
		}
		l.changelogs = append(l.changelogs, logs)
	}
	return l
}

// Named reports whether a topic is read by name, not because a pattern matches it.
func (l *Layout) Named(topic string) bool {
	_, ok := l.topics[topic]
	return ok
}

// Task returns the task that reads a partition.
func (l *Layout) Task(tp TP) (TaskID, bool) {
	sub, ok := l.topics[tp.Topic]
	for i := 0; !ok && i < len(l.graph.Subtopologies); i++ {
		if n, reads := l.graph.Subtopologies[i].Source(tp.Topic); reads && n.Pattern != nil {
			sub, ok = i, true
		}
	}
	return TaskID{Subtopology: sub, Partition: tp.Partition}, ok
}

// Changelogs returns the changelog partitions of a task; none of one that does not
// exist.
func (l *Layout) Changelogs(id TaskID) []TP {
	if id.Subtopology < 0 || id.Subtopology >= len(l.changelogs) {
		return nil
	}
	var tps []TP
	for _, topic := range l.changelogs[id.Subtopology] {
		tps = append(tps, TP{topic, id.Partition})
	}
	return tps
}

// Work returns all tasks, sorted, given the partition counts of the topics that
// they read.
func (l *Layout) Work(partitions map[string]int32) []Work {
	byID := map[TaskID]*Work{}
	for _, topic := range slices.Sorted(maps.Keys(partitions)) {
		for p := range partitions[topic] {
			tp := TP{topic, p}
			id, ok := l.Task(tp)
			if !ok {
				break
			}
			w := byID[id]
			if w == nil {
				w = &Work{ID: id}
				byID[id] = w
			}
			w.Partitions = append(w.Partitions, tp)
		}
	}
	all := make([]Work, 0, len(byID))
	for _, w := range byID {
		all = append(all, *w)
	}
	slices.SortFunc(all, func(a, b Work) int { return compareTasks(a.ID, b.ID) })
	return all
}

func compareTasks(a, b TaskID) int {
	return cmp.Or(cmp.Compare(a.Subtopology, b.Subtopology), cmp.Compare(a.Partition, b.Partition))
}
