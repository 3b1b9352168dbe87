package op

import (
	"fmt"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Sessions is how a session ends: after a gap without records, in milliseconds.
type Sessions struct{ Gap, Grace int64 }

// Join is how the aggregate of a session goes into that of the session that
// takes it in. has says whether there is one yet.
type Join[K, A any] func(key K, agg A, has bool, old A) A

// SumJoin joins counts.
func SumJoin[K any](_ K, agg int64, _ bool, old int64) int64 { return agg + old }

// ReduceJoin joins what a reduce has made.
func ReduceJoin[K, V any](combine func(aggregate, value V) V) Join[K, V] {
	return func(_ K, agg V, has bool, old V) V {
		if !has {
			return old
		}
		return combine(agg, old)
	}
}

// MergeJoin joins old sessions one by one into what initial makes.
func MergeJoin[K, A any](initial func() A, merge func(key K, a, b A) A) Join[K, A] {
	return func(key K, agg A, has bool, old A) A {
		if !has {
			agg = initial()
		}
		return merge(key, agg, old)
	}
}

// Session folds the records of each key into a row for each session. A record
// takes in every session that it touches, at a distance of the gap at most: those
// rows are deleted, and the new one spans them all.
func Session[K, V, A any](e *Env, operator string, rows *SessionRows[K, A], w Sessions, fold Fold[K, V, A], join Join[K, A]) Next[K, V] {
	streamTime := int64(-1)
	var touched []statestore.Row[K, A]
	return func(r processor.Record[K, V]) error {
		if r.NullKey {
			e.Drop(NullKey)
			return nil
		}
		streamTime = max(streamTime, r.Timestamp)
		closed := before(before(streamTime, w.Grace), w.Gap)
		if err := rows.closed(closed, streamTime); err != nil {
			return err
		}
		e.Enter(operator)
		start, end := r.Timestamp, r.Timestamp
		touched = touched[:0]
		earliest := before(r.Timestamp, w.Gap)
		if rows.closing != nil {
			earliest = max(earliest, closed) // what was emitted, or is about to be, is final
		}
		for s, err := range rows.store.FetchSessions(r.Key, earliest, after(r.Timestamp, w.Gap), statestore.Ascending) {
			if err != nil {
				return fail(operator, processor.Process, err)
			}
			touched = append(touched, s)
			start, end = min(start, s.Start), max(end, s.End)
		}
		if end < closed {
			e.Drop(Late)
			return nil
		}
		return fold.span(e, operator, rows, &r, touched, start, end, join)
	}
}

// span puts a record and the sessions that it touches into one session. Their
// rows go first, even if one spans the same time; only that of a record of the
// very same time, and alone, is replaced.
func (f Fold[K, V, A]) span(e *Env, operator string, rows *SessionRows[K, A], r *processor.Record[K, V], touched []statestore.Row[K, A], start, end int64, join Join[K, A]) error {
	var agg, old row[A]
	for i := range touched {
		s := &touched[i]
		was := row[A]{value: s.Value, ok: true, at: s.End}
		if start == end {
			old = was
		} else if err := rows.remove(r.Key, s.Start, s.End, was, r.Headers); err != nil {
			return err
		}
		e.Enter(operator)
		agg.value, agg.ok = join(r.Key, agg.value, agg.ok, s.Value), true
	}
	e.Enter(operator)
	agg.value, agg.ok = f(r.Key, r.Value, r.NullValue, agg.value, agg.ok)
	agg.at = end
	if !agg.ok {
		return rows.remove(r.Key, start, end, old, r.Headers)
	}
	return rows.put(r.Key, start, end, agg, old, r.Headers)
}

// SessionRows is the session store of an operator, and what comes after it.
type SessionRows[K, V any] struct {
	operator string
	store    statestore.Session[K, V]
	cached   bool
	notes    *noted[K] // nil unless cached
	next     Next[serde.Windowed[K], Change[V]]
	closing  *closing[K, V] // nil if every update goes on
}

// OpenSessions is [OpenWindows] for sessions.
func OpenSessions[K, V any](e *Env, s State[K, V], next Next[serde.Windowed[K], Change[V]]) (*SessionRows[K, V], error) {
	raw, err := e.Store(s.Store)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	store, err := OpenSession(e, s.Store, s.Key, s.Value)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	spec := raw.Spec()
	t := &SessionRows[K, V]{operator: s.Operator, store: store, cached: spec.Cached, next: next}
	if spec.Cached {
		t.notes = newNoted(e, s, true)
		err = store.OnFlush(onFlush(e, s.Operator, t.notes, next, func(c *statestore.Change[K, V]) serde.Windowed[K] {
			return serde.Windowed[K]{Key: c.Key, Start: c.Start, End: c.End}
		}))
	}
	if spec.Held {
		t.closing = newClosing(e, s, spec.RetentionMs, t.due, store.Expire, next)
	}
	return t, fail(s.Operator, processor.Process, err)
}

func (t *SessionRows[K, V]) closed(closeTime, latest int64) error {
	if t.closing == nil {
		return nil
	}
	return t.closing.run(closeTime, latest)
}

// due reads the rows that end between two times.
func (t *SessionRows[K, V]) due(from, to int64, add func(serde.Windowed[K], row[V]) error) error {
	for r, err := range t.store.FetchAll(from, to, statestore.Ascending) {
		if err == nil {
			err = add(serde.Windowed[K]{Key: r.Key, Start: r.Start, End: r.End}, row[V]{value: r.Value, ok: true, at: r.End})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *SessionRows[K, V]) put(key K, start, end int64, now, old row[V], h []processor.Header) error {
	stored, err := t.store.Put(key, start, end, now.value)
	if err == nil && t.notes != nil && stored {
		err = t.notes.note(key, start, end, h)
	}
	if err != nil || t.closing != nil || t.cached && stored {
		return fail(t.operator, processor.Process, err)
	}
	return forward(t.next, serde.Windowed[K]{Key: key, Start: start, End: end}, now, old, h)
}

func (t *SessionRows[K, V]) remove(key K, start, end int64, old row[V], h []processor.Header) error {
	err := t.store.Remove(key, start, end)
	if err == nil && t.notes != nil {
		err = t.notes.note(key, start, end, h)
	}
	if err != nil || t.closing != nil || t.cached {
		return fail(t.operator, processor.Process, err)
	}
	return forward(t.next, serde.Windowed[K]{Key: key, Start: start, End: end}, row[V]{at: end}, old, h)
}

// OpenSession returns a typed session store of a task.
func OpenSession[K, V any](s processor.Stores, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.Session[K, V], error) {
	raw, err := s.Store(name)
	if err != nil {
		return nil, err
	}
	topic := changelog(s.ApplicationID(), name)
	w, err := statestore.AsSession(raw, codec[K]{key, topic}, codec[V]{value, topic})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	return w, nil
}

// OpenSessionRows returns the lookup of a table in a session store.
func OpenSessionRows[K, V any](e *Env, s State[K, V]) (Lookup[serde.Windowed[K], V], error) {
	w, err := OpenSession(e, s.Store, s.Key, s.Value)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	return func(key serde.Windowed[K], _ int64) (V, int64, bool, error) {
		v, ok, err := w.Get(key.Key, key.Start, key.End)
		return v, key.End, ok, err
	}, nil
}
