package graph

import (
	"slices"
	"strconv"
	"strings"
)

// Describe returns the topology in the text of Kafka Streams, which drawing
// tools read: the same nodes give the same bytes, order of names included.
func (t *Topology) Describe() string {
	var b strings.Builder
	b.WriteString("Topologies:\n ")
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		b.WriteString("  Sub-topology: " + strconv.Itoa(s.ID))
		if s.Global != nil {
			b.WriteString(" for global store (will not generate tasks)")
		}
		b.WriteString("\n")
		for j := range s.Nodes {
			s.Nodes[j].describe(&b)
		}
		if s.Global == nil {
			b.WriteString("\n")
		}
	}
	return b.String()
}

func (n *Node) describe(b *strings.Builder) {
	switch n.Kind {
	case Source:
		topics := "[" + strings.Join(javaOrder(n.Topics), ", ") + "]"
		if n.Pattern != nil {
			topics = n.Pattern.String()
		}
		b.WriteString("    Source: " + n.Name + " (topics: " + topics + ")\n")
	case Processor:
		b.WriteString("    Processor: " + n.Name + " (stores: [" + strings.Join(javaOrder(n.Stores), ", ") + "])\n")
	case Sink:
		b.WriteString("    Sink: " + n.Name + " (topic: " + n.Topics[0] + ")\n")
	}
	if n.Kind != Sink {
		b.WriteString("      --> " + orNone(n.Children) + "\n")
	}
	if n.Kind != Source {
		b.WriteString("      <-- " + orNone(n.Parents) + "\n")
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// order sorts the nodes of a sub-topology, and the parents and children of
// each, into the order in which Kafka Streams prints them.
//
// There a node is compared by the size of what hangs below it, counted once a
// path, then by name. Neighbours are compared while the sizes are still being
// added up, in the iteration order of a Java hash map, and keep the place that
// they got then. Both are repeated here step by step.
func order(nodes []Node) {
	byName := make(map[string]*Node, len(nodes))
	names := make([]string, len(nodes))
	sizes := make(map[string]int, len(nodes))
	links := make(map[string]*neighbours, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		byName[n.Name], names[i], sizes[n.Name], links[n.Name] = n, n.Name, 1, &neighbours{}
	}
	before := func(a, b string) bool {
		if sizes[a] != sizes[b] {
			return sizes[a] > sizes[b]
		}
		return a < b
	}
	var grow func(name string, by int)
	grow = func(name string, by int) {
		sizes[name] += by
		for _, p := range links[name].parents.names() {
			grow(p, by)
		}
	}
	for _, name := range javaOrder(names) {
		for _, p := range byName[name].Parents {
			links[name].parents.insert(p, before)
			links[p].children.insert(name, before)
			grow(p, sizes[name])
		}
	}
	for i := range nodes {
		nodes[i].Parents, nodes[i].Children = links[nodes[i].Name].parents.names(), links[nodes[i].Name].children.names()
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		if before(a.Name, b.Name) {
			return -1
		}
		return 1
	})
}

type neighbours struct{ parents, children treeSet }

// javaOrder returns names in the order in which a Java HashMap that they were
// put into one by one iterates over them.
func javaOrder(names []string) []string {
	buckets := 16
	for len(names)*4 > buckets*3 {
		buckets *= 2
	}
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return bucket(a, buckets) - bucket(b, buckets) })
	return sorted
}

// bucket is the place of a string in a Java HashMap of that many buckets: the
// string hash of the Java language over UTF-16 units, high bits folded in.
func bucket(s string, buckets int) int {
	var h uint32
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			h = 31*h + uint32(0xd800+r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + uint32(r)
	}
	return int((h ^ h>>16) & uint32(buckets-1))
}
