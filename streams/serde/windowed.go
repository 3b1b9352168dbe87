package serde

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Windowed is a key in a window of time, in milliseconds since the epoch. The
// end of a time window is the first moment after it, that of a session its last
// record.
type Windowed[K any] struct {
	Key        K
	Start, End int64
}

// timeTail and sessionTail are what windowed keys have behind the plain key.
const (
	timeTail    = 8
	sessionTail = 16
)

// TimeWindowed returns the serde of keys in time windows of one size: the plain
// key, then the start in 8 bytes. The end is not written, Decode adds size to
// the start. A size without end makes every window end at the end of time.
func TimeWindowed[K any](inner Serde[K], size time.Duration) Serde[Windowed[K]] {
	if size == math.MaxInt64 {
		return timeWindowed[K]{inner: inner, size: math.MaxInt64}
	}
	return timeWindowed[K]{inner: inner, size: size.Milliseconds()}
}

type timeWindowed[K any] struct {
	inner Serde[K]
	size  int64
}

func (s timeWindowed[K]) Append(dst []byte, topic string, v Windowed[K]) ([]byte, error) {
	out, err := s.inner.Append(dst, topic, v.Key)
	if err != nil {
		return dst, err
	}
	return binary.BigEndian.AppendUint64(out, uint64(v.Start)), nil
}

func (s timeWindowed[K]) Decode(topic string, b []byte) (w Windowed[K], err error) {
	n := len(b) - timeTail
	if n < 0 {
		return w, wrongLength("time windowed key", len(b))
	}
	start := int64(binary.BigEndian.Uint64(b[n:]))
	if start < 0 {
		return w, fmt.Errorf("time windowed key: negative start %d", start)
	}
	if w.Key, err = s.inner.Decode(topic, b[:n]); err != nil {
		return w, err
	}
	w.Start, w.End = start, math.MaxInt64
	if start <= math.MaxInt64-s.size {
		w.End = start + s.size
	}
	return w, nil
}

// PartitionKey returns the plain key within an encoded one: it alone decides
// the partition of a record.
func (timeWindowed[K]) PartitionKey(encoded []byte) []byte { return cut(encoded, timeTail) }

// SessionWindowed returns the serde of keys in sessions: the plain key, then
// the end, then the start, in 8 bytes each.
func SessionWindowed[K any](inner Serde[K]) Serde[Windowed[K]] {
	return sessionWindowed[K]{inner: inner}
}

type sessionWindowed[K any] struct{ inner Serde[K] }

func (s sessionWindowed[K]) Append(dst []byte, topic string, v Windowed[K]) ([]byte, error) {
	out, err := s.inner.Append(dst, topic, v.Key)
	if err != nil {
		return dst, err
	}
	out = binary.BigEndian.AppendUint64(out, uint64(v.End))
	return binary.BigEndian.AppendUint64(out, uint64(v.Start)), nil
}

func (s sessionWindowed[K]) Decode(topic string, b []byte) (w Windowed[K], err error) {
	n := len(b) - sessionTail
	if n < 0 {
		return w, wrongLength("session key", len(b))
	}
	end := int64(binary.BigEndian.Uint64(b[n:]))
	start := int64(binary.BigEndian.Uint64(b[n+8:]))
	if start < 0 || end < start {
		return w, fmt.Errorf("session key: no session from %d to %d", start, end)
	}
	if w.Key, err = s.inner.Decode(topic, b[:n]); err != nil {
		return w, err
	}
	w.Start, w.End = start, end
	return w, nil
}

// PartitionKey returns the plain key within an encoded one.
func (sessionWindowed[K]) PartitionKey(encoded []byte) []byte { return cut(encoded, sessionTail) }

// cut returns b without its last n bytes.
func cut(b []byte, n int) []byte { return b[:max(0, len(b)-n)] }
