package op

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Delay holds the records of a stream back until stream time is a while after
// them, so that rows of a versioned table that come late are there when a record
// meets them. They go on in the order of time, key and arrival. A record that is
// late by more than the while goes on at once and sets nothing else free.
//
// A held record is a row of a store with a changelog. Its key is be64 of the time,
// the key of the record, and be32 of a count that keeps apart what is equal; the
// value is in the layout of heldrow.go, without fixed fields. How far stream time
// was is part of every commit, so that a restart judges records as if nothing had
// happened.
type Delay[K, V any] struct {
	Operator string
	Store    string
	Key      serde.Serde[K]
	Value    serde.Serde[V]
	Grace    int64 // in milliseconds
}

// delay is a running Delay.
type delay[K, V any] struct {
	e          *Env
	operator   string
	mark       string // of stream time
	grace      int64
	rows       statestore.KeyValue[held[K], heldValue[V]]
	streamTime int64
	oldest     int64  // of what is held; MaxInt64 for nothing
	count      uint32 // of the next row
	next       Next[K, V]
}

// held is the place of a record that is held back.
type held[K any] struct {
	at    int64
	key   K
	count uint32
}

type heldValue[V any] struct {
	value   V
	headers []processor.Header
}

// Open returns the operator in front of what comes after it.
func (d Delay[K, V]) Open(e *Env, next Next[K, V]) (Next[K, V], error) {
	raw, err := e.Store(d.Store)
	if err != nil {
		return nil, fail(d.Operator, processor.Process, err)
	}
	topic := changelog(e.ApplicationID(), d.Store)
	p := &delay[K, V]{
		e: e, operator: d.Operator, mark: d.Store, grace: d.Grace, streamTime: -1, oldest: math.MaxInt64, next: next,
	}
	p.rows, err = statestore.AsKeyValue(raw, heldCodec[K]{codec[K]{d.Key, topic}}, heldValueCodec[V]{codec[V]{d.Value, topic}})
	if err != nil {
		return nil, fail(d.Operator, processor.Process, err)
	}
	if at, ok := e.Remembered(p.mark); ok {
		p.streamTime = at
	}
	for r, err := range p.rows.All(statestore.Ascending) {
		if err != nil {
			return nil, fail(d.Operator, processor.Process, fmt.Errorf("read store %s: %w", d.Store, err))
		}
		p.oldest = min(p.oldest, r.Key.at)
		p.count = max(p.count, r.Key.count+1)
	}
	return p.process, nil
}

// process takes a record. One without key or value has nothing to wait for, and
// is no reason for others to stop waiting.
func (p *delay[K, V]) process(r processor.Record[K, V]) error {
	if r.NullKey || r.NullValue {
		return p.next(r)
	}
	if r.Timestamp > p.streamTime {
		p.streamTime = r.Timestamp
		p.e.Remember(p.mark, p.streamTime)
	}
	if before(p.streamTime, p.grace) > r.Timestamp {
		return p.next(r)
	}
	p.e.Enter(p.operator)
	at := held[K]{r.Timestamp, r.Key, p.count}
	p.count++
	p.oldest = min(p.oldest, r.Timestamp)
	if err := p.rows.PutAt(at, heldValue[V]{r.Value, r.Headers}, r.Timestamp); err != nil {
		return fail(p.operator, processor.Process, err)
	}
	return fail(p.operator, processor.Process, p.release(before(p.streamTime, p.grace)))
}

// release lets everything up to a time go on.
func (p *delay[K, V]) release(to int64) error {
	if p.oldest > to {
		return nil
	}
	p.oldest = math.MaxInt64
	for r, err := range p.rows.All(statestore.Ascending) {
		if err != nil {
			return err
		}
		if r.Key.at > to {
			p.oldest = r.Key.at
			return nil
		}
		if err := p.rows.DeleteAt(r.Key, r.Key.at); err != nil {
			return err
		}
		if err := p.next(processor.Record[K, V]{
			Key: r.Key.key, Value: r.Value.value, Timestamp: r.Key.at, Headers: r.Value.headers,
		}); err != nil {
			return err
		}
		p.e.Enter(p.operator)
	}
	return nil
}

// heldCodec writes the place of a record so that the order of the bytes is the
// order in which records go on.
type heldCodec[K any] struct{ key codec[K] }

// Append implements statestore.Codec.
func (c heldCodec[K]) Append(dst []byte, h held[K]) ([]byte, error) {
	dst, err := c.key.Append(binary.BigEndian.AppendUint64(dst, uint64(h.at)), h.key)
	return binary.BigEndian.AppendUint32(dst, h.count), err
}

// Decode implements statestore.Codec.
func (c heldCodec[K]) Decode(b []byte) (h held[K], err error) {
	n := len(b) - 4
	if n < 8 {
		return h, fmt.Errorf("key of a held record of %d bytes: %w", len(b), statestore.ErrCorrupt)
	}
	h.at, h.count = int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[n:])
	h.key, err = c.key.Decode(b[8:n])
	return h, err
}

type heldValueCodec[V any] struct{ value codec[V] }

// Append implements statestore.Codec.
func (c heldValueCodec[V]) Append(dst []byte, h heldValue[V]) ([]byte, error) {
	b, err := c.value.Append([]byte{}, h.value)
	return appendHeaders(appendField(append(dst, heldFormat...), b), h.headers), err
}

// Decode implements statestore.Codec.
func (c heldValueCodec[V]) Decode(b []byte) (h heldValue[V], err error) {
	_, b, err = beginHeld(b, 0)
	if err != nil {
		return h, err
	}
	field, b, err := readField(b)
	if err != nil {
		return h, err
	}
	if h.headers, err = readHeaders(b); err != nil {
		return h, err
	}
	h.value, err = c.value.Decode(field)
	return h, err
}
