package graph

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Pattern chooses topics: those whose whole name matches an expression.
type Pattern struct {
	text  string
	whole *regexp.Regexp
}

// NewPattern returns the pattern of an expression.
func NewPattern(expr *regexp.Regexp) *Pattern {
	return &Pattern{text: expr.String(), whole: regexp.MustCompile(`^(?:` + expr.String() + `)$`)}
}

// String returns the expression.
func (p *Pattern) String() string { return p.text }

// Match reports whether a topic is chosen.
func (p *Pattern) Match(topic string) bool { return p.whole.MatchString(topic) }

// ErrOverlap means that a topic would have two sources.
var ErrOverlap = errors.New("topic has two sources")

// AddPattern adds a node that reads the topics that match. None of them may have
// another source.
func (b *Builder) AddPattern(name string, p *Pattern) error {
	for _, topic := range b.topics() {
		if p.Match(topic) {
			return fmt.Errorf("%w: %s matches %s and is read by %s", ErrOverlap, topic, p, b.readers[topic])
		}
	}
	return b.add(Node{Name: name, Kind: Source, Pattern: p})
}

// topics returns the user topics that are read by name, sorted.
func (b *Builder) topics() []string {
	var topics []string
	for topic := range b.readers {
		if _, internal := b.repartitions[topic]; !internal {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	return topics
}

// unmatched says that no pattern matches a user topic that is to be read by name.
func (b *Builder) unmatched(topic string) error {
	if _, internal := b.repartitions[topic]; internal {
		return nil
	}
	for _, name := range b.order {
		if p := b.nodes[name].Pattern; p != nil && p.Match(topic) {
			return fmt.Errorf("%w: %s matches %s, which %s reads", ErrOverlap, topic, p, name)
		}
	}
	return nil
}

// Patterned reports whether the topology reads topics by pattern.
func (t *Topology) Patterned() bool {
	return slices.ContainsFunc(t.Subtopologies, func(s Subtopology) bool { return slices.ContainsFunc(s.Nodes, hasPattern) })
}

func hasPattern(n Node) bool { return n.Pattern != nil }

// Source returns the node that reads a user topic.
func (s *Subtopology) Source(topic string) (Node, bool) {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool {
		return n.Kind == Source && (slices.Contains(n.Topics, topic) || n.Pattern != nil && n.Pattern.Match(topic))
	})
	if i < 0 {
		return Node{}, false
	}
	return s.Nodes[i], true
}

// Bind returns the topology on a cluster that has these topics: a source with a
// pattern reads those that match. What the application makes for itself never
// does. Topics that match two patterns are an [ErrOverlap].
func (t *Topology) Bind(app string, topics []string) (*Topology, error) {
	if !t.Patterned() {
		return t, nil
	}
	own := map[string]bool{}
	for i := range t.Subtopologies {
		for _, r := range t.Subtopologies[i].Repartitions {
			own[RepartitionTopic(app, r.Name)] = true
		}
		for j := range t.Subtopologies[i].Stores {
			own[ChangelogTopic(app, t.Subtopologies[i].Stores[j].Name)] = true
		}
	}
	bound := &Topology{Subtopologies: slices.Clone(t.Subtopologies)}
	readers := map[string]*Pattern{}
	var errs []error
	for _, topic := range slices.Sorted(slices.Values(topics)) {
		for i := range bound.Subtopologies {
			for _, n := range bound.Subtopologies[i].Nodes {
				if n.Pattern == nil || own[topic] || !n.Pattern.Match(topic) {
					continue
				}
				if other := readers[topic]; other != nil {
					errs = append(errs, fmt.Errorf("%w: %s matches %s and %s", ErrOverlap, topic, other, n.Pattern))
					continue
				}
				readers[topic] = n.Pattern
				bound.Subtopologies[i].read(n.Name, topic)
			}
		}
	}
	return bound, errors.Join(errs...)
}

// read lets a source read one more topic, in a sub-topology that shares its slices
// with another one.
func (s *Subtopology) read(source, topic string) {
	s.Nodes = slices.Clone(s.Nodes)
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == source })
	s.Nodes[i].Topics = append(slices.Clip(s.Nodes[i].Topics), topic)
	s.Sources = slices.Sorted(slices.Values(append(slices.Clip(s.Sources), topic)))
	s.Copartitions = slices.Clone(s.Copartitions)
	for i := range s.Copartitions {
		if c := &s.Copartitions[i]; slices.Contains(c.Sources, source) {
			c.Topics = slices.Sorted(slices.Values(append(slices.Clip(c.Topics), topic)))
		}
	}
}
