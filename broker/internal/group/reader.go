package group

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errMalformed is wrapped by every error about bytes that are not what they should be.
var errMalformed = errors.New("malformed record")

// maxString is the longest string that the record formats can hold.
const maxString = 1<<15 - 1

// reader takes fields off the front of bytes. The first field that is not there sets err; from then
// on every field is zero. Strings are copied, byte slices alias the input.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errMalformed, what)
	}
	r.b = nil
}

func (r *reader) take(n int, what string) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("bad " + what)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) int16() int16 {
	if b := r.take(2, "int16"); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4, "int32"); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8, "int64"); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uvarint() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<31-1 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) string() string {
	s := r.nullableString()
	if s == nil {
		if r.err == nil {
			r.fail("null string")
		}
		return ""
	}
	return *s
}

func (r *reader) nullableString() *string {
	n := r.int16()
	if n == -1 || r.err != nil {
		return nil
	}
	s := string(r.take(int(n), "string"))
	return &s
}

func (r *reader) bytes() []byte { return r.take(int(r.int32()), "bytes") }

// Fields of flexible versions; a length is one more than it says, zero is null.

func (r *reader) compactString() string {
	s := r.compactNullableString()
	if s == nil {
		if r.err == nil {
			r.fail("null string")
		}
		return ""
	}
	return *s
}

func (r *reader) compactNullableString() *string {
	n := r.uvarint()
	if n == 0 || r.err != nil {
		return nil
	}
	s := string(r.take(n-1, "string"))
	return &s
}

func (r *reader) compactBytes() []byte { return r.take(r.uvarint()-1, "bytes") }

// tags walks tagged fields and hands each to f, which may be nil.
func (r *reader) tags(f func(tag int, value []byte)) {
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		tag := r.uvarint()
		value := r.take(r.uvarint(), "tagged field")
		if f != nil && r.err == nil {
			f(tag, value)
		}
	}
}

// end reports the first error, or bytes that are left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	return r.err
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendNullableString(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0xff, 0xff)
	}
	return appendString(b, *s)
}

func appendBytes(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}
