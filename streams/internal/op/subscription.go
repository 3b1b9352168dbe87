package op

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weirstream/weir/streams/serde"
)

// instruction is what the other table is to do about a subscription. The numbers
// are Kafka Streams'.
type instruction byte

const (
	unsubscribe        instruction = iota // and answer nothing
	unsubscribeAndTell                    // and answer that there is no row
	tellAnyway                            // answer with the row, or that there is none
	tellIfPresent                         // answer if there is a row
)

// Subscription is what a row of a table asks of the row that it points to.
type Subscription[K any] struct {
	hash        hash128 // of the asking row, if it has a value
	hasHash     bool
	instruction instruction
	key         K
	partition   int32 // where the answer is to go
}

// Answer is the row that a subscription points to, if there is one.
type Answer[V any] struct {
	hash      hash128
	hasHash   bool
	value     V
	hasValue  bool
	partition int32 // where it goes; not written
}

var errSubscription = errors.New("no message of a foreign-key join")

const (
	subscriptionVersion = 1
	answerVersion       = 0
	noHash              = 0x80
	hashLen             = 16
	partitionLen        = 4
)

func appendHash(dst []byte, version byte, h hash128, has bool, between ...byte) []byte {
	if !has {
		return append(append(dst, version|noHash), between...)
	}
	dst = append(append(dst, version), between...)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, h[0]), h[1])
}

// readHash splits what appendHash wrote from what is behind it.
func readHash(b []byte, version byte, between int) (h hash128, has bool, rest []byte, err error) {
	if len(b) < 1+between || b[0]&^noHash != version {
		return h, false, nil, fmt.Errorf("%w: %d bytes, version %x", errSubscription, len(b), b[:min(1, len(b))])
	}
	rest = b[1+between:]
	if b[0]&noHash != 0 {
		return h, false, rest, nil
	}
	if len(rest) < hashLen {
		return h, false, nil, fmt.Errorf("%w: the hash is cut off", errSubscription)
	}
	h = hash128{binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])}
	return h, true, rest[hashLen:], nil
}

// SubscriptionSerde returns the serde of subscriptions as Kafka Streams writes
// them: version, with 80 if there is no hash; instruction; hash; key; partition.
func SubscriptionSerde[K any](key serde.Serde[K]) serde.Serde[Subscription[K]] {
	return subscriptionSerde[K]{key}
}

type subscriptionSerde[K any] struct{ key serde.Serde[K] }

// Append implements serde.Serde.
func (s subscriptionSerde[K]) Append(dst []byte, topic string, v Subscription[K]) ([]byte, error) {
	out, err := s.key.Append(appendHash(dst, subscriptionVersion, v.hash, v.hasHash, byte(v.instruction)), topic, v.key)
	if err != nil {
		return dst, err
	}
	return binary.BigEndian.AppendUint32(out, uint32(v.partition)), nil
}

// Decode implements serde.Serde.
func (s subscriptionSerde[K]) Decode(topic string, b []byte) (v Subscription[K], err error) {
	var rest []byte
	if v.hash, v.hasHash, rest, err = readHash(b, subscriptionVersion, 1); err != nil {
		return v, err
	}
	v.instruction = instruction(b[1])
	if v.instruction > tellIfPresent || len(rest) < partitionLen {
		return v, fmt.Errorf("%w: instruction %d, %d bytes of key and partition", errSubscription, b[1], len(rest))
	}
	n := len(rest) - partitionLen
	v.partition = int32(binary.BigEndian.Uint32(rest[n:]))
	v.key, err = s.key.Decode(topic, rest[:n])
	return v, err
}

// AnswerSerde returns the serde of answers as Kafka Streams writes them: version,
// with 80 if there is no hash; hash; value. No bytes are no value.
func AnswerSerde[V any](value serde.Serde[V]) serde.Serde[Answer[V]] { return answerSerde[V]{value} }

type answerSerde[V any] struct{ value serde.Serde[V] }

// Append implements serde.Serde.
func (s answerSerde[V]) Append(dst []byte, topic string, v Answer[V]) ([]byte, error) {
	out := appendHash(dst, answerVersion, v.hash, v.hasHash)
	if !v.hasValue {
		return out, nil
	}
	out, err := s.value.Append(out, topic, v.value)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Decode implements serde.Serde.
func (s answerSerde[V]) Decode(topic string, b []byte) (v Answer[V], err error) {
	var rest []byte
	if v.hash, v.hasHash, rest, err = readHash(b, answerVersion, 0); err != nil || len(rest) == 0 {
		return v, err
	}
	v.hasValue = true
	v.value, err = s.value.Decode(topic, rest)
	return v, err
}
