// Package serde turns typed keys and values into the bytes of records and back.
//
// The bytes are those of Kafka's own serializers (big endian numbers, UTF-8
// text, windowed keys as Kafka Streams writes them), so other clients read them.
// Every serde is a value without state and may be used from any goroutine.
package serde

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// ErrLength is wrapped by the error of Decode when bytes are too few or too many
// for the type.
var ErrLength = errors.New("wrong length")

// Serde encodes and decodes values of one type. A null is the caller's matter:
// neither method sees one.
type Serde[T any] interface {
	// Append writes v behind dst, as append does, and returns the longer slice.
	// The topic is the one that the bytes are for.
	Append(dst []byte, topic string, v T) ([]byte, error)
	// Decode reads what Append wrote. b belongs to the caller and is valid only
	// during the call: the result shares no memory with it.
	Decode(topic string, b []byte) (T, error)
}

// String returns the serde of text. Bytes that are not UTF-8 pass unchanged.
func String() Serde[string] { return stringSerde{} }

type stringSerde struct{}

func (stringSerde) Append(dst []byte, _ string, v string) ([]byte, error) {
	return append(dst, v...), nil
}

func (stringSerde) Decode(_ string, b []byte) (string, error) { return string(b), nil }

// Bytes returns the serde of bytes as they are. Decode makes a copy.
func Bytes() Serde[[]byte] { return bytesSerde{} }

type bytesSerde struct{}

func (bytesSerde) Append(dst []byte, _ string, v []byte) ([]byte, error) {
	return append(dst, v...), nil
}

func (bytesSerde) Decode(_ string, b []byte) ([]byte, error) {
	return append(make([]byte, 0, len(b)), b...), nil
}

// Int32 returns the serde of 4 bytes, big endian.
func Int32() Serde[int32] { return int32Serde{} }

type int32Serde struct{}

func (int32Serde) Append(dst []byte, _ string, v int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
}

func (int32Serde) Decode(_ string, b []byte) (int32, error) {
	if len(b) != 4 {
		return 0, wrongLength("int32", len(b))
	}
	return int32(binary.BigEndian.Uint32(b)), nil
}

// Int64 returns the serde of 8 bytes, big endian.
func Int64() Serde[int64] { return int64Serde{} }

type int64Serde struct{}

func (int64Serde) Append(dst []byte, _ string, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (int64Serde) Decode(_ string, b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, wrongLength("int64", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Float64 returns the serde of IEEE 754 bits in 8 bytes, big endian.
func Float64() Serde[float64] { return float64Serde{} }

type float64Serde struct{}

func (float64Serde) Append(dst []byte, _ string, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

func (float64Serde) Decode(_ string, b []byte) (float64, error) {
	if len(b) != 8 {
		return 0, wrongLength("float64", len(b))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

// JSON returns the serde of T as encoding/json writes and reads it.
func JSON[T any]() Serde[T] { return jsonSerde[T]{} }

type jsonSerde[T any] struct{}

func (jsonSerde[T]) Append(dst []byte, _ string, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("encode json: %w", err)
	}
	return append(dst, b...), nil
}

func (jsonSerde[T]) Decode(_ string, b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("decode json: %w", err)
	}
	return v, nil
}

func wrongLength(what string, n int) error {
	return fmt.Errorf("%s in %d bytes: %w", what, n, ErrLength)
}
