package op

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tidwall/btree"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// ErrBufferFull means that a buffer which may not emit early has no room.
var ErrBufferFull = errors.New("buffer is full")

// Suppression is how long changes are held back.
type Suppression[K any] struct {
	Wait      int64                               // stream time that passes before a change goes on
	Time      func(key K, recordTime int64) int64 // the moment from which it waits
	Records   int64                               // room for so many rows
	Bytes     int64                               // and so many bytes
	EmitEarly bool                                // let the oldest go when there is no room; else fail
	Final     bool                                // rows that are gone when their time comes are nobody's news
}

// Suppress holds changes of a table back and lets only the last one of each key
// go on, in the order of their time and then of their keys. A key keeps the
// place of its first change. The buffer is a store with a changelog, so nothing
// that waits is lost.
func Suppress[K, V any](e *Env, s State[K, V], by Suppression[K], next Next[K, Change[V]]) (Next[K, Change[V]], error) {
	b, err := openBuffer(e, s, by.Bytes < math.MaxInt64)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	streamTime := int64(-1)
	emit := func() error {
		key, r, err := b.pop()
		if err != nil || by.Final && !r.now.ok {
			return fail(s.Operator, processor.Process, err)
		}
		return forward(next, key, r.now, r.prior, r.headers)
	}
	return func(r processor.Record[K, Change[V]]) error {
		e.Enter(s.Operator)
		streamTime = max(streamTime, r.Timestamp)
		if err := b.put(by.Time(r.Key, r.Timestamp), r); err != nil {
			return fail(s.Operator, processor.Process, err)
		}
		for b.order.Len() > 0 && b.first().at <= before(streamTime, by.Wait) {
			if err := emit(); err != nil {
				return err
			}
		}
		for int64(b.order.Len()) > by.Records || b.bytes > by.Bytes {
			if !by.EmitEarly {
				return fail(s.Operator, processor.Process, fmt.Errorf("%w: %d rows, %d bytes: %w",
					ErrBufferFull, b.order.Len(), b.bytes, processor.ErrStop))
			}
			if err := emit(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// SuppressRows returns the lookup of a table behind a suppression: what is held
// back is not seen yet.
func SuppressRows[K, V any](e *Env, s State[K, V], parent Lookup[K, V]) (Lookup[K, V], error) {
	kv, err := openWaiting(e, s)
	if err != nil {
		return nil, fail(s.Operator, processor.Process, err)
	}
	return func(key K, asOf int64) (V, int64, bool, error) {
		if w, ok, err := kv.Get(key); ok || err != nil {
			return w.prior.value, w.prior.at, w.prior.ok, err
		}
		return parent(key, asOf)
	}, nil
}

// waiting is one row in a buffer.
type waiting[V any] struct {
	at      int64 // its place
	now     row[V]
	prior   row[V] // what was there when it began to wait
	headers []processor.Header
}

// place orders the rows of a buffer.
type place struct {
	at   int64
	key  string // encoded, so that one kind of tree serves all keys
	size int64
}

func (p place) before(q place) bool {
	if p.at != q.at {
		return p.at < q.at
	}
	return p.key < q.key
}

// buffer is a store of waiting rows and their order, which is made from the
// store when the task starts.
type buffer[K, V any] struct {
	kv    statestore.KeyValue[K, waiting[V]]
	codec waitingCodec[V]
	key   codec[K]
	order *btree.BTreeG[place]
	sized bool // bytes are counted
	bytes int64
	buf   []byte
}

func openWaiting[K, V any](e *Env, s State[K, V]) (statestore.KeyValue[K, waiting[V]], error) {
	raw, err := e.Store(s.Store)
	if err != nil {
		return nil, err
	}
	topic := changelog(e.ApplicationID(), s.Store)
	return statestore.AsKeyValue(raw, codec[K]{s.Key, topic}, waitingCodec[V]{codec[V]{s.Value, topic}})
}

func openBuffer[K, V any](e *Env, s State[K, V], sized bool) (*buffer[K, V], error) {
	kv, err := openWaiting(e, s)
	if err != nil {
		return nil, err
	}
	topic := changelog(e.ApplicationID(), s.Store)
	b := &buffer[K, V]{
		kv: kv, codec: waitingCodec[V]{codec[V]{s.Value, topic}}, key: codec[K]{s.Key, topic}, sized: sized,
		order: btree.NewBTreeGOptions(place.before, btree.Options{NoLocks: true}),
	}
	for r, err := range kv.All(statestore.Ascending) {
		if err == nil {
			err = b.enter(r.Key, &r.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("read store %s: %w", s.Store, err)
		}
	}
	return b, nil
}

func (b *buffer[K, V]) first() place {
	p, _ := b.order.Min()
	return p
}

// enter gives a row its place, or counts its new size.
func (b *buffer[K, V]) enter(key K, w *waiting[V]) (err error) {
	if b.buf, err = b.key.Append(b.buf[:0], key); err != nil {
		return err
	}
	p := place{at: w.at, key: string(b.buf)}
	if b.sized {
		if b.buf, err = b.codec.Append(b.buf, *w); err != nil {
			return err
		}
		p.size = int64(len(b.buf))
	}
	if old, ok := b.order.Set(p); ok {
		b.bytes -= old.size
	}
	b.bytes += p.size
	return nil
}

// put lets a change wait, in the place of one of its key that waits already.
func (b *buffer[K, V]) put(at int64, r processor.Record[K, Change[V]]) error {
	w, ok, err := b.kv.Get(r.Key)
	if err != nil {
		return err
	}
	if !ok {
		w.at, w.prior = at, row[V]{value: r.Value.Old, ok: r.Value.HasOld}
	}
	w.now = row[V]{value: r.Value.New, ok: !r.NullValue, at: r.Timestamp}
	w.headers = r.Headers
	if err := b.kv.PutAt(r.Key, w, r.Timestamp); err != nil {
		return err
	}
	return b.enter(r.Key, &w)
}

// pop takes the first row out.
func (b *buffer[K, V]) pop() (key K, w waiting[V], err error) {
	p, _ := b.order.PopMin()
	b.bytes -= p.size
	if key, err = b.key.Decode([]byte(p.key)); err != nil {
		return key, w, err
	}
	w, ok, err := b.kv.Get(key)
	if err == nil && !ok {
		err = fmt.Errorf("a row that waits is not in the buffer: %w", statestore.ErrCorrupt)
	}
	if err != nil {
		return key, w, err
	}
	return key, w, b.kv.DeleteAt(key, w.now.at)
}

// waitingCodec writes a waiting row in the layout of heldrow.go. Fixed are be64 of
// its place and be64 of the time of its record; the byte strings are the value now
// and the one before. In the changelog a row
// has the key of the table's row and the time of its record.
type waitingCodec[V any] struct{ value codec[V] }

// Append implements statestore.Codec.
func (c waitingCodec[V]) Append(dst []byte, w waiting[V]) (_ []byte, err error) {
	dst = append(dst, heldFormat...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(w.at))
	dst = binary.BigEndian.AppendUint64(dst, uint64(w.now.at))
	for _, r := range []row[V]{w.now, w.prior} {
		var b []byte
		if r.ok {
			if b, err = c.value.Append([]byte{}, r.value); err != nil {
				return dst, err
			}
		}
		dst = appendField(dst, b)
	}
	return appendHeaders(dst, w.headers), nil
}

// Decode implements statestore.Codec.
func (c waitingCodec[V]) Decode(b []byte) (w waiting[V], err error) {
	head, b, err := beginHeld(b, 16)
	if err != nil {
		return w, err
	}
	w.at, w.now.at = int64(binary.BigEndian.Uint64(head)), int64(binary.BigEndian.Uint64(head[8:]))
	for _, r := range []*row[V]{&w.now, &w.prior} {
		var field []byte
		if field, b, err = readField(b); err == nil && field != nil {
			r.ok = true
			r.value, err = c.value.Decode(field)
		}
		if err != nil {
			return w, err
		}
	}
	w.headers, err = readHeaders(b)
	return w, err
}

// EndOfWindow is the moment from which final results wait.
func EndOfWindow[K any](key serde.Windowed[K], _ int64) int64 { return key.End }

// TimeOfRecord is the moment from which changes with a time limit wait.
func TimeOfRecord[K any](_ K, recordTime int64) int64 { return recordTime }
