package wiring

import (
	"errors"
	"fmt"
	"slices"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/processor"
)

// NewTask instantiates the operators of a sub-topology, given the sources by the
// names of their nodes. The processors of the
// user are initialised before it returns; if one fails, those before it are
// closed again.
func NewTask(sub *graph.Subtopology, sources map[string]*Source, h processor.Host) (processor.Task, error) {
	tk := &task{env: op.NewEnv(h), inlets: map[string]*inlet{}}
	a := &Assembly{Env: tk.env, built: map[any]any{}, task: tk}
	for _, n := range sub.Nodes {
		if n.Kind != graph.Source {
			continue
		}
		if err := tk.open(a, sources[n.Name]); err != nil {
			return nil, err
		}
	}
	for i, init := range a.inits {
		if err := tk.guarded(init); err != nil {
			tk.closers = tk.closers[:i]
			return nil, errors.Join(err, tk.Close())
		}
	}
	return tk, nil
}

// task is one running instance of a sub-topology.
type task struct {
	env     *op.Env
	inlets  map[string]*inlet // by topic, under the name that messages carry
	matches []match           // what topics that are not among these may belong to
	closers []func() error    // of the user's processors, in the order of their inits
}

// match is a source with a pattern.
type match struct {
	pattern *graph.Pattern
	inlet   *inlet
}

// inlet is a source of a task.
type inlet struct {
	name  string
	times Times
	feeds []op.Inlet
}

func (t *task) open(a *Assembly, s *Source) error {
	in := &inlet{name: s.Name, times: s.Times}
	for _, feed := range s.feeds {
		f, err := feed(a)
		if err != nil {
			return err
		}
		in.feeds = append(in.feeds, f)
	}
	if s.Pattern != nil {
		t.matches = append(t.matches, match{s.Pattern, in})
	}
	for _, topic := range s.Topics {
		if s.Internal {
			topic = graph.RepartitionTopic(a.Env.ApplicationID(), topic)
		}
		t.inlets[topic] = in
	}
	return nil
}

// Process implements processor.Task.
func (t *task) Process(m *processor.Message) (err error) {
	in, err := t.inlet(m)
	if err != nil {
		return err
	}
	t.env.Enter(in.name)
	defer t.env.Guard(&err)
	for _, feed := range in.feeds {
		if err := feed(m); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) inlet(m *processor.Message) (*inlet, error) {
	if in, ok := t.inlets[m.Topic]; ok {
		return in, nil
	}
	i := slices.IndexFunc(t.matches, func(c match) bool { return c.pattern.Match(m.Topic) })
	if i < 0 {
		return nil, &processor.Error{
			Operator: t.env.TaskID().String(), Stage: processor.Deserialize,
			Err: fmt.Errorf("the task does not read topic %s", m.Topic),
		}
	}
	t.inlets[m.Topic] = t.matches[i].inlet
	return t.matches[i].inlet, nil
}

// Close implements processor.Task.
func (t *task) Close() error {
	var errs []error
	for _, f := range t.closers {
		if err := t.guarded(f); err != nil {
			errs = append(errs, err)
		}
	}
	t.closers = nil
	return errors.Join(errs...)
}

func (t *task) guarded(f func() error) (err error) {
	defer t.env.Guard(&err)
	return f()
}
