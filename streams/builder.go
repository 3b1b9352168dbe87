package streams

import (
	"errors"
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
)

// Builder collects the operators of one topology. It is used from one goroutine
// and spent once built.
type Builder struct {
	graph        *graph.Builder
	sources      map[string]*source // by topic
	patterns     map[string]*source // by expression
	stores       map[string]graph.Store
	repartitions map[string]any    // name → *Stream[K, V], shared by groupings of the same name
	closes       map[string]closes // by the operator that makes windows
	errs         []error
	index        int
	requireNames bool
	built        bool
}

// BuilderOption configures a builder.
type BuilderOption func(*Builder)

// RequireNames makes Build refuse generated names of stores and repartition
// topics. Generated names count operators, so adding one operator renames what
// stands behind it and orphans its state.
func RequireNames() BuilderOption { return func(b *Builder) { b.requireNames = true } }

// NewBuilder returns an empty builder.
func NewBuilder(opts ...BuilderOption) *Builder {
	b := &Builder{
		graph:        graph.NewBuilder(),
		sources:      map[string]*source{},
		patterns:     map[string]*source{},
		stores:       map[string]graph.Store{},
		repartitions: map[string]any{},
		closes:       map[string]closes{},
	}
	for _, f := range opts {
		f(b)
	}
	return b
}

// Build checks the topology. The error joins one [*TopologyError] for each
// mistake, in the order of the calls.
func (b *Builder) Build() (*Topology, error) {
	errs := b.errs
	if len(errs) == 0 && len(b.sources)+len(b.patterns) == 0 {
		errs = append(errs, ErrEmpty)
	}
	if b.built {
		errs = append(errs, errors.New("the builder was built before"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	b.built = true
	t := &Topology{graph: b.graph.Build(), sources: map[string]*source{}}
	for _, of := range []map[string]*source{b.sources, b.patterns} {
		for _, src := range of {
			t.sources[src.Name] = src
		}
	}
	return t, nil
}

// step is one call on the builder while it is worked on: it names the operator
// and collects what is wrong with it.
type step struct {
	b    *Builder
	name string
	o    *options
	bad  bool
}

// next starts an operator: it takes the next number even if a name is given, so
// that naming one operator does not rename others.
func (b *Builder) next(prefix string, o *options, allowed setting) *step {
	s := &step{b: b, o: o, name: b.generate(prefix)}
	if o.has(setName) {
		s.name = o.name
		s.check(graph.Legal(o.name))
	}
	s.check(o.only(allowed))
	if b.built {
		s.check(errors.New("the topology is built already"))
	}
	return s
}

// between starts an operator that combines two others, and has no name yet.
func (b *Builder) between(what, left, right string, opts []Option) *step {
	s := &step{b: b, o: collect(opts), name: fmt.Sprintf("%s of %s and %s", what, left, right)}
	if s.o.has(setName) {
		s.name = s.o.name
		s.check(graph.Legal(s.name))
	}
	if b.built {
		s.check(errors.New("the topology is built already"))
	}
	return s
}

// suffixed returns the name of the user with a suffix, or else a generated one.
func (s *step) suffixed(suffix, generated string) string {
	if s.o.has(setName) {
		return s.o.name + suffix
	}
	return generated
}

// at tells people which operator this is and where it stands.
func (s *step) at() string { return fmt.Sprintf("%s (%s)", s.name, caller()) }

// generate returns a name with the next number of the builder.
func (b *Builder) generate(prefix string) string {
	name := fmt.Sprintf("%s-%010d", prefix, b.index)
	b.index++
	return name
}

// check keeps err, if there is one, with the name and place of the operator.
func (s *step) check(err error) {
	if err != nil {
		s.bad = true
		s.b.errs = append(s.b.errs, &TopologyError{Op: s.name, Pos: caller(), Err: err})
	}
}

// need is check for a condition in words.
func (s *step) need(ok bool, format string, args ...any) {
	if !ok {
		s.check(fmt.Errorf(format, args...))
	}
}

// processor adds the operator to the graph behind its parents.
func (s *step) processor(parents ...string) {
	if !s.bad {
		s.check(s.b.graph.AddProcessor(s.name, parents...))
	}
}

// node adds a node of the operator to the graph, where it has several.
func (s *step) node(name string, parents ...string) {
	if !s.bad {
		s.check(s.b.graph.AddProcessor(name, parents...))
	}
}

// connect lets the operator use a store.
func (s *step) connect(store string) {
	if !s.bad {
		s.check(s.b.graph.Connect(s.name, store))
	}
}

// keep declares a store and lets nodes use it.
func (s *step) keep(st graph.Store, nodes ...string) {
	s.addStore(st)
	for _, node := range nodes {
		if !s.bad {
			s.check(s.b.graph.Connect(node, st.Name))
		}
	}
}

// addStore declares a store.
func (s *step) addStore(st graph.Store) {
	if s.bad {
		return
	}
	s.check(graph.Legal(st.Name))
	s.need(st.RetentionMs >= 0, "the history of the store is negative")
	if !s.bad {
		s.check(s.b.graph.AddStore(st))
		s.b.stores[st.Name] = st
	}
}
