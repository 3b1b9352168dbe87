package streams

import (
	"errors"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// The typed stores, as a [Processor] uses them.
type (
	// KV is a typed key-value store.
	KV[K, V any] = statestore.KeyValue[K, V]
	// WindowStore is a typed window store.
	WindowStore[K, V any] = statestore.Window[K, V]
	// SessionStore is a typed session store.
	SessionStore[K, V any] = statestore.Session[K, V]
)

// StoreRef is a store of a topology, before it is opened. Given to [Process] as
// an option, it connects the processor to the store.
type StoreRef[K, V any] struct{ ref[K, V] }

// WindowStoreRef is a [StoreRef] of a window store.
type WindowStoreRef[K, V any] struct{ ref[K, V] }

// SessionStoreRef is a [StoreRef] of a session store.
type SessionStoreRef[K, V any] struct{ ref[K, V] }

// ref is what references of all kinds of stores have in common.
type ref[K, V any] struct {
	b     *Builder
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]
}

func (r ref[K, V]) apply(o *options) {
	o.set |= setRef
	o.refs = append(o.refs, r.name)
	o.owners = append(o.owners, r.b)
}

// Name returns the name of the store.
func (r ref[K, V]) Name() string { return r.name }

// Open returns the store of a task. A processor calls it in Init.
func (r StoreRef[K, V]) Open(ctx processor.Stores) (KV[K, V], error) {
	return op.OpenKeyValue(ctx, r.name, r.key, r.value)
}

// Open returns the store of a task. A processor calls it in Init.
func (r WindowStoreRef[K, V]) Open(ctx processor.Stores) (WindowStore[K, V], error) {
	return op.OpenWindow(ctx, r.name, r.key, r.value)
}

// Open returns the store of a task. A processor calls it in Init.
func (r SessionStoreRef[K, V]) Open(ctx processor.Stores) (SessionStore[K, V], error) {
	return op.OpenSession(ctx, r.name, r.key, r.value)
}

// NewStore declares a key-value store for processors. Tasks have one each, with
// the rows of their partition; processors that share a store share tasks.
// Options: [NoCache], [InMemory], [NoChangelog], [TopicConfig].
func NewStore[K, V any](b *Builder, name string, key serde.Serde[K], value serde.Serde[V], opts ...Option) StoreRef[K, V] {
	return StoreRef[K, V]{newRef(b, name, key, value, opts, 0, func(*step, *graph.Store) {})}
}

// NewWindowStore declares a window store for processors, whose rows have a key
// and a start and are kept, in the time of the starts, for the size of a window
// or what [Retention] says. Options: those of [NewStore] and [Retention].
func NewWindowStore[K, V any](b *Builder, name string, size time.Duration, key serde.Serde[K], value serde.Serde[V], opts ...Option) WindowStoreRef[K, V] {
	return WindowStoreRef[K, V]{newRef(b, name, key, value, opts, setRetention, func(st *step, s *graph.Store) {
		st.check(window.Check(window.Aligned(size, size)))
		st.retain(s, window.Store(window.Aligned(size, size), s, OnWindowUpdate))
	})}
}

// NewSessionStore declares a session store for processors, whose rows have a key,
// a start and an end and are kept for the retention, in the time of the ends.
// Options: those of [NewStore].
func NewSessionStore[K, V any](b *Builder, name string, retention time.Duration, key serde.Serde[K], value serde.Serde[V], opts ...Option) SessionStoreRef[K, V] {
	return SessionStoreRef[K, V]{newRef(b, name, key, value, opts, 0, func(st *step, s *graph.Store) {
		st.need(retention > 0, "the retention %v is not positive", retention)
		window.SessionStore(s, OnWindowUpdate)
		st.retain(s, retention)
	})}
}

func newRef[K, V any](b *Builder, name string, key serde.Serde[K], value serde.Serde[V], opts []Option, allowed setting, shape func(*step, *graph.Store)) ref[K, V] {
	o := collect(opts)
	st := &step{b: b, name: name, o: o}
	st.check(o.only(setCache | setMemory | setLog | setTopicConfig | allowed))
	st.need(key != nil && value != nil, "a serde is nil")
	if b.built {
		st.check(errors.New("the topology is built already"))
	}
	desc := o.keyValue(name)
	desc.Timestamped = false
	shape(st, &desc)
	st.addStore(desc)
	return ref[K, V]{b: b, name: name, key: key, value: value}
}
