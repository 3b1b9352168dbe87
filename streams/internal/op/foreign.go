package op

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// A join on a foreign key is a conversation of two tasks. The left table
// subscribes each of its rows, under the key that the row points to
// ([Subscribe]). The task of the right table keeps the subscriptions ([Receive])
// and answers with its row, at once ([Respond]) and whenever the row changes
// ([Publish]). An answer carries the hash of the row that asked: if the row has
// changed since, another answer is on its way, and this one is dropped
// ([Resolve]).

// Foreign is what the nodes of a foreign-key join have in common.
type Foreign[K, L, KF, R any] struct {
	Key     serde.Serde[K]
	Left    serde.Serde[L]
	Foreign serde.Serde[KF]
	Store   string // of the subscriptions
	Topic   string // that the serde of the left value is told, for hashes
	Outer   bool   // every left row has a result
}

// hasher returns the hash of left rows.
func (f *Foreign[K, L, KF, R]) hasher() func(value L, ok bool) (hash128, bool, error) {
	var buf []byte
	return func(value L, ok bool) (h hash128, _ bool, err error) {
		if !ok {
			return h, false, nil
		}
		if buf, err = f.Left.Append(buf[:0], f.Topic, value); err != nil {
			return h, false, fmt.Errorf("value to hash: %w", err)
		}
		return murmur3(buf), true, nil
	}
}

// aim is where a row of the left table points: before a change and after it.
type aim[KF any] struct {
	from, to       KF
	hadKey, hasKey bool
	moved          bool
}

// aims returns what tells where a change of the left table points.
func (f *Foreign[K, L, KF, R]) aims(extract func(K, L) (KF, bool)) func(r *processor.Record[K, Change[L]]) (aim[KF], error) {
	var was, is []byte
	return func(r *processor.Record[K, Change[L]]) (a aim[KF], err error) {
		if r.Value.HasOld {
			a.from, a.hadKey = extract(r.Key, r.Value.Old)
		}
		if !r.NullValue {
			a.to, a.hasKey = extract(r.Key, r.Value.New)
		}
		if !a.hadKey || !a.hasKey {
			a.moved = a.hadKey
			return a, nil
		}
		if was, err = f.Foreign.Append(was[:0], f.Topic, a.from); err == nil {
			is, err = f.Foreign.Append(is[:0], f.Topic, a.to)
		}
		if err != nil {
			return a, fmt.Errorf("foreign key: %w", err)
		}
		a.moved = !bytes.Equal(was, is)
		return a, nil
	}
}

// Subscribe turns changes of the left table into subscriptions. extract returns
// the key that a row points to, if it does. With latest, late changes are dropped
// (KIP-914). A row that points elsewhere now leaves its old place in silence: the
// answer from the new one is enough.
func Subscribe[K, L, KF, R any](e *Env, name string, f Foreign[K, L, KF, R], extract func(K, L) (KF, bool), latest bool, next Next[KF, Subscription[K]]) Next[K, Change[L]] {
	hash, aims := f.hasher(), f.aims(extract)
	return func(r processor.Record[K, Change[L]]) (err error) {
		if latest && r.Value.Late {
			e.Drop(Late)
			return nil
		}
		if r.NullValue && !r.Value.HasOld {
			return nil
		}
		e.Enter(name)
		s := Subscription[K]{key: r.Key, partition: e.TaskID().Partition}
		if s.hash, s.hasHash, err = hash(r.Value.New, !r.NullValue); err != nil {
			return fail(name, processor.Serialize, err)
		}
		a, err := aims(&r)
		if err != nil {
			return fail(name, processor.Serialize, err)
		}
		send := func(key KF, has bool, what instruction) error {
			s.instruction = what
			return next(processor.Record[KF, Subscription[K]]{
				Key: key, Value: s, NullKey: !has, Timestamp: r.Timestamp, Headers: r.Headers,
			})
		}
		leave, arrive := f.plan(a.hadKey, a.hasKey, a.moved)
		if a.moved {
			if err := send(a.from, true, leave); err != nil {
				return err
			}
		}
		switch {
		case a.hasKey || f.Outer:
			return send(a.to, a.hasKey, arrive)
		case !r.NullValue:
			e.Drop(NullForeignKey)
		}
		return nil
	}
}

// plan returns what to ask of the old place and of the new one.
func (f *Foreign[K, L, KF, R]) plan(hadKey, hasKey, moved bool) (leave, arrive instruction) {
	switch {
	case f.Outer:
		return unsubscribe, tellAnyway
	case !hasKey:
		return unsubscribeAndTell, tellIfPresent
	case hadKey && moved:
		return unsubscribe, tellAnyway
	default:
		return unsubscribe, tellIfPresent
	}
}

// subscriptions is the store of subscriptions, under the length of the foreign
// key, the foreign key and the key of the row.
type subscriptions[K, KF any] struct {
	kv      statestore.KeyValue[[]byte, Subscription[K]]
	key     serde.Serde[K]
	foreign serde.Serde[KF]
	topic   string
	buf     []byte
}

func (f *Foreign[K, L, KF, R]) open(e *Env) (*subscriptions[K, KF], error) {
	kv, err := OpenKeyValue(e, f.Store, serde.Bytes(), SubscriptionSerde(f.Key))
	if err != nil {
		return nil, err
	}
	return &subscriptions[K, KF]{kv: kv, key: f.Key, foreign: f.Foreign, topic: changelog(e.ApplicationID(), f.Store)}, nil
}

// prefix returns what the keys of all subscriptions to a row begin with.
func (s *subscriptions[K, KF]) prefix(foreign KF) (b []byte, err error) {
	s.buf = append(s.buf[:0], 0, 0, 0, 0)
	if s.buf, err = s.foreign.Append(s.buf, s.topic, foreign); err != nil {
		return nil, fmt.Errorf("foreign key: %w", err)
	}
	binary.BigEndian.PutUint32(s.buf, uint32(len(s.buf)-4))
	return s.buf, nil
}

// update keeps a subscription, or forgets it.
func (s *subscriptions[K, KF]) update(foreign KF, sub Subscription[K], at int64) error {
	b, err := s.prefix(foreign)
	if err != nil {
		return err
	}
	if s.buf, err = s.key.Append(b, s.topic, sub.key); err != nil {
		return fmt.Errorf("key of a subscription: %w", err)
	}
	if sub.instruction == unsubscribe || sub.instruction == unsubscribeAndTell {
		return s.kv.DeleteAt(s.buf, at)
	}
	return s.kv.PutAt(s.buf, sub, at)
}

// Receive keeps the subscriptions to rows of the right table.
func Receive[K, L, KF, R any](e *Env, name string, f Foreign[K, L, KF, R], next Next[KF, Subscription[K]]) (Next[KF, Subscription[K]], error) {
	subs, err := f.open(e)
	if err != nil {
		return nil, fail(name, processor.Process, err)
	}
	return func(r processor.Record[KF, Subscription[K]]) error {
		if r.NullKey {
			if r.Value.instruction != tellAnyway {
				e.Drop(NullKey)
				return nil
			}
			return next(r)
		}
		e.Enter(name)
		if err := subs.update(r.Key, r.Value, r.Timestamp); err != nil {
			return fail(name, processor.Process, err)
		}
		return next(r)
	}, nil
}

// Respond answers a subscription with the row as it is.
func Respond[K, KF, R any](e *Env, name string, rows Lookup[KF, R], next Next[K, Answer[R]]) Next[KF, Subscription[K]] {
	return func(r processor.Record[KF, Subscription[K]]) (err error) {
		e.Enter(name)
		sub := &r.Value
		a := Answer[R]{hash: sub.hash, hasHash: sub.hasHash, partition: sub.partition}
		if !r.NullKey {
			var at int64
			if a.value, at, a.hasValue, err = rows(r.Key, Now); err != nil {
				return fail(name, processor.Process, err)
			}
			if a.hasValue {
				r.Timestamp = max(r.Timestamp, at)
			}
		}
		switch sub.instruction {
		case unsubscribe:
			return nil
		case unsubscribeAndTell:
			a.value, a.hasValue = *new(R), false
		case tellIfPresent:
			if !a.hasValue {
				return nil
			}
		case tellAnyway:
		}
		return next(processor.Record[K, Answer[R]]{Key: sub.key, Value: a, Timestamp: r.Timestamp, Headers: r.Headers})
	}
}

// Publish tells a change of the right table to all who subscribed to the row.
func Publish[K, L, KF, R any](e *Env, name string, f Foreign[K, L, KF, R], latest bool, next Next[K, Answer[R]]) (Next[KF, Change[R]], error) {
	subs, err := f.open(e)
	if err != nil {
		return nil, fail(name, processor.Process, err)
	}
	return func(r processor.Record[KF, Change[R]]) error {
		if latest && r.Value.Late {
			e.Drop(Late)
			return nil
		}
		e.Enter(name)
		prefix, err := subs.prefix(r.Key)
		if err != nil {
			return fail(name, processor.Process, err)
		}
		for sub, err := range subs.kv.Prefix(prefix, statestore.Ascending) {
			if err == nil {
				s := &sub.Value
				err = next(processor.Record[K, Answer[R]]{
					Key: s.key, Timestamp: r.Timestamp, Headers: r.Headers,
					Value: Answer[R]{hash: s.hash, hasHash: s.hasHash, value: r.Value.New, hasValue: !r.NullValue, partition: s.partition},
				})
			}
			if err != nil {
				return fail(name, processor.Process, err)
			}
		}
		return nil
	}, nil
}

// Resolve joins the answers with the left rows that asked for them.
func Resolve[K, L, KF, R, VR any](e *Env, name string, f Foreign[K, L, KF, R], rows Lookup[K, L], join Joiner[K, L, R, VR], next Next[K, VR]) Next[K, Answer[R]] {
	hash := f.hasher()
	return func(r processor.Record[K, Answer[R]]) error {
		e.Enter(name)
		left, _, hasLeft, err := rows(r.Key, Now)
		if err != nil {
			return fail(name, processor.Process, err)
		}
		h, has, err := hash(left, hasLeft)
		if err != nil {
			return fail(name, processor.Serialize, err)
		}
		a := &r.Value
		if has != a.hasHash || h != a.hash {
			return nil
		}
		out := processor.Record[K, VR]{Key: r.Key, Timestamp: r.Timestamp, Headers: r.Headers}
		if hasLeft && (a.hasValue || f.Outer) {
			out.Value = join(r.Key, left, true, a.value, a.hasValue)
		} else {
			out.NullValue = true
		}
		return next(out)
	}
}

// AnswerPartition returns where an answer goes.
func AnswerPartition[R any](a Answer[R]) int32 { return a.partition }

// NullForeignKey is the reason for dropping a row that points nowhere.
const NullForeignKey = "null_foreign_key"
