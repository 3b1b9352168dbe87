package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Builder collects nodes, stores and topics. Its methods return an error that
// names the clash and change nothing in that case.
type Builder struct {
	nodes        map[string]*Node
	order        []string // names in the order of addition
	stores       map[string]Store
	repartitions map[string]Repartition
	readers      map[string]string // topic → source node
	copartitions []Copartition
	globals      map[string]Global // by the node that keeps the rows
	nullKeys     map[string]bool   // nodes that make something of records without a key
}

// NewBuilder returns an empty builder.
func NewBuilder() *Builder {
	return &Builder{
		nodes:        map[string]*Node{},
		stores:       map[string]Store{},
		repartitions: map[string]Repartition{},
		readers:      map[string]string{},
		nullKeys:     map[string]bool{},
		globals:      map[string]Global{},
	}
}

// AddSource adds a node that reads topics. A topic has one source.
func (b *Builder) AddSource(name string, topics ...string) error {
	for _, t := range topics {
		if other, ok := b.readers[t]; ok {
			return fmt.Errorf("topic %s is already read by %s", t, other)
		}
		if err := b.unmatched(t); err != nil {
			return err
		}
	}
	if err := b.add(Node{Name: name, Kind: Source, Topics: topics}); err != nil {
		return err
	}
	for _, t := range topics {
		b.readers[t] = name
	}
	return nil
}

// Reset says where a source begins to read.
func (b *Builder) Reset(source string, r Reset) { b.nodes[source].Reset = r }

// AddProcessor adds a node between others.
func (b *Builder) AddProcessor(name string, parents ...string) error {
	return b.add(Node{Name: name, Kind: Processor, Parents: parents})
}

// AddSink adds a node that writes a topic.
func (b *Builder) AddSink(name, topic string, parents ...string) error {
	return b.add(Node{Name: name, Kind: Sink, Topics: []string{topic}, Parents: parents})
}

func (b *Builder) add(n Node) error {
	if _, ok := b.nodes[n.Name]; ok {
		return fmt.Errorf("the name %s is taken by another operator", n.Name)
	}
	for _, p := range n.Parents {
		if b.nodes[p] == nil {
			return fmt.Errorf("no operator is named %s", p)
		}
	}
	for _, p := range n.Parents {
		b.nodes[p].Children = append(b.nodes[p].Children, n.Name)
	}
	b.nodes[n.Name] = &n
	b.order = append(b.order, n.Name)
	return nil
}

// AddStore adds a store.
func (b *Builder) AddStore(s Store) error {
	if _, ok := b.stores[s.Name]; ok {
		return fmt.Errorf("a store named %s exists already", s.Name)
	}
	b.stores[s.Name] = s
	return nil
}

// Connect lets a node use a store; both exist already.
func (b *Builder) Connect(node, store string) error {
	n := b.nodes[node]
	if n == nil {
		return fmt.Errorf("no operator is named %s", node)
	}
	if _, ok := b.stores[store]; !ok {
		return fmt.Errorf("no store is named %s", store)
	}
	if !slices.Contains(n.Stores, store) {
		n.Stores = append(n.Stores, store)
	}
	return nil
}

// AddRepartition declares that a topic is internal. The nodes that write and
// read it are added like any other sink and source.
func (b *Builder) AddRepartition(r Repartition) error {
	if _, ok := b.repartitions[r.Name]; ok {
		return fmt.Errorf("a repartition topic named %s exists already", r.Name)
	}
	b.repartitions[r.Name] = r
	return nil
}

// Copartition demands equal partition counts of all topics whose records reach
// nodes without going through another topic. by names the operator that makes
// the demand, for people.
func (b *Builder) Copartition(by string, nodes ...string) {
	c := Copartition{By: by}
	for _, name := range nodes {
		c.Sources = append(c.Sources, b.upstream(name)...)
	}
	slices.Sort(c.Sources)
	c.Sources = slices.Compact(c.Sources)
	for _, source := range c.Sources {
		c.Topics = append(c.Topics, b.nodes[source].Topics...)
	}
	slices.Sort(c.Topics)
	b.copartitions = append(b.copartitions, c)
}

// AddGlobal adds a global table: the node that reads its topic and the one that
// keeps the rows.
func (b *Builder) AddGlobal(source, table string, g Global) error {
	if err := b.AddStore(Store{Name: g.Store}); err != nil {
		return err
	}
	if err := b.AddSource(source, g.Topic); err != nil {
		return err
	}
	if err := b.add(Node{Name: table, Kind: Processor, Parents: []string{source}, Stores: []string{g.Store}}); err != nil {
		return err
	}
	b.globals[table] = g
	return nil
}

// TakeNullKeys says that a node makes something of records without a key.
func (b *Builder) TakeNullKeys(node string) { b.nullKeys[node] = true }

// NullKeysCount reports whether a node downstream, behind repartition topics
// too, makes something of records without a key.
func (b *Builder) NullKeysCount(node string) bool {
	seen := map[string]bool{}
	var visit func(name string) bool
	visit = func(name string) bool {
		if name == "" || seen[name] {
			return false
		}
		seen[name] = true
		n := b.nodes[name]
		if b.nullKeys[name] || slices.ContainsFunc(n.Children, visit) {
			return true
		}
		if n.Kind != Sink {
			return false
		}
		_, internal := b.repartitions[n.Topics[0]]
		return internal && visit(b.readers[n.Topics[0]])
	}
	return visit(node)
}

// Parents returns the nodes that feed a node, in the order in which they were
// connected. The slice is not to be changed.
func (b *Builder) Parents(name string) []string { return b.nodes[name].Parents }

// upstream returns the sources that a node is fed from.
func (b *Builder) upstream(name string) []string {
	n := b.nodes[name]
	if n.Kind == Source {
		return []string{name}
	}
	var sources []string
	for _, p := range n.Parents {
		sources = append(sources, b.upstream(p)...)
	}
	return sources
}

// Build cuts the graph into sub-topologies, numbered in the order in which
// their first nodes were added. A store that no node uses is left out.
func (b *Builder) Build() *Topology {
	u := newUnion(b.nodes)
	byStore := map[string]string{}
	for _, name := range b.order {
		n := b.nodes[name]
		for _, p := range n.Parents {
			u.join(name, p)
		}
		for _, s := range n.Stores {
			if first, ok := byStore[s]; ok {
				u.join(name, first)
			} else {
				byStore[s] = name
			}
		}
	}
	topo := &Topology{}
	ids := map[string]int{}
	var members [][]string // in the order of addition
	for _, name := range b.order {
		root := u.find(name)
		id, ok := ids[root]
		if !ok {
			id = len(members)
			ids[root] = id
			members = append(members, nil)
		}
		members[id] = append(members[id], name)
	}
	for id, names := range members {
		topo.Subtopologies = append(topo.Subtopologies, b.cut(id, names))
	}
	return topo
}

// cut makes one sub-topology out of the nodes of one connected part.
func (b *Builder) cut(id int, names []string) Subtopology {
	s := Subtopology{ID: id}
	stores := map[string]bool{}
	for _, name := range names {
		n := b.nodes[name]
		if g, ok := b.globals[name]; ok {
			s.Global = &g
		}
		s.Nodes = append(s.Nodes, Node{
			Name: n.Name, Kind: n.Kind, Topics: slices.Clone(n.Topics), Pattern: n.Pattern, Reset: n.Reset, Stores: slices.Clone(n.Stores),
			Parents: slices.Clone(n.Parents), Children: slices.Clone(n.Children),
		})
		for _, st := range n.Stores {
			if !stores[st] {
				stores[st] = true
				s.Stores = append(s.Stores, b.stores[st])
			}
		}
		for _, t := range n.Topics {
			b.addTopic(&s, n.Kind, t)
		}
	}
	order(s.Nodes)
	if s.Global != nil {
		return Subtopology{ID: id, Nodes: s.Nodes, Global: s.Global}
	}
	slices.Sort(s.Sources)
	slices.Sort(s.Sinks)
	s.Sinks = slices.Compact(s.Sinks)
	slices.Sort(s.Outlets)
	s.Outlets = slices.Compact(s.Outlets)
	slices.SortFunc(s.Stores, func(a, b Store) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Repartitions, func(a, b Repartition) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range b.copartitions {
		if slices.Contains(names, c.Sources[0]) {
			s.Copartitions = append(s.Copartitions, c)
		}
	}
	return s
}

func (b *Builder) addTopic(s *Subtopology, kind Kind, topic string) {
	r, internal := b.repartitions[topic]
	switch {
	case kind == Source && internal:
		s.Repartitions = append(s.Repartitions, r)
	case kind == Source:
		s.Sources = append(s.Sources, topic)
	case internal:
		s.Outlets = append(s.Outlets, topic)
	default:
		s.Sinks = append(s.Sinks, topic)
	}
}

// union is a union-find over node names.
type union map[string]string

func newUnion(nodes map[string]*Node) union {
	u := make(union, len(nodes))
	for name := range nodes {
		u[name] = name
	}
	return u
}

func (u union) find(x string) string {
	for u[x] != x {
		u[x] = u[u[x]]
		x = u[x]
	}
	return x
}

func (u union) join(x, y string) {
	rx, ry := u.find(x), u.find(y)
	if rx > ry {
		rx, ry = ry, rx
	}
	u[ry] = rx
}
