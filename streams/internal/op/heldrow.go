package op

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// What operators hold back is written, in stores and changelogs, in a layout of
// our own: the bytes 57 01 (W, format 1), fixed fields, then byte strings, each
// after the varint of its length plus one, 0 for null, and at last the headers: a
// varint of their number, and the key and value of each. Nothing may follow. So no
// part of a row is a row, and neither is what Kafka Streams writes, which begins
// with a time or an offset.
const heldFormat = "W\x01"

// beginHeld reads the format and so many fixed bytes.
func beginHeld(b []byte, fixed int) (head, rest []byte, err error) {
	n := len(heldFormat)
	switch {
	case len(b) < n || string(b[:n]) != heldFormat:
		return nil, nil, badHeld("is not in a format that is known: it begins with %x", b[:min(n, len(b))])
	case len(b) < n+fixed:
		return nil, nil, badHeld("ends after %d bytes", len(b))
	default:
		return b[n : n+fixed], b[n+fixed:], nil
	}
}

func badHeld(format string, args ...any) error {
	return fmt.Errorf("row that is held back %s: %w", fmt.Sprintf(format, args...), statestore.ErrCorrupt)
}

func appendField(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
}

func readField(b []byte) (field, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used)+1 {
		return nil, nil, badHeld("is cut short")
	}
	if b = b[used:]; n == 0 {
		return nil, b, nil
	}
	return b[: n-1 : n-1], b[n-1:], nil
}

func appendHeaders(dst []byte, headers []processor.Header) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		dst = appendField(appendField(dst, []byte(h.Key)), h.Value)
	}
	return dst
}

// readHeaders reads the headers that end a row.
func readHeaders(b []byte) (headers []processor.Header, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 {
		return nil, badHeld("is cut short")
	}
	b = b[used:]
	for range n {
		var key, value []byte
		if key, b, err = readField(b); err == nil {
			value, b, err = readField(b)
		}
		if err != nil {
			return nil, err
		}
		headers = append(headers, processor.Header{Key: string(key), Value: bytes.Clone(value)})
	}
	if len(b) > 0 {
		return nil, badHeld("has %d bytes too many", len(b))
	}
	return headers, nil
}
