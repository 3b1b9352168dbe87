package goka

import (
	"fmt"

	upstream "github.com/lovoo/goka"

	"github.com/weirstream/weir/streams/serde"
)

// Serde makes a serde of a goka codec, for values of the one type T that the codec
// decodes to. A value of another type is an error.
func Serde[T any](c upstream.Codec) serde.Serde[T] { return fromCodec[T]{c} }

type fromCodec[T any] struct{ codec upstream.Codec }

// Append implements serde.Serde.
func (s fromCodec[T]) Append(dst []byte, _ string, v T) ([]byte, error) {
	b, err := s.codec.Encode(v)
	if err != nil {
		return dst, fmt.Errorf("goka codec: %w", err)
	}
	return append(dst, b...), nil
}

// Decode implements serde.Serde.
func (s fromCodec[T]) Decode(_ string, b []byte) (v T, err error) {
	decoded, err := s.codec.Decode(b)
	if err != nil {
		return v, fmt.Errorf("goka codec: %w", err)
	}
	v, ok := decoded.(T)
	if !ok {
		return v, fmt.Errorf("goka codec decodes to %T, not to %T", decoded, v)
	}
	return v, nil
}

// Codec makes a goka codec of a serde. Topic is what the serde is told, as with a
// schema of its own for each topic. Encode takes values of type T alone.
func Codec[T any](s serde.Serde[T], topic string) upstream.Codec { return fromSerde[T]{s, topic} }

type fromSerde[T any] struct {
	serde serde.Serde[T]
	topic string
}

// Encode implements goka.Codec.
func (c fromSerde[T]) Encode(value any) ([]byte, error) {
	v, ok := value.(T)
	if !ok {
		return nil, fmt.Errorf("the serde encodes %T, not %T", v, value)
	}
	return c.serde.Append(nil, c.topic, v)
}

// Decode implements goka.Codec.
func (c fromSerde[T]) Decode(data []byte) (any, error) { return c.serde.Decode(c.topic, data) }
