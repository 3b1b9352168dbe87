package goka

import (
	"bytes"
	"errors"
	"iter"
	"slices"

	"github.com/weirstream/weir/statestore"
)

// iterator implements storage.Iterator over a snapshot of a table.
type iterator struct {
	view     statestore.Snapshot
	from, to []byte
	next     func() (statestore.Pair, error, bool)
	stop     func()
	now      statestore.Pair
	peeked   bool // now is ahead of the caller, who has yet to call Next
	err      error
}

func newIterator(db statestore.DB, from, to []byte) (*iterator, error) {
	view, err := db.Snapshot()
	if err != nil {
		return nil, err
	}
	it := &iterator{view: view, from: from, to: to}
	it.start(it.from)
	return it, nil
}

func (it *iterator) start(from []byte) {
	it.next, it.stop = iter.Pull2(it.view.Range(from, it.to, statestore.Ascending))
}

// Next implements storage.Iterator.
func (it *iterator) Next() bool {
	if it.peeked {
		it.peeked = false
		return it.now.Key != nil
	}
	return it.advance()
}

func (it *iterator) advance() bool {
	it.now = statestore.Pair{}
	if it.err != nil {
		return false
	}
	pair, err, ok := it.next()
	if err != nil {
		it.err = err
		return false
	}
	if ok {
		it.now = pair
	}
	return ok
}

// Err implements storage.Iterator.
func (it *iterator) Err() error { return it.err }

// Key implements storage.Iterator.
func (it *iterator) Key() []byte { return bytes.TrimPrefix(it.now.Key, []byte(rowPrefix)) }

// Value implements storage.Iterator.
func (it *iterator) Value() ([]byte, error) { return it.now.Value, it.err }

// Release implements storage.Iterator.
func (it *iterator) Release() {
	it.stop()
	it.now, it.peeked = statestore.Pair{}, false
	if it.err == nil {
		it.err = errReleased
		if err := it.view.Close(); err != nil {
			it.err = err
		}
	}
}

// errReleased is what an iterator says after its release.
var errReleased = errors.New("the iterator was released")

// Seek implements storage.Iterator.
func (it *iterator) Seek(key []byte) bool {
	if it.err != nil {
		return false
	}
	it.stop()
	from := rowKey(key)
	if bytes.Compare(from, it.from) < 0 {
		from = it.from
	}
	it.start(from)
	it.peeked = it.advance()
	return it.peeked
}

// prefixEnd is the smallest key after all that begin with a prefix; nil where there is none.
func prefixEnd(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
