// Package query reads the stores of a running app from outside its tasks: typed,
// from any goroutine, changes that are not committed yet included.
//
// It sees the tasks that run in this process, and copies of others if the app is
// that of App.Stale: they show what was committed a moment ago. Each is read between two records,
// and waits for the reader: rows are collected first and returned then, so a
// reader may take its time. What belongs to a task that is not ready is an error,
// not a gap: see [KeyValue.Get].
package query

import (
	"errors"
	"fmt"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// App is what has stores: a streams.App, its Stale, or the driver of streamstest.
type App interface {
	// Query calls f for every task here that runs and has the store. If others
	// have it that do not run yet, it ends with an error that says so.
	Query(store string, f func(id processor.TaskID, s processor.Stores) error) error
}

// ErrNoStore means that no task in this process has the store: it has another
// name, or its tasks run elsewhere.
var ErrNoStore = errors.New("no task here has the store")

// Row is a row of a store. Start and End are those of a window, a session, or
// the time from and up to which a version is valid; all in milliseconds.
type Row[K, V any] = statestore.Row[K, V]

// store is a store of an app under a typed front S.
type store[K, V, S any] struct {
	app   App
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]
	front func(s processor.Stores, name string, key serde.Serde[K], value serde.Serde[V]) (S, error)
}

var errFound = errors.New("found")

// each reads the store of one task after another until read is done.
func (q *store[K, V, S]) each(read func(s S) (done bool, err error)) error {
	seen := false
	err := q.app.Query(q.name, func(_ processor.TaskID, s processor.Stores) error {
		seen = true
		front, err := q.front(s, q.name, q.key, q.value)
		if err != nil {
			return err
		}
		done, err := read(front)
		if err == nil && done {
			err = errFound
		}
		return err
	})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err != nil:
		return fmt.Errorf("query store %s: %w", q.name, err)
	case !seen:
		return fmt.Errorf("query store %s: %w", q.name, ErrNoStore)
	default:
		return nil
	}
}

// one returns the row that get finds in some task.
func (q *store[K, V, S]) one(get func(s S) (Row[K, V], bool, error)) (row Row[K, V], ok bool, err error) {
	err = q.each(func(s S) (bool, error) {
		row, ok, err = get(s)
		return ok, err
	})
	return row, ok && err == nil, err
}

// all returns the rows of all tasks, task by task.
func (q *store[K, V, S]) all(walk func(s S) walk[K, V]) (rows []Row[K, V], err error) {
	err = q.each(func(s S) (bool, error) {
		for r, err := range walk(s) {
			if err != nil {
				return false, err
			}
			rows = append(rows, r)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

type walk[K, V any] func(yield func(Row[K, V], error) bool)
