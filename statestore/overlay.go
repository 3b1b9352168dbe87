package statestore

import (
	"github.com/tidwall/btree"
)

// version is the state of a row at some moment.
type version struct {
	row  []byte // as in the DB
	live bool   // false: the key has no row
	time int64  // of the change, for the changelog
}

// entry is a key with changes that the DB does not have.
//
// cur is what reads see. A write after a flush leaves the flushed version alone
// and makes cur anew; writes after that reuse its memory.
type entry struct {
	key        string
	cur        version
	old        version // before the first write since the last flush, if the store is cached
	done       version // flushed and not handed out
	hasDone    bool
	dirty      bool // cur was not flushed
	prev, next *entry
}

// entryOverhead is what an entry costs beside its bytes: itself, its map slot,
// its place in the index.
const entryOverhead = 240

func (e *entry) size() int {
	n := entryOverhead + len(e.key) + len(e.cur.row) + len(e.old.row)
	if e.hasDone && e.dirty {
		n += len(e.done.row)
	}
	return n
}

// overlay holds the pending changes of a store. The map answers gets; the
// ordered index is made only when somebody walks the rows.
type overlay struct {
	byKey       map[string]*entry
	first, last *entry // dirty entries, by last write
	flushed     []*entry
	bytes       int
	writes      uint64 // calls of set

	ordered *btree.BTreeG[*entry]
	fresh   []*entry // not in ordered yet
	changes uint64   // grows when entries come or go
}

func newOverlay() overlay { return overlay{byKey: map[string]*entry{}} }

// insert adds an entry for a key that has none.
func (o *overlay) insert(key []byte) *entry {
	e := &entry{key: string(key)}
	o.byKey[e.key] = e
	o.fresh = append(o.fresh, e)
	o.changes++
	o.bytes += e.size()
	return e
}

// set makes v the current version of a key; it copies the row. old is called
// for a new entry and returns the version in the DB.
func (o *overlay) set(key, row []byte, live bool, at int64, keepOld bool, old func(key []byte) (version, error)) error {
	e := o.byKey[string(key)]
	if e == nil {
		var before version
		if keepOld {
			var err error
			if before, err = old(key); err != nil {
				return err
			}
		}
		e = o.insert(key)
		e.cur = before
		o.bytes += len(before.row)
	}
	o.writes++
	size := e.size()
	if !e.dirty {
		if keepOld {
			e.old = e.cur
		}
		e.cur.row = nil
		e.dirty = true
	} else {
		o.unlink(e)
	}
	o.pushBack(e)
	e.cur = version{row: append(e.cur.row[:0], row...), live: live, time: at}
	o.bytes += e.size() - size
	return nil
}

// restore makes v a flushed version of a key.
func (o *overlay) restore(key, row []byte, live bool, at int64) {
	e := o.byKey[string(key)]
	if e == nil {
		e = o.insert(key)
	}
	size := e.size()
	v := version{row: append([]byte(nil), row...), live: live, time: at}
	if !e.hasDone {
		o.flushed = append(o.flushed, e)
	}
	e.done, e.hasDone = v, true
	if !e.dirty {
		e.cur = v
	}
	o.bytes += e.size() - size
}

// flushNext takes the dirty entry that was written longest ago and makes it a
// flushed one. It returns its versions before and now, or a nil entry.
func (o *overlay) flushNext() (e *entry, old, now version) {
	e = o.first
	if e == nil {
		return nil, old, now
	}
	size := e.size()
	o.unlink(e)
	old, now = e.old, e.cur
	e.dirty, e.old = false, version{}
	if !e.hasDone {
		o.flushed = append(o.flushed, e)
	}
	e.done, e.hasDone = now, true
	o.bytes += e.size() - size
	return e, old, now
}

// take hands every flushed version to f and forgets it.
func (o *overlay) take(f func(key string, v version)) {
	for _, e := range o.flushed {
		f(e.key, e.done)
		e.done, e.hasDone = version{}, false
	}
	clear(o.flushed)
	o.flushed = o.flushed[:0]
	o.keepDirty()
}

// reset forgets everything.
func (o *overlay) reset() {
	changes, writes := o.changes+1, o.writes
	*o = newOverlay()
	o.changes, o.writes = changes, writes
}

// keepDirty forgets every entry that is not dirty.
func (o *overlay) keepDirty() {
	clear(o.byKey)
	clear(o.fresh)
	o.ordered, o.fresh, o.bytes = nil, o.fresh[:0], 0
	o.changes++
	for e := o.first; e != nil; e = e.next {
		o.byKey[e.key] = e
		o.fresh = append(o.fresh, e)
		o.bytes += e.size()
	}
}

func (o *overlay) pushBack(e *entry) {
	e.prev, e.next = o.last, nil
	if o.last == nil {
		o.first = e
	} else {
		o.last.next = e
	}
	o.last = e
}

func (o *overlay) unlink(e *entry) {
	if e.prev == nil {
		o.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		o.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// index brings the ordered index up to date.
func (o *overlay) index() *btree.BTreeG[*entry] {
	if o.ordered == nil {
		o.ordered = btree.NewBTreeGOptions(func(a, b *entry) bool { return a.key < b.key }, btree.Options{NoLocks: true})
	}
	for _, e := range o.fresh {
		o.ordered.Set(e)
	}
	clear(o.fresh)
	o.fresh = o.fresh[:0]
	return o.ordered
}

// cursor walks the entries of an overlay between two keys. Entries may come and
// go while it walks: it goes on behind the last key that it passed.
type cursor struct {
	o        *overlay
	order    Order
	from, to string // half open
	passed   []byte
	started  bool
	pivot    entry
	at       *entry
	valid    bool // at is what comes next, as of changes
	changes  uint64
}

// peek returns the next entry, nil at the end.
func (c *cursor) peek() *entry {
	if c.valid && c.changes == c.o.changes {
		return c.at
	}
	c.at, c.valid, c.changes = nil, true, c.o.changes
	if len(c.o.byKey) == 0 {
		return nil
	}
	switch {
	case c.started:
		c.pivot.key = string(c.passed)
	case c.order == Descending:
		c.pivot.key = c.to
	default:
		c.pivot.key = c.from
	}
	tree := c.o.index()
	if c.order == Descending {
		tree.Descend(&c.pivot, func(e *entry) bool {
			if e.key == c.pivot.key {
				return true
			}
			c.at = e
			return false
		})
		if c.at != nil && c.at.key < c.from {
			c.at = nil
		}
		return c.at
	}
	tree.Ascend(&c.pivot, func(e *entry) bool {
		if c.started && e.key == c.pivot.key {
			return true
		}
		c.at = e
		return false
	})
	if c.at != nil && c.at.key >= c.to {
		c.at = nil
	}
	return c.at
}

// pass says that the walk has come to a key of the DB.
func (c *cursor) pass(key []byte) {
	c.passed, c.started = append(c.passed[:0], key...), true
}

// next steps over the entry that peek returned.
func (c *cursor) next() {
	c.passed, c.started = append(c.passed[:0], c.at.key...), true
	c.valid = false
}

// before says whether the entry comes before a key in the order of the walk.
func (c *cursor) before(e *entry, key []byte) bool {
	if c.order == Descending {
		return e.key > string(key)
	}
	return e.key < string(key)
}

// merge is a walk over the rows of a DB with the pending ones in their places.
type merge struct {
	cursor

	store *store
	f     func(key []byte, v version) (more bool, err error)
	buf   []byte
}

// row takes the next row of the DB: the pending rows before it come first, and
// one of the same key comes in its place.
func (m *merge) row(p Pair) (more bool, err error) {
	if more, err := m.pendingUntil(p.Key); !more || err != nil {
		return false, err
	}
	if e := m.peek(); e != nil && e.key == string(p.Key) {
		return m.entry(e)
	}
	m.pass(p.Key)
	v, err := m.store.versionOf(p.Value)
	if err != nil {
		return false, err
	}
	return m.f(p.Key, v)
}

// pendingUntil walks the pending rows before a key, all if it is nil.
func (m *merge) pendingUntil(key []byte) (more bool, err error) {
	for e := m.peek(); e != nil && (key == nil || m.before(e, key)); e = m.peek() {
		if more, err := m.entry(e); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (m *merge) entry(e *entry) (more bool, err error) {
	m.next()
	if !e.cur.live {
		return true, nil
	}
	m.buf = append(m.buf[:0], e.key...)
	return m.f(m.buf, e.cur)
}
