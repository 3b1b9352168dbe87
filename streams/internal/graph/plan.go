package graph

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Plan is a topology on a cluster whose topics have known partition counts.
type Plan struct {
	Tasks        []int32         // tasks of each sub-topology, by its id
	Repartitions []InternalTopic // to create before the first task starts, sorted by name
	Changelogs   []InternalTopic // the same; of no partitions where there is no task yet
}

// ErrCopartition means that topics whose records meet have different partition counts.
var ErrCopartition = errors.New("co-partition")

// ErrNoTopic means that a source topic does not exist.
var ErrNoTopic = errors.New("source topic does not exist")

// Plan computes how many tasks each sub-topology has (as many as its largest
// source has partitions) and which internal topics an application needs.
// partitions says how many partitions a user topic has, and false if there is
// none of that name.
func (t *Topology) Plan(app string, partitions func(topic string) (int32, bool)) (*Plan, error) {
	counts := map[string]int32{}
	var errs []error
	for _, topic := range t.Sources() {
		n, ok := partitions(topic)
		if !ok {
			errs = append(errs, fmt.Errorf("%w: %s", ErrNoTopic, topic))
		}
		counts[topic] = n
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := t.sizeRepartitions(counts); err != nil {
		return nil, err
	}
	p := &Plan{}
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		if err := s.copartitioned(counts); err != nil {
			errs = append(errs, err)
		}
		tasks := s.largest(counts)
		p.Tasks = append(p.Tasks, tasks)
		for j := range s.Repartitions {
			topic := s.Repartitions[j].Topic(app)
			topic.Partitions = counts[s.Repartitions[j].Name]
			p.Repartitions = append(p.Repartitions, topic)
		}
		for j := range s.Stores {
			if s.Stores[j].Logged {
				topic := s.Stores[j].Changelog(app)
				topic.Partitions = tasks
				p.Changelogs = append(p.Changelogs, topic)
			}
		}
	}
	byName := func(a, b InternalTopic) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(p.Repartitions, byName)
	slices.SortFunc(p.Changelogs, byName)
	return p, errors.Join(errs...)
}

// sizeRepartitions gives every repartition topic a partition count: its own, or
// that of the topics it must match, or that of the largest topic upstream.
func (t *Topology) sizeRepartitions(counts map[string]int32) error {
	var open []Repartition
	for i := range t.Subtopologies {
		for _, r := range t.Subtopologies[i].Repartitions {
			if r.Partitions > 0 {
				counts[r.Name] = r.Partitions
			} else {
				open = append(open, r)
			}
		}
	}
	for len(open) > 0 {
		left := slices.DeleteFunc(slices.Clone(open), func(r Repartition) bool {
			n := t.upstream(r.Name, counts)
			if n > 0 {
				counts[r.Name] = n
			}
			return n > 0
		})
		if len(left) == len(open) && t.quiet() {
			return fmt.Errorf("%w: none matches a pattern, and the partition count of %s depends on it", ErrNoTopic, open[0].Name)
		}
		if len(left) == len(open) {
			return fmt.Errorf("the partition count of %s depends on itself: set it", open[0].Name)
		}
		open = left
	}
	for i := range t.Subtopologies {
		t.Subtopologies[i].adapt(counts)
	}
	return nil
}

// quiet reports whether a pattern matches no topic.
func (t *Topology) quiet() bool {
	return slices.ContainsFunc(t.Subtopologies, func(s Subtopology) bool {
		return slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Pattern != nil && len(n.Topics) == 0 })
	})
}

// upstream returns the partition count of the largest source of the
// sub-topologies that write a topic, and 0 while one of them is not known.
func (t *Topology) upstream(topic string, counts map[string]int32) int32 {
	most := int32(0)
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		if !slices.Contains(s.Outlets, topic) {
			continue
		}
		for _, r := range s.Repartitions {
			if counts[r.Name] == 0 {
				return 0
			}
		}
		most = max(most, s.largest(counts))
	}
	return most
}

// adapt gives repartition topics of a co-partition group the count of the rest.
func (s *Subtopology) adapt(counts map[string]int32) {
	for _, c := range s.Copartitions {
		fixed := int32(0)
		for _, topic := range c.Topics {
			if !s.adapts(topic) {
				fixed = max(fixed, counts[topic])
			}
		}
		if fixed == 0 {
			for _, topic := range c.Topics {
				fixed = max(fixed, counts[topic])
			}
		}
		for _, topic := range c.Topics {
			if s.adapts(topic) {
				counts[topic] = fixed
			}
		}
	}
}

// adapts reports whether topic is a repartition topic without a count of its own.
func (s *Subtopology) adapts(topic string) bool {
	return slices.ContainsFunc(s.Repartitions, func(r Repartition) bool { return r.Name == topic && r.Partitions == 0 })
}

func (s *Subtopology) copartitioned(counts map[string]int32) error {
	var errs []error
	for _, c := range s.Copartitions {
		for _, topic := range c.Topics {
			if counts[topic] != counts[c.Topics[0]] {
				errs = append(errs, fmt.Errorf("%s: %w: %s has %d partitions, %s %d",
					c.By, ErrCopartition, c.Topics[0], counts[c.Topics[0]], topic, counts[topic]))
				break
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Subtopology) largest(counts map[string]int32) int32 {
	most := int32(0)
	for _, topic := range s.Sources {
		most = max(most, counts[topic])
	}
	for _, r := range s.Repartitions {
		most = max(most, counts[r.Name])
	}
	return most
}
