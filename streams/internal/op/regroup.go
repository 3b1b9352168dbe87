package op

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Swap is what a table tells the groups of its rows: what to take out and what
// to put in, at least one of them (KIP-904).
type Swap[V any] struct {
	New, Old       V
	HasNew, HasOld bool
}

// SwapSerde returns the serde of swaps as Kafka Streams writes them: new, 01;
// old, 00; or, of both, the length of new as a varint, new, old, 02.
func SwapSerde[V any](inner serde.Serde[V]) serde.Serde[Swap[V]] { return swapSerde[V]{inner} }

type swapSerde[V any] struct{ inner serde.Serde[V] }

const (
	swapOld  = 0
	swapNew  = 1
	swapBoth = 2
)

var errSwap = errors.New("no change of a grouped table")

// Append implements serde.Serde.
func (s swapSerde[V]) Append(dst []byte, topic string, v Swap[V]) (out []byte, err error) {
	switch {
	case !v.HasNew && !v.HasOld:
		return dst, errSwap
	case !v.HasNew:
		if out, err = s.inner.Append(dst, topic, v.Old); err != nil {
			return dst, err
		}
		return append(out, swapOld), nil
	case !v.HasOld:
		if out, err = s.inner.Append(dst, topic, v.New); err != nil {
			return dst, err
		}
		return append(out, swapNew), nil
	}
	now, err := s.inner.Append(nil, topic, v.New)
	if err != nil {
		return dst, err
	}
	out = append(binary.AppendVarint(dst, int64(len(now))), now...)
	if out, err = s.inner.Append(out, topic, v.Old); err != nil {
		return dst, err
	}
	return append(out, swapBoth), nil
}

// Decode implements serde.Serde.
func (s swapSerde[V]) Decode(topic string, b []byte) (v Swap[V], err error) {
	if len(b) == 0 {
		return v, fmt.Errorf("%w: no bytes", errSwap)
	}
	body, kind := b[:len(b)-1], b[len(b)-1]
	now, old := body, body
	switch kind {
	case swapOld:
		v.HasOld = true
	case swapNew:
		v.HasNew = true
	case swapBoth:
		n, width := binary.Varint(body)
		if width <= 0 || n < 0 || n > int64(len(body)-width) {
			return v, fmt.Errorf("%w: a length that does not fit", errSwap)
		}
		now, old = body[width:width+int(n)], body[width+int(n):]
		v.HasNew, v.HasOld = true, true
	default:
		return v, fmt.Errorf("%w: unknown kind %d", errSwap, kind)
	}
	if v.HasNew {
		if v.New, err = s.inner.Decode(topic, now); err != nil {
			return v, err
		}
	}
	if v.HasOld {
		v.Old, err = s.inner.Decode(topic, old)
	}
	return v, err
}

// Regroup sends the rows of a table to their groups. What leaves a group goes
// before what enters one; a row that stays in its group goes as one message.
// With latest, late changes are dropped (KIP-914).
func Regroup[K, V, K2, V2 any](e *Env, name string, f func(K, V) (K2, V2), key serde.Serde[K2], latest bool, next Next[K2, Swap[V2]]) Next[K, Change[V]] {
	var was, is []byte
	send := func(r *processor.Record[K, Change[V]], group K2, s Swap[V2]) error {
		return next(processor.Record[K2, Swap[V2]]{Key: group, Value: s, Timestamp: r.Timestamp, Headers: r.Headers})
	}
	return func(r processor.Record[K, Change[V]]) error {
		if latest && r.Value.Late {
			e.Drop(Late)
			return nil
		}
		e.Enter(name)
		var from, to K2
		out, in := Swap[V2]{HasOld: r.Value.HasOld}, Swap[V2]{HasNew: !r.NullValue}
		var errWas, errIs error
		if out.HasOld {
			from, out.Old = f(r.Key, r.Value.Old)
			was, errWas = key.Append(was[:0], "", from)
		}
		if in.HasNew {
			to, in.New = f(r.Key, r.Value.New)
			is, errIs = key.Append(is[:0], "", to)
		}
		if err := errors.Join(errWas, errIs); err != nil {
			return fail(name, processor.Serialize, fmt.Errorf("group: %w", err))
		}
		if out.HasOld && in.HasNew && bytes.Equal(was, is) {
			return send(&r, to, Swap[V2]{New: in.New, Old: out.Old, HasNew: true, HasOld: true})
		}
		if out.HasOld {
			if err := send(&r, from, out); err != nil {
				return err
			}
		}
		if in.HasNew {
			return send(&r, to, in)
		}
		return nil
	}
}

// Regrouped is how swaps change the aggregate of a group. Add gets no aggregate
// for the first row.
type Regrouped[K, V, A any] struct {
	Add      func(key K, value V, old A, has bool) A
	Subtract func(key K, value V, old A) A
}

// AggregateSwaps folds the rows of each group: the old value is taken out, then
// the new one is put in. The time of the aggregate is the latest of its rows.
func AggregateSwaps[K, V, A any](e *Env, s State[K, A], g Regrouped[K, V, A], next Next[K, Change[A]]) (Next[K, Swap[V]], error) {
	table, err := OpenTable(e, s, next)
	if err != nil {
		return nil, err
	}
	return func(r processor.Record[K, Swap[V]]) error {
		if r.NullKey || r.NullValue {
			e.Drop(NullKey)
			return nil
		}
		e.Enter(s.Operator)
		old, err := table.get(r.Key)
		if err != nil {
			return err
		}
		now := row[A]{value: old.value, ok: old.ok, at: r.Timestamp}
		if old.ok {
			now.at = max(now.at, old.at)
		}
		if r.Value.HasOld && now.ok {
			now.value = g.Subtract(r.Key, r.Value.Old, now.value)
		}
		if r.Value.HasNew {
			now.value, now.ok = g.Add(r.Key, r.Value.New, now.value, now.ok), true
		}
		return table.put(r.Key, now, old, r.Headers)
	}, nil
}
