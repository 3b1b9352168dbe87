package wire

import "encoding/binary"

// AppendArrayLen appends the count of an array, compact when flexible.
func AppendArrayLen(dst []byte, n int, flexible bool) []byte {
	if flexible {
		return binary.AppendUvarint(dst, uint64(n+1))
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// AppendString appends a string, compact when flexible.
func AppendString(dst []byte, s string, flexible bool) []byte {
	if flexible {
		dst = binary.AppendUvarint(dst, uint64(len(s)+1))
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	}
	return append(dst, s...)
}

// AppendNullString appends a string, or null where it is empty, compact when flexible.
func AppendNullString(dst []byte, s string, flexible bool) []byte {
	switch {
	case s != "":
		return AppendString(dst, s, flexible)
	case flexible:
		return append(dst, 0)
	}
	return append(dst, 0xff, 0xff)
}

// AppendTagged appends one tagged field: its number, the length of value, value.
func AppendTagged(dst []byte, tag uint32, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(tag))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}
