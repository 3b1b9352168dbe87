// Package wiring puts the operators of a topology together, once for each task.
//
// The DSL leaves behind a [Flow] for each node, with functions that instantiate
// what comes after it, and a [Source] for each topic. A task asks the sources of
// its sub-topology for what hangs below them: an operator that several paths lead
// to is instantiated once.
package wiring

import (
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/serde"
)

// Flow is where the records of one node go, in the topology.
type Flow[K, V any] struct {
	Name string // of the node
	next []func(*Assembly) (op.Next[K, V], error)
}

// Then lets the records of the flow reach an operator too.
func (f *Flow[K, V]) Then(build func(*Assembly) (op.Next[K, V], error)) {
	f.next = append(f.next, build)
}

// Build instantiates everything below the node.
func (f *Flow[K, V]) Build(a *Assembly) (op.Next[K, V], error) {
	return Once(a, f, func() (op.Next[K, V], error) {
		next := make([]op.Next[K, V], 0, len(f.next))
		for _, build := range f.next {
			n, err := build(a)
			if err != nil {
				return nil, err
			}
			next = append(next, n)
		}
		return op.FanOut(next), nil
	})
}

// Pass lets the records of a flow reach another one by way of an operator, which
// mk makes in front of what comes after.
func Pass[K, V, K2, V2 any](from *Flow[K, V], to *Flow[K2, V2], mk func(a *Assembly, next op.Next[K2, V2]) (op.Next[K, V], error)) {
	from.Then(func(a *Assembly) (op.Next[K, V], error) {
		next, err := to.Build(a)
		if err != nil {
			return nil, err
		}
		return mk(a, next)
	})
}

// Source is one source node: what it reads and what hangs below.
type Source struct {
	Name     string
	Topics   []string       // without the application id
	Pattern  *graph.Pattern // instead of Topics; nil for none
	Internal bool
	Table    bool
	Times    Times

	feeds []func(*Assembly) (op.Inlet, error)
}

// Feed lets a source decode for a flow.
func Feed[K, V any](src *Source, out *Flow[K, V], key serde.Serde[K], value serde.Serde[V]) {
	src.feeds = append(src.feeds, func(a *Assembly) (op.Inlet, error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		return op.Source(src.Name, key, value, next), nil
	})
}

// Assembly is a task while it is put together.
type Assembly struct {
	Env   *op.Env
	built map[any]any // what several operators share
	inits []func() error
	task  *task
}

// Once opens what several operators of a task share, under a key that no other
// has.
func Once[T any](a *Assembly, key any, open func() (T, error)) (T, error) {
	if t, ok := a.built[key].(T); ok {
		return t, nil
	}
	t, err := open()
	if err == nil {
		a.built[key] = t
	}
	return t, err
}

// Run makes code of the user part of the task: what starts and what ends it.
func (a *Assembly) Run(init, end func() error) {
	a.inits = append(a.inits, init)
	a.task.closers = append(a.task.closers, end)
}
