package op

import (
	"fmt"

	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Inlet takes one polled message through the operators after a source.
type Inlet func(*processor.Message) error

// Source reads the bytes of a message.
func Source[K, V any](name string, key serde.Serde[K], value serde.Serde[V], next Next[K, V]) Inlet {
	return func(m *processor.Message) error {
		r := processor.Record[K, V]{
			NullKey: m.Key == nil, NullValue: m.Value == nil, Timestamp: m.Timestamp, Headers: m.Headers,
		}
		var err error
		if !r.NullKey {
			if r.Key, err = key.Decode(m.Topic, m.Key); err != nil {
				return badBytes(name, "key", m, err)
			}
		}
		if !r.NullValue {
			if r.Value, err = value.Decode(m.Topic, m.Value); err != nil {
				return badBytes(name, "value", m, err)
			}
		}
		return next(r)
	}
}

func badBytes(name, part string, m *processor.Message, err error) error {
	return fail(name, processor.Deserialize,
		fmt.Errorf("%s of %s-%d at offset %d: %w", part, m.Topic, m.Partition, m.Offset, err))
}

// partitioned is a serde whose bytes hold more than what decides the partition:
// a windowed key goes where its plain key goes.
type partitioned interface {
	PartitionKey(encoded []byte) []byte
}

// Sink writes each record to a topic. Its buffers are reused: it allocates only
// where the serdes do.
func Sink[K, V any](e *Env, name, topic string, key serde.Serde[K], value serde.Serde[V]) Next[K, V] {
	return SinkAt(e, name, topic, key, value, nil)
}

// Place says in which partition of a topic a record belongs. A negative number
// leaves that to the key.
type Place[K, V any] struct {
	Known  func(V) int32           // finds it in the value; nil if it cannot
	Choose func(K, V, int32) int32 // chooses among so many; nil leaves it to the key
}

// SinkAt is Sink to the partition that at says; nil leaves it to the key.
func SinkAt[K, V any](e *Env, name, topic string, key serde.Serde[K], value serde.Serde[V], at *Place[K, V]) Next[K, V] {
	kbuf, vbuf := make([]byte, 0, 64), make([]byte, 0, 256)
	plain, windowed := key.(partitioned)
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		o := processor.Outgoing{
			Topic: topic, Partition: processor.AnyPartition, Timestamp: r.Timestamp, Headers: r.Headers,
		}
		switch {
		case at == nil:
		case at.Known != nil:
			o.Partition = at.Known(r.Value)
		case at.Choose != nil:
			key, value := r.Key, r.Value
			o.Choose = func(partitions int32) int32 { return at.Choose(key, value, partitions) }
		}
		var err error
		if !r.NullKey {
			if kbuf, err = key.Append(kbuf[:0], topic, r.Key); err != nil {
				return fail(name, processor.Serialize, fmt.Errorf("key for %s: %w", topic, err))
			}
			o.Key = kbuf
			if windowed {
				o.PartitionKey = plain.PartitionKey(kbuf)
			}
		}
		if !r.NullValue {
			if vbuf, err = value.Append(vbuf[:0], topic, r.Value); err != nil {
				return fail(name, processor.Serialize, fmt.Errorf("value for %s: %w", topic, err))
			}
			o.Value = vbuf
		}
		return fail(name, processor.Process, e.Send(o))
	}
}
