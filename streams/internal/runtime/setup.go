package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
)

// ErrPartitions means that an internal topic exists with a partition count that
// does not fit the topology.
var ErrPartitions = errors.New("partition count does not fit")

// SetupOptions says how to create internal topics.
type SetupOptions struct {
	Replication int16             // -1 is the default of the cluster
	Repartition map[string]string // topic configuration over the defaults
	Changelog   map[string]string
	DeadLetters string // topic; empty for none
}

// Setup is an application on its cluster.
type Setup struct {
	Layout       *Layout
	Topics       []string // that tasks read, sorted
	Work         []Work
	Changelogs   []string          // topics
	Repartitions []string          // topics
	Globals      []TP              // what every instance reads whole
	TopicIDs     map[string]string // of the changelogs and global tables, where the broker has ids
}

// shown is how long a source topic is waited for: the brokers of a cluster do not
// learn of one that was just created at the same moment.
const shown = 5 * time.Second

// Prepare checks the source topics and creates the internal topics that are
// missing. It returns when the cluster shows all of them. Topics that exist are
// used as they are, if their partition counts fit.
func Prepare(ctx context.Context, admin Admin, app string, g *graph.Topology, o SetupOptions) (*Setup, error) {
	patience, cancel := context.WithTimeout(ctx, shown)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		s, err := prepare(ctx, admin, app, g, o)
		if !errors.Is(err, graph.ErrNoTopic) || sleep(patience, wait) != nil {
			return s, err
		}
	}
}

func prepare(ctx context.Context, admin Admin, app string, g *graph.Topology, o SetupOptions) (*Setup, error) {
	bound, sources, err := bind(ctx, admin, app, g, o)
	if err != nil {
		return nil, err
	}
	plan, err := bound.Plan(app, func(topic string) (int32, bool) {
		t, ok := sources[topic]
		return t.Partitions, ok
	})
	if err != nil {
		return nil, err
	}
	wanted := append(internal(plan.Repartitions, o.Repartition), internal(plan.Changelogs, o.Changelog)...)
	there, err := ensure(ctx, admin, wanted, o.Replication)
	if err != nil {
		return nil, err
	}
	s := &Setup{Layout: NewLayout(app, g), TopicIDs: map[string]string{}}
	counts := map[string]int32{}
	for _, name := range bound.Sources() {
		counts[name] = sources[name].Partitions
	}
	for _, t := range plan.Repartitions {
		counts[t.Name] = there[t.Name].Partitions
		s.Repartitions = append(s.Repartitions, t.Name)
	}
	for _, t := range plan.Changelogs {
		s.Changelogs = append(s.Changelogs, t.Name)
		if id := there[t.Name].ID; id != "" {
			s.TopicIDs[t.Name] = id
		}
	}
	s.Topics = slices.Sorted(maps.Keys(counts))
	s.Work = s.Layout.Work(counts)
	if err := deadLetters(ctx, admin, counts, o); err != nil {
		return nil, err
	}
	return s, s.globals(ctx, admin, g)
}

// bind finds the source topics, and what patterns match on the cluster.
func bind(ctx context.Context, admin Admin, app string, g *graph.Topology, o SetupOptions) (*graph.Topology, map[string]Topic, error) {
	if !g.Patterned() {
		topics, err := admin.Topics(ctx, g.Sources())
		if err != nil {
			err = fmt.Errorf("describe source topics: %w", err)
		}
		return g, topics, err
	}
	topics, err := admin.AllTopics(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list topics: %w", err)
	}
	var names []string
	for name, t := range topics {
		if !t.Internal && name != o.DeadLetters {
			names = append(names, name)
		}
	}
	bound, err := g.Bind(app, names)
	return bound, topics, err
}

// Renew is [Prepare] if patterns match other topics by now; else it returns s.
func (s *Setup) Renew(ctx context.Context, admin Admin, app string, g *graph.Topology, o SetupOptions) (*Setup, error) {
	bound, _, err := bind(ctx, admin, app, g, o)
	if err != nil {
		return nil, err
	}
	have := func(topic string) bool { return slices.Contains(s.Topics, topic) }
	if now := bound.Sources(); len(now)+len(s.Repartitions) == len(s.Topics) && !slices.ContainsFunc(now, func(t string) bool { return !have(t) }) {
		return s, nil
	}
	return Prepare(ctx, admin, app, g, o)
}

// deadLetters creates the dead-letter topic if it is missing. One that exists is
// used as it is, but not if its letters would come back as records.
func deadLetters(ctx context.Context, admin Admin, sources map[string]int32, o SetupOptions) error {
	if o.DeadLetters == "" {
		return nil
	}
	if _, read := sources[o.DeadLetters]; read {
		return fmt.Errorf("the topology reads %s, where its dead letters go", o.DeadLetters)
	}
	there, err := admin.Topics(ctx, []string{o.DeadLetters})
	if err != nil {
		return fmt.Errorf("describe dead-letter topic: %w", err)
	}
	if len(there) > 0 {
		return nil
	}
	most := int32(1)
	for _, n := range sources {
		most = max(most, n)
	}
	_, err = ensure(ctx, admin, []Topic{{Name: o.DeadLetters, Partitions: most, Config: map[string]string{"cleanup.policy": "delete"}}}, o.Replication)
	return err
}

// globals finds the partitions of the global tables.
func (s *Setup) globals(ctx context.Context, admin Admin, g *graph.Topology) error {
	var names []string
	for _, table := range g.Globals() {
		names = append(names, table.Topic)
	}
	if len(names) == 0 {
		return nil
	}
	there, err := admin.Topics(ctx, names)
	if err != nil {
		return fmt.Errorf("describe topics of global tables: %w", err)
	}
	for _, name := range names {
		t, ok := there[name]
		if !ok {
			return fmt.Errorf("%w: %s", graph.ErrNoTopic, name)
		}
		s.TopicIDs[name] = t.ID
		for p := range t.Partitions {
			s.Globals = append(s.Globals, TP{name, p})
		}
	}
	return nil
}

func internal(topics []graph.InternalTopic, overrides map[string]string) []Topic {
	wanted := make([]Topic, 0, len(topics))
	for _, t := range topics {
		if t.Partitions == 0 {
			continue // nothing writes it yet
		}
		config := maps.Clone(t.Config)
		maps.Copy(config, overrides)
		wanted = append(wanted, Topic{Name: t.Name, Partitions: t.Partitions, Config: config})
	}
	return wanted
}

// ensure creates what is missing and waits until the cluster shows it.
func ensure(ctx context.Context, admin Admin, wanted []Topic, replication int16) (map[string]Topic, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	names := make([]string, 0, len(wanted))
	for _, t := range wanted {
		names = append(names, t.Name)
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		there, err := admin.Topics(ctx, names)
		if err != nil {
			return nil, fmt.Errorf("describe internal topics: %w", err)
		}
		missing, err := compare(wanted, there)
		if err != nil || len(missing) == 0 {
			return there, err
		}
		if err := admin.Create(ctx, missing, replication); err != nil {
			return nil, fmt.Errorf("create internal topics: %w", err)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("wait for internal topics: %w", err)
		}
	}
}

func compare(wanted []Topic, there map[string]Topic) (missing []Topic, err error) {
	var bad []string
	for _, t := range wanted {
		switch is, ok := there[t.Name]; {
		case !ok:
			missing = append(missing, t)
		case is.Partitions != t.Partitions:
			bad = append(bad, fmt.Sprintf("topic %s has %d partitions, the topology needs %d", t.Name, is.Partitions, t.Partitions))
		}
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("%w: %s: reset the application or give it another id", ErrPartitions, strings.Join(bad, "; "))
	}
	return missing, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
