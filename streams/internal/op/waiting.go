package op

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// pending is what the two sides of a join share: the time that they have come
// to, and the records that wait for a match.
type pending[K any] struct {
	env         *Env
	left, right int64 // how long after its time a record of that side can be met
	grace       int64
	stream      int64  // largest time of both sides, as of the last commit after a restart
	mark        string // under which it is part of every commit; "" if nobody waits
	oldest      int64  // where the last look ended, or an older record that came since; MaxInt64 if none waits
	nextLook    int64  // by the wall clock

	topic             string                                   // that serdes are told
	rows              statestore.KeyValue[waiter[K], [][]byte] // nil if nobody waits
	leftRow, rightRow func(w waiter[K], value []byte) error    // nil if the side is not outer
}

// waiter is a key, a time and a side; the values that wait there form a list.
type waiter[K any] struct {
	at   int64
	left bool
	key  K
}

// observe notes the time of a record. Stores cannot tell it after a restart: at
// least once they are ahead of the records that come again, which would then be
// too late for a match.
func (p *pending[K]) observe(at int64) {
	if at <= p.stream {
		return
	}
	if p.stream = at; p.mark != "" {
		p.env.Remember(p.mark, at)
	}
}

// open opens the store, and looks where those who wait begin.
func (p *pending[K]) open(store string, key serde.Serde[K]) error {
	var err error
	p.mark = store
	if at, ok := p.env.Remembered(p.mark); ok {
		p.stream = at
	}
	if p.rows, err = OpenKeyValue(p.env, store, serde.Serde[waiter[K]](waiterSerde[K]{key}), serde.Serde[[][]byte](listSerde{})); err != nil {
		return err
	}
	for row, err := range p.rows.All(statestore.Ascending) {
		if err != nil {
			return err
		}
		p.oldest = row.Key.at
		break
	}
	return nil
}

// add lets a value wait; encode appends its bytes.
func (p *pending[K]) add(w waiter[K], encode func(dst []byte) ([]byte, error)) error {
	list, _, err := p.rows.Get(w)
	if err != nil {
		return err
	}
	value, err := encode([]byte{sideOf(w.left)})
	if err != nil {
		return err
	}
	p.oldest = min(p.oldest, w.at)
	return p.rows.PutAt(w, append(list, value), w.at)
}

// remove forgets everybody who waits at a place: they were met.
func (p *pending[K]) remove(w waiter[K]) error {
	if p.rows == nil {
		return nil
	}
	if _, ok, err := p.rows.Get(w); !ok || err != nil {
		return err
	}
	return p.rows.DeleteAt(w, w.at)
}

// closed says that nothing that could meet a record is on time any more.
func (p *pending[K]) closed(at, reach int64) bool {
	return p.grace != NoEnd && at+reach+p.grace < p.stream
}

// release lets those go on alone who waited long enough. reach is that of the
// side whose record came. It walks them in order of time, right ones before
// left ones, then by key, until both sides have shown one that waits on.
func (p *pending[K]) release(operator string, reach int64) error {
	if p.rows == nil || p.oldest > p.stream || !p.closed(p.oldest, reach) {
		return nil
	}
	now := p.env.Now().UnixMilli()
	if now < p.nextLook {
		return nil
	}
	p.nextLook = now + p.env.EmitInterval().Milliseconds()
	p.oldest = math.MaxInt64
	var open [2]bool // sides that have shown one that waits on
	for row, err := range p.rows.All(statestore.Ascending) {
		if err != nil {
			return err
		}
		p.oldest = row.Key.at
		if open[0] && open[1] {
			break
		}
		went, err := p.releaseRow(operator, row.Key, row.Value)
		if err != nil {
			return err
		}
		if !went {
			open[sideOf(row.Key.left)] = true
		}
		if open[0] && open[1] && len(row.Value) > 1 {
			break // the second value of a place counts as one that waits on, too
		}
	}
	return nil
}

// releaseRow lets the values of one place go on, unless they wait on.
func (p *pending[K]) releaseRow(operator string, w waiter[K], values [][]byte) (went bool, err error) {
	reach, send := p.right, p.rightRow
	if w.left {
		reach, send = p.left, p.leftRow
	}
	if !p.closed(w.at, reach) {
		return false, nil
	}
	for _, value := range values {
		p.env.Enter(operator)
		if err := send(w, value); err != nil {
			return false, err
		}
	}
	return true, p.rows.DeleteAt(w, w.at)
}

// goOn returns what sends a value that waited on without a match.
func goOn[K, V, O any](c codec[V], alone func(K, V) O, next Next[K, O]) func(w waiter[K], value []byte) error {
	return func(w waiter[K], value []byte) error {
		if alone == nil || len(value) == 0 || value[0] != sideOf(w.left) {
			return fmt.Errorf("a value that waits for a match: %w", statestore.ErrCorrupt)
		}
		v, err := c.Decode(value[1:])
		if err != nil {
			return err
		}
		return next(processor.Record[K, O]{Key: w.key, Value: alone(w.key, v), Timestamp: w.at})
	}
}

func sideOf(left bool) byte {
	if left {
		return 1
	}
	return 0
}

// waiterSerde writes a waiter as Kafka Streams does: time, side, key. The order
// of the bytes is the order in which those who wait go on.
type waiterSerde[K any] struct{ key serde.Serde[K] }

// Append implements serde.Serde.
func (s waiterSerde[K]) Append(dst []byte, topic string, w waiter[K]) ([]byte, error) {
	dst = append(binary.BigEndian.AppendUint64(dst, uint64(w.at)), sideOf(w.left))
	return s.key.Append(dst, topic, w.key)
}

// Decode implements serde.Serde.
func (s waiterSerde[K]) Decode(topic string, b []byte) (w waiter[K], err error) {
	if len(b) < 9 || b[8] > 1 {
		return w, fmt.Errorf("key of a record that waits: %w", statestore.ErrCorrupt)
	}
	w.at, w.left = int64(binary.BigEndian.Uint64(b)), b[8] == 1
	w.key, err = s.key.Decode(topic, b[9:])
	return w, err
}

// listSerde writes a list of bytes as Kafka Streams does: a byte that says that
// lengths vary, the count, and each with its length before it.
type listSerde struct{}

const variableSize = 1

// Append implements serde.Serde.
func (listSerde) Append(dst []byte, _ string, list [][]byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint32(append(dst, variableSize), uint32(len(list)))
	for _, b := range list {
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
	}
	return dst, nil
}

func badList() error { return fmt.Errorf("list of values: %w", statestore.ErrCorrupt) }

// Decode implements serde.Serde.
func (listSerde) Decode(_ string, b []byte) ([][]byte, error) {
	if len(b) < 5 || b[0] != variableSize {
		return nil, badList()
	}
	n, b := binary.BigEndian.Uint32(b[1:]), b[5:]
	var list [][]byte
	for range n {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
			return nil, badList()
		}
		size := 4 + int(binary.BigEndian.Uint32(b))
		list = append(list, append([]byte(nil), b[4:size]...))
		b = b[size:]
	}
	if len(b) > 0 {
		return nil, badList()
	}
	return list, nil
}
