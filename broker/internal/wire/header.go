package wire

import (
	"encoding/binary"
	"fmt"
)

// headerSize is the part of a request header that every version has.
const headerSize = 8

// Header is the header of a request.
type Header struct {
	Key, Version int16
	Correlation  int32
	ClientID     []byte // aliases the frame; nil where there is none
}

// PeekHeader reads the part of a header that every request begins with, so that
// the caller can decide whether and how to read the rest.
func PeekHeader(frame []byte) (Header, error) {
	if len(frame) < headerSize {
		return Header{}, fmt.Errorf("%w: a frame of %d bytes has no header", ErrMalformed, len(frame))
	}
	return Header{
		Key:         int16(binary.BigEndian.Uint16(frame)),
		Version:     int16(binary.BigEndian.Uint16(frame[2:])),
		Correlation: int32(binary.BigEndian.Uint32(frame[4:])),
	}, nil
}

// ReadHeader reads a whole header, version 2 when flexible and else 1, and returns
// it with the body behind it. Both alias frame.
func ReadHeader(frame []byte, flexible bool) (Header, []byte, error) {
	h, err := PeekHeader(frame)
	if err != nil {
		return h, nil, err
	}
	r := NewReader(frame[headerSize:], false) // the client id is never compact
	h.ClientID, _ = r.NullString()
	r.flexible = flexible
	r.Tags(nil)
	return h, r.src, r.Err()
}
