package streams

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
)

// Buffer is the room for rows that wait in [Table.Suppress].
type Buffer struct {
	records, bytes int64
	strict         bool
}

// Unbounded returns a buffer that takes whatever comes.
func Unbounded() Buffer { return Buffer{records: math.MaxInt64, bytes: math.MaxInt64, strict: true} }

// MaxRecords returns a buffer for n rows, which lets the oldest go on early when
// it is full.
func MaxRecords(n int64) Buffer { return Buffer{records: n, bytes: math.MaxInt64} }

// MaxBytes returns a buffer for n bytes of keys, values and headers, which lets
// the oldest row go on early when it is full.
func MaxBytes(n int64) Buffer { return Buffer{records: math.MaxInt64, bytes: n} }

// MaxRecords bounds the rows too.
func (b Buffer) MaxRecords(n int64) Buffer { b.records = n; return b }

// MaxBytes bounds the bytes too.
func (b Buffer) MaxBytes(n int64) Buffer { b.bytes = n; return b }

// EmitEarlyWhenFull lets the oldest rows go on early rather than fail.
func (b Buffer) EmitEarlyWhenFull() Buffer { b.strict = false; return b }

// ShutDownWhenFull ends the app with an error that wraps [ErrBufferFull] rather
// than let a row go on early.
func (b Buffer) ShutDownWhenFull() Buffer { b.strict = true; return b }

// ErrBufferFull means that a buffer that must not emit early has no room.
var ErrBufferFull = op.ErrBufferFull

// Suppressed says which changes of a table are held back, and for how long.
type Suppressed struct {
	wait   time.Duration
	final  bool
	buffer Buffer
}

// UntilTimeLimit holds each change back for some stream time, counted from the
// first one of its key.
func UntilTimeLimit(wait time.Duration, b Buffer) Suppressed {
	return Suppressed{wait: wait, buffer: b}
}

// UntilWindowCloses holds the rows of windows back until they cannot change any
// more. The buffer must be unbounded or shut down when it is full.
func UntilWindowCloses(b Buffer) Suppressed { return Suppressed{final: true, buffer: b} }

// closes is how the windows of an operator end, for a suppression behind it.
type closes struct {
	after int64 // of stream time, from the end of a window
	end   any   // func(K, int64) int64, the end of the window of a key
}

// Suppress holds changes of the table back, and lets only the last one of a key
// go on. What waits has a changelog. Options: [Named], [NoChangelog],
// [TopicConfig].
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
	by, err := suppression[K](b, t.out.name, s)
	st.check(err)
	st.need(!t.view.versioned, "a versioned table cannot be suppressed")
	key, err := pick(nil, t.key)
	st.check(err)
	value, err := pick(nil, t.value)
	st.check(err)
	st.processor(t.out.name)
	st.addStore(graph.Store{Name: store, Cached: true, Logged: !o.has(setLog), TopicConfig: o.topicConfig})
	st.connect(store)
	if st.bad {
		return &Table[K, V]{}
	}
	out := &flow[K, op.Change[V]]{name: st.name}
	state := op.State[K, V]{Operator: st.name, Store: store, Key: key, Value: value}
	pass(t.out, out, func(a *assembly, next op.Next[K, op.Change[V]]) (op.Next[K, op.Change[V]], error) {
		return op.Suppress(a.env, state, by, next)
	})
	rows := view[K, V]{
		keep: func(reader *step) []string { return append(t.view.keep(reader), store) },
		open: func(a *assembly) (op.Lookup[K, V], error) {
			parent, err := t.view.open(a)
			if err != nil {
				return nil, err
			}
			return op.SuppressRows(a.env, state, parent)
		},
		tell: t.view.tell,
	}
	return &Table[K, V]{b: b, out: out, key: key, value: value, view: rows}
}

// suppression checks what the user wants behind an operator.
func suppression[K any](b *Builder, operator string, s Suppressed) (op.Suppression[K], error) {
	by := op.Suppression[K]{
		Wait: millis(s.wait), Time: op.TimeOfRecord[K],
		Records: s.buffer.records, Bytes: s.buffer.bytes, EmitEarly: !s.buffer.strict, Final: s.final,
	}
	switch {
	case s.buffer.records <= 0 || s.buffer.bytes <= 0:
		return by, errors.New("a buffer needs room for at least one record and one byte")
	case s.wait < 0:
		return by, fmt.Errorf("the wait %v is negative", s.wait)
	case !s.final:
		return by, nil
	case by.EmitEarly:
		return by, errors.New("final results cannot be emitted early: let the buffer be unbounded or shut down when it is full")
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
