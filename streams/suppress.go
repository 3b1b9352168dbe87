package streams

import (
	"errors"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/internal/wiring"
)

// Buffer is the room for rows that wait in [Table.Suppress]: [Unbounded],
// [MaxRecords] or [MaxBytes], and methods of the same names that bound the other
// thing too. EmitEarlyWhenFull and ShutDownWhenFull say what happens when there is
// no room: the oldest rows go on early, or the app ends with [ErrBufferFull].
type Buffer = window.Buffer

// Unbounded returns a buffer that takes whatever comes.
func Unbounded() Buffer { return window.Unbounded() }

// MaxRecords returns a buffer for n rows, which lets the oldest go on early when
// it is full.
func MaxRecords(n int64) Buffer { return window.MaxRecords(n) }

// MaxBytes returns a buffer for n bytes of keys, values and headers, which lets
// the oldest row go on early when it is full.
func MaxBytes(n int64) Buffer { return window.MaxBytes(n) }

// ErrBufferFull means that a buffer that must not emit early has no room.
var ErrBufferFull = op.ErrBufferFull

// Suppressed says which changes of a table are held back, and for how long.
type Suppressed = window.Suppressed

// UntilTimeLimit holds each change back for some stream time, counted from the
// first one of its key.
func UntilTimeLimit(wait time.Duration, b Buffer) Suppressed { return window.UntilTimeLimit(wait, b) }

// UntilWindowCloses holds the rows of windows back until they cannot change any
// more. The buffer must be unbounded or shut down when it is full.
func UntilWindowCloses(b Buffer) Suppressed { return window.UntilWindowCloses(b) }

// closes is how the windows of an operator end, for a suppression behind it.
type closes struct {
	after int64 // of stream time, from the end of a window
	end   any   // func(K, int64) int64, the end of the window of a key
}

// Suppress holds changes of the table back, and lets only the last one of a key
// go on. The rows of the table are kept, and what waits has a changelog. Options:
// [Named], [NoChangelog], [TopicConfig].
//
//	table                     --a[0,10):1@1--a[0,10):2@8--a[10,20):1@12-->
//	Suppress (until closed)   ----------------------------a[0,10):2@8---->
func (t *Table[K, V]) Suppress(s Suppressed, opts ...Option) *Table[K, V] {
	if t.failed() {
		return &Table[K, V]{}
	}
	b, o := t.b, collect(opts)
	st := b.next("KTABLE-SUPPRESS", o, setName|setLog|setTopicConfig)
	store := o.name + "-store"
	if o.has(setName) {
		b.index-- // a named suppression takes no number
	} else {
		store = b.generate("KTABLE-SUPPRESS-STATE-STORE")
		st.named(false)
	}
	by, err := suppression[K](b, t.out.Name, s)
	st.check(err)
	st.need(!t.view.versioned, "a versioned table cannot be suppressed")
	key, err := pick(nil, t.key)
	st.check(err)
	value, err := pick(nil, t.value)
	st.check(err)
	st.processor(t.out.Name)
	st.addStore(graph.Store{Name: store, Cached: true, Logged: !o.has(setLog), TopicConfig: o.topicConfig})
	st.connect(store)
	if st.bad {
		return &Table[K, V]{}
	}
	t.view.tell(st, true) // while a row waits, readers get the one that it replaces
	out := &flow[K, op.Change[V]]{Name: st.name}
	state := op.State[K, V]{Operator: st.name, Store: store, Key: key, Value: value}
	wiring.Pass(t.out, out, func(a *assembly, next op.Next[K, op.Change[V]]) (op.Next[K, op.Change[V]], error) {
		return op.Suppress(a.Env, state, by, next)
	})
	rows := view[K, V]{
		keep: func(reader *step) []string { return append(t.view.keep(reader), store) },
		open: func(a *assembly) (op.Lookup[K, V], error) {
			parent, err := t.view.open(a)
			if err != nil {
				return nil, err
			}
			return op.SuppressRows(a.Env, state, parent)
		},
		tell: t.view.tell,
	}
	return &Table[K, V]{b: b, out: out, key: key, value: value, view: rows}
}

// suppression checks what the user wants behind an operator.
func suppression[K any](b *Builder, operator string, s Suppressed) (op.Suppression[K], error) {
	by, final, err := window.Suppression[K](s)
	if err != nil || !final {
		return by, err
	}
	c, ok := b.closing(operator)
	if !ok {
		return by, errors.New("only windows close: there is no windowed aggregation before")
	}
	if by.Time, ok = c.end.(func(K, int64) int64); !ok {
		return by, errors.New("the keys are no longer those of the windows")
	}
	by.Wait = c.after
	return by, nil
}

// closing finds the windows that an operator gets its rows from: the nearest on
// every way up, and of several the ones that close last.
func (b *Builder) closing(operator string) (found closes, ok bool) {
	if c, ok := b.closes[operator]; ok {
		return c, true
	}
	for _, p := range b.graph.Parents(operator) {
		c, ok := b.closing(p)
		if !ok {
			return c, false
		}
		if found.end == nil || c.after > found.after {
			found = c
		}
	}
	return found, found.end != nil
}
