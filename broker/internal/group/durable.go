package group

import (
	"slices"

	"github.com/weirstream/weir/broker/internal/machine"
)

// durable is what the log says. Only replay and replayMarker change what is decided on, only commit
// changes what queries see.
type durable struct {
	groups  map[string]*metadata
	offsets map[string]*groupOffsets
	txns    map[int64]*openTxn // by producer id
	staged  []staged           // replayed and not committed, oldest first
	order   uint64             // of the last record
}

// openTxn are the pending offsets of a producer's open transaction.
type openTxn struct {
	epoch   int16 // of the newest
	offsets map[offsetKey]*Offset
}

// groupOffsets are the offsets of one group, by topic and partition.
type groupOffsets struct {
	topics map[string]map[int32]*slot
	live   int // slots with a latest offset
	open   int // pending offsets
}

// slot holds one offset as decisions and as queries see it; nil is none. In open are the producers
// that have a pending one.
type slot struct {
	latest, committed *Offset
	open              []int64
}

// staged is what the commit of one record or marker makes visible to queries.
type staged struct{ changes []change }

type change struct {
	key    offsetKey
	offset *Offset
}

func newDurable() durable {
	return durable{
		groups:  make(map[string]*metadata),
		offsets: make(map[string]*groupOffsets),
		txns:    make(map[int64]*openTxn),
	}
}

func (d *durable) replay(r machine.Record) error {
	d.order++
	p, err := parse(r)
	if err != nil {
		d.stage(nil)
		return err
	}
	switch {
	case p.kind == keyOffset && p.offset == nil:
		d.unpend(p.key)
		d.stage(d.set(nil, p.key, nil))
	case p.kind == keyOffset && r.Txn != nil:
		p.offset.order = d.order
		d.pend(r.Txn, p.key, p.offset)
		d.stage(nil)
	case p.kind == keyOffset:
		p.offset.order = d.order
		d.stage(d.set(nil, p.key, p.offset))
	case p.kind == keyMetadata && p.metadata == nil:
		delete(d.groups, p.key.group)
		d.stage(nil)
	case p.kind == keyMetadata:
		d.groups[p.key.group] = p.metadata
		d.stage(nil)
	default:
		d.stage(nil)
	}
	return nil
}

// replayMarker ends the transaction of a producer. An offset that was committed outside of it, later,
// stays.
func (d *durable) replayMarker(m machine.Marker) {
	d.order++
	var changes []change
	if txn := d.txns[m.ProducerID]; txn != nil {
		for key, offset := range txn.offsets {
			if now := d.latest(key); m.Commit && (now == nil || now.order < offset.order) {
				changes = d.set(changes, key, offset)
			}
			d.close(m.ProducerID, key)
		}
	}
	delete(d.txns, m.ProducerID)
	d.stage(changes)
}

// pend keeps an offset of an open transaction.
func (d *durable) pend(by *machine.Txn, key offsetKey, o *Offset) {
	txn := d.txns[by.ProducerID]
	if txn == nil {
		txn = &openTxn{offsets: make(map[offsetKey]*Offset)}
		d.txns[by.ProducerID] = txn
	}
	if txn.epoch = by.ProducerEpoch; txn.offsets[key] == nil {
		s := d.slot(key, true)
		s.open = append(s.open, by.ProducerID)
		d.offsets[key.group].open++
	}
	txn.offsets[key] = o
}

// unpend forgets what open transactions have for a key. The transactions stay open.
func (d *durable) unpend(key offsetKey) {
	s := d.slot(key, false)
	if s == nil {
		return
	}
	for _, producerID := range slices.Clone(s.open) {
		delete(d.txns[producerID].offsets, key)
		d.close(producerID, key)
	}
}

// close takes a producer off the slot of a key.
func (d *durable) close(producerID int64, key offsetKey) {
	s := d.slot(key, false)
	s.open = slices.DeleteFunc(s.open, func(id int64) bool { return id == producerID })
	d.offsets[key.group].open--
	d.prune(key, s)
}

func (d *durable) stage(changes []change) { d.staged = append(d.staged, staged{changes}) }

// commit makes the oldest n replayed records visible to queries.
func (d *durable) commit(n int) {
	for i := range d.staged[:n] {
		for _, c := range d.staged[i].changes {
			d.settle(c)
		}
	}
	clear(d.staged[:n])
	if d.staged = d.staged[n:]; len(d.staged) == 0 {
		d.staged = nil
	}
}

// set gives a key its latest offset and returns changes with one more.
func (d *durable) set(changes []change, key offsetKey, o *Offset) []change {
	s := d.slot(key, o != nil)
	if s == nil {
		return changes
	}
	g := d.offsets[key.group]
	if s.latest != nil {
		g.live--
	}
	if o != nil {
		g.live++
	}
	s.latest = o
	return append(changes, change{key, o})
}

func (d *durable) settle(c change) {
	s := d.slot(c.key, true)
	s.committed = c.offset
	d.prune(c.key, s)
}

// prune removes a slot that holds nothing.
func (d *durable) prune(key offsetKey, s *slot) {
	if s.latest != nil || s.committed != nil || len(s.open) > 0 {
		return
	}
	g := d.offsets[key.group]
	delete(g.topics[key.topic], key.partition)
	if len(g.topics[key.topic]) == 0 {
		delete(g.topics, key.topic)
	}
	if len(g.topics) == 0 {
		delete(d.offsets, key.group)
	}
}

// slot finds the slot of a key, or makes it.
func (d *durable) slot(key offsetKey, create bool) *slot {
	g := d.offsets[key.group]
	if g == nil {
		if !create {
			return nil
		}
		g = &groupOffsets{topics: make(map[string]map[int32]*slot)}
		d.offsets[key.group] = g
	}
	s := g.topics[key.topic][key.partition]
	if s == nil && create {
		s = &slot{}
		if g.topics[key.topic] == nil {
			g.topics[key.topic] = make(map[int32]*slot)
		}
		g.topics[key.topic][key.partition] = s
	}
	return s
}

func (d *durable) latest(key offsetKey) *Offset {
	if s := d.slot(key, false); s != nil {
		return s.latest
	}
	return nil
}

// unstable reports whether an open transaction has an offset for the key.
func (d *durable) unstable(key offsetKey) bool {
	s := d.slot(key, false)
	return s != nil && len(s.open) > 0
}

// inTransaction reports whether an open transaction has an offset of the group.
func (d *durable) inTransaction(group string) bool {
	g := d.offsets[group]
	return g != nil && g.open > 0
}

// has reports whether the log knows the group, by its members or by its offsets.
func (d *durable) has(group string) bool {
	if d.groups[group] != nil {
		return true
	}
	g := d.offsets[group]
	return g != nil && g.live+g.open > 0
}
