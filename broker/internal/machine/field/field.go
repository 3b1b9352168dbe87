// Package field reads and appends the primitive fields that records of Kafka's internal topics are
// made of.
package field

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error about bytes that are not what they should be.
var ErrMalformed = errors.New("malformed record")

// MaxString is the longest string, in bytes, that formats with int16 lengths can hold.
const MaxString = 1<<15 - 1

// Reader takes fields off the front of bytes. The first field that is not there sets the error; from
// then on every field is zero. Strings are copied, byte slices alias the input. It is not safe for
// concurrent use.
type Reader struct {
	b   []byte
	err error
}

// Fail sets the error, unless there is one.
func (r *Reader) Fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	r.b = nil
}

func (r *Reader) take(n int, what string) []byte {
	if n < 0 || n > len(r.b) {
		r.Fail("bad " + what)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Int8 takes one byte.
func (r *Reader) Int8() int8 {
	if b := r.take(1, "int8"); b != nil {
		return int8(b[0])
	}
	return 0
}

// Int16 takes two bytes.
func (r *Reader) Int16() int16 {
	if b := r.take(2, "int16"); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 takes four bytes.
func (r *Reader) Int32() int32 {
	if b := r.take(4, "int32"); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 takes eight bytes.
func (r *Reader) Int64() int64 {
	if b := r.take(8, "int64"); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Uvarint takes an unsigned varint of at most 31 bits.
func (r *Reader) Uvarint() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<31-1 {
		r.Fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

// String takes a string that must not be null.
func (r *Reader) String() string {
	s := r.NullableString()
	if s == nil {
		if r.err == nil {
			r.Fail("null string")
		}
		return ""
	}
	return *s
}

// NullableString takes a string; null is nil.
func (r *Reader) NullableString() *string {
	n := r.Int16()
	if n == -1 || r.err != nil {
		return nil
	}
	s := string(r.take(int(n), "string"))
	return &s
}

// Bytes takes bytes with an int32 length.
func (r *Reader) Bytes() []byte { return r.take(int(r.Int32()), "bytes") }

// NewReader returns a reader of bytes, which it does not change.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Fields of flexible versions; a length is one more than it says, zero is null.

// CompactString takes a string that must not be null.
func (r *Reader) CompactString() string {
	s := r.CompactNullableString()
	if s == nil {
		if r.err == nil {
			r.Fail("null string")
		}
		return ""
	}
	return *s
}

// CompactNullableString takes a string; null is nil.
func (r *Reader) CompactNullableString() *string {
	n := r.Uvarint()
	if n == 0 || r.err != nil {
		return nil
	}
	s := string(r.take(n-1, "string"))
	return &s
}

// CompactBytes takes bytes.
func (r *Reader) CompactBytes() []byte { return r.take(r.Uvarint()-1, "bytes") }

// Tags walks tagged fields and hands each to f, which may be nil.
func (r *Reader) Tags(f func(tag int, value []byte)) {
	for n := r.Uvarint(); n > 0 && r.err == nil; n-- {
		tag := r.Uvarint()
		value := r.take(r.Uvarint(), "tagged field")
		if f != nil && r.err == nil {
			f(tag, value)
		}
	}
}

// End reports the first error, or bytes that are left over.
func (r *Reader) End() error {
	if r.err == nil && len(r.b) > 0 {
		r.Fail("trailing bytes")
	}
	return r.err
}

// AppendString appends a string of at most MaxString bytes.
func AppendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// AppendNullableString appends a string, or null for nil.
func AppendNullableString(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0xff, 0xff)
	}
	return AppendString(b, *s)
}

// AppendBytes appends bytes.
func AppendBytes(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

// AppendCompactString appends a string of a flexible version.
func AppendCompactString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)+1))
	return append(b, s...)
}
