package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error about bytes that are not a request.
var ErrMalformed = errors.New("malformed request")

// maxTags bounds the tagged fields of one structure; Kafka itself uses at most a few.
const maxTags = 64

// Reader reads the primitive types of the protocol from a byte slice that it never
// leaves and never copies. The first violation sticks: from then on every method
// returns zero values, and Done tells. The zero value reads nothing.
type Reader struct {
	src      []byte
	flexible bool
	wrong    string // what was violated first
}

// NewReader reads src; flexible selects compact lengths and tagged fields (KIP-482).
func NewReader(src []byte, flexible bool) Reader { return Reader{src: src, flexible: flexible} }

// Remaining is the number of bytes not read yet.
func (r *Reader) Remaining() int { return len(r.src) }

// Ok says that nothing was violated so far.
func (r *Reader) Ok() bool { return r.wrong == "" }

// Fail records a violation that the caller found.
func (r *Reader) Fail(what string) {
	if r.wrong == "" {
		r.wrong = what
	}
	r.src = nil
}

// Done returns an error that wraps ErrMalformed when something was violated or bytes are left.
func (r *Reader) Done() error {
	if r.wrong == "" && len(r.src) > 0 {
		return fmt.Errorf("%w: %d bytes after its end", ErrMalformed, len(r.src))
	}
	return r.Err()
}

// Err returns an error that wraps ErrMalformed when something was violated.
func (r *Reader) Err() error {
	if r.wrong == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrMalformed, r.wrong)
}

// Span returns the next n bytes, which alias the source.
func (r *Reader) Span(n int) []byte {
	if n < 0 || n > len(r.src) {
		r.Fail("it ends too early")
		return nil
	}
	span := r.src[:n:n]
	r.src = r.src[n:]
	return span
}

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if len(r.src) < 1 {
		r.Fail("it ends too early")
		return 0
	}
	v := int8(r.src[0])
	r.src = r.src[1:]
	return v
}

// Bool reads one byte; anything but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Int16 reads two bytes.
func (r *Reader) Int16() int16 {
	if b := r.Span(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 reads four bytes.
func (r *Reader) Int32() int32 {
	if b := r.Span(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if b := r.Span(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// UUID reads sixteen bytes.
func (r *Reader) UUID() (id [16]byte) {
	copy(id[:], r.Span(16))
	return id
}

// uvarint reads an unsigned varint of at most 32 bits.
func (r *Reader) uvarint() uint32 {
	v, n := binary.Uvarint(r.src)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		r.Fail("a varint is cut off or overlong")
		return 0
	}
	r.src = r.src[n:]
	return uint32(v)
}

// length reads the length of a string, of bytes or of an array; -1 is null. Wide
// says that the inflexible form has four bytes and not two.
func (r *Reader) length(wide bool) int {
	n := 0
	switch {
	case r.flexible:
		n = int(r.uvarint()) - 1
	case wide:
		n = int(r.Int32())
	default:
		n = int(r.Int16())
	}
	if r.wrong != "" {
		return -1
	}
	if n < -1 {
		r.Fail("a length is negative")
		return -1
	}
	return n
}

// String reads a string that may not be null; it aliases the source.
func (r *Reader) String() []byte {
	s, ok := r.NullString()
	if !ok {
		r.Fail("a string is null")
	}
	return s
}

// NullString reads a string and whether it is there; it aliases the source.
func (r *Reader) NullString() ([]byte, bool) {
	n := r.length(false)
	if n < 0 {
		return nil, false
	}
	return r.Span(n), r.wrong == ""
}

// Bytes reads a byte string, nil for null; it aliases the source.
func (r *Reader) Bytes() []byte {
	n := r.length(true)
	if n < 0 {
		return nil
	}
	return r.Span(n)
}

// ArrayLen reads the count of an array whose elements take at least size bytes
// each, and fails when so many cannot follow; -1 is null.
func (r *Reader) ArrayLen(size int) int {
	n := r.length(true)
	if n > len(r.src)/max(size, 1) {
		r.Fail("an array claims more elements than there are bytes")
		return -1
	}
	return n
}

// Tags reads the tagged fields at the end of a structure: nothing in an inflexible
// version. Each is handed to f, which may be nil; a tag that f does not know is skipped.
func (r *Reader) Tags(f func(tag uint32, value []byte)) int {
	if !r.flexible || r.wrong != "" {
		return 0
	}
	n := r.uvarint()
	if n > maxTags {
		r.Fail("too many tagged fields")
		return 0
	}
	last := int64(-1)
	for range n {
		tag := r.uvarint()
		if int64(tag) <= last {
			r.Fail("tagged fields are repeated or out of order")
			return 0
		}
		last = int64(tag)
		value := r.Span(int(r.uvarint()))
		if r.wrong != "" {
			return 0
		}
		if f != nil {
			f(tag, value)
		}
	}
	return int(n)
}
