package op

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// User runs a processor of the user, and is the context that it sees.
type User[KI, VI, KO, VO any] struct {
	e      *Env
	name   string
	stores []string
	p      processor.Processor[KI, VI, KO, VO]
	next   Next[KO, VO]
}

// NewUser returns the operator for p, which may open only these stores.
func NewUser[KI, VI, KO, VO any](e *Env, name string, stores []string, p processor.Processor[KI, VI, KO, VO], next Next[KO, VO]) *User[KI, VI, KO, VO] {
	return &User[KI, VI, KO, VO]{e: e, name: name, stores: stores, p: p, next: next}
}

// Init initialises the processor.
func (u *User[KI, VI, KO, VO]) Init() error {
	u.e.Enter(u.name)
	return fail(u.name, processor.Process, u.p.Init(userContext[KO, VO]{u.e, u.name, u.stores, u.next}))
}

// Process hands one record to the processor.
func (u *User[KI, VI, KO, VO]) Process(r processor.Record[KI, VI]) error {
	u.e.Enter(u.name)
	return fail(u.name, processor.Process, u.p.Process(r))
}

// Close closes the processor.
func (u *User[KI, VI, KO, VO]) Close() error {
	u.e.Enter(u.name)
	return fail(u.name, processor.Process, u.p.Close())
}

// userContext implements processor.Context.
type userContext[K, V any] struct {
	*Env
	name   string
	stores []string
	next   Next[K, V]
}

// Forward hands r to the operators downstream.
func (c userContext[K, V]) Forward(r processor.Record[K, V]) error {
	err := c.next(r)
	c.Enter(c.name)
	return err
}

// Schedule calls f every so often.
func (c userContext[K, V]) Schedule(every time.Duration, t processor.PunctuationType, f func(now int64) error) (cancel func()) {
	return c.Env.Schedule(c.name, every, t, f)
}

// Commit asks for a commit.
func (c userContext[K, V]) Commit() { c.RequestCommit() }

// Store returns a store that the processor is connected to.
func (c userContext[K, V]) Store(name string) (statestore.Store, error) {
	if !slices.Contains(c.stores, name) {
		return nil, fmt.Errorf("store %s is not connected to %s", name, c.name)
	}
	return c.Host.Store(name)
}

// Fixed runs a processor of the user that keeps keys.
type Fixed[K, V, V2 any] struct {
	user userContext[K, V2]
	p    processor.FixedProcessor[K, V, V2]
	of   processor.Record[K, V] // what is processed
	busy bool                   // within Process
}

// NewFixed returns the operator for p, which may open only these stores.
func NewFixed[K, V, V2 any](e *Env, name string, stores []string, p processor.FixedProcessor[K, V, V2], next Next[K, V2]) *Fixed[K, V, V2] {
	return &Fixed[K, V, V2]{user: userContext[K, V2]{e, name, stores, next}, p: p}
}

// Init initialises the processor.
func (f *Fixed[K, V, V2]) Init() error {
	f.user.Enter(f.user.name)
	return fail(f.user.name, processor.Process, f.p.Init(fixedContext[K, V, V2]{f.user, f}))
}

// Process hands one record to the processor.
func (f *Fixed[K, V, V2]) Process(r processor.Record[K, V]) error {
	f.user.Enter(f.user.name)
	f.of, f.busy = r, true
	defer func() { f.busy = false }()
	return fail(f.user.name, processor.Process, f.p.Process(r))
}

// Close closes the processor.
func (f *Fixed[K, V, V2]) Close() error {
	f.user.Enter(f.user.name)
	return fail(f.user.name, processor.Process, f.p.Close())
}

// fixedContext implements processor.FixedContext.
type fixedContext[K, V, V2 any] struct {
	userContext[K, V2]
	f *Fixed[K, V, V2]
}

// Forward hands a value to the operators downstream.
func (c fixedContext[K, V, V2]) Forward(value V2) error {
	if !c.f.busy {
		return processor.ErrNoKey
	}
	return c.userContext.Forward(withValue(c.f.of, value))
}

// ForwardNull hands a null value to the operators downstream.
func (c fixedContext[K, V, V2]) ForwardNull() error {
	if !c.f.busy {
		return processor.ErrNoKey
	}
	r := withValue(c.f.of, *new(V2))
	r.NullValue = true
	return c.userContext.Forward(r)
}

// ForwardAt hands a value to the operators downstream, at another time.
func (c fixedContext[K, V, V2]) ForwardAt(value V2, timestamp int64, headers []processor.Header) error {
	if !c.f.busy {
		return processor.ErrNoKey
	}
	r := withValue(c.f.of, value)
	r.Timestamp, r.Headers = timestamp, headers
	return c.userContext.Forward(r)
}

// Transform runs a row transformer of the user.
type Transform[K, V, V2 any] struct {
	e      *Env
	name   string
	stores []string
	t      processor.RowTransformer[K, V, V2]
}

// NewTransform returns the runner of t, which may open only these stores.
func NewTransform[K, V, V2 any](e *Env, name string, stores []string, t processor.RowTransformer[K, V, V2]) *Transform[K, V, V2] {
	return &Transform[K, V, V2]{e: e, name: name, stores: stores, t: t}
}

// Init initialises the transformer.
func (r *Transform[K, V, V2]) Init() error {
	r.e.Enter(r.name)
	return fail(r.name, processor.Process, r.t.Init(userContext[K, V2]{Env: r.e, name: r.name, stores: r.stores}))
}

// Each is an [Each].
func (r *Transform[K, V, V2]) Each(key K, value V, ok bool) (V2, bool, error) {
	r.e.Enter(r.name)
	v, ok, err := r.t.Transform(key, value, ok)
	return v, ok, fail(r.name, processor.Process, err)
}

// Close closes the transformer.
func (r *Transform[K, V, V2]) Close() error {
	r.e.Enter(r.name)
	return fail(r.name, processor.Process, r.t.Close())
}
