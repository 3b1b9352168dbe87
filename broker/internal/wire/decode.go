package wire

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request may cost memoryFloor bytes of memory plus memoryFactor times its size.
// Requests of real clients stay far below; a request that consists of thousands of
// one-byte elements is refused.
const (
	memoryFloor  = 64 << 10
	memoryFactor = 16
)

// Decoder decodes the requests of one API key within a budget: it walks the bytes
// before kmsg sees them and refuses counts, lengths and tagged fields that the
// bytes cannot hold, bytes after the end, and requests that would take many times
// their size in memory. It is safe for concurrent use.
type Decoder struct {
	key, min int16
	shapes   []lazyShape
}

// lazyShape is the layout of one version, learnt when it is first asked for.
type lazyShape struct {
	once     sync.Once
	shape    field
	flexible bool
	blobs    bool
}

// NewDecoder returns a Decoder for the versions lo to hi of an API key that kmsg knows.
func NewDecoder(key, lo, hi int16) *Decoder {
	return &Decoder{key: key, min: lo, shapes: make([]lazyShape, hi-lo+1)}
}

// Decode returns the request in body, and an error that wraps ErrMalformed when
// there is none. The result does not alias body. The version must be in the range.
func (d *Decoder) Decode(version int16, body []byte) (kmsg.Request, error) {
	s := d.shape(version)
	r := NewReader(body, s.flexible)
	memory := s.shape.memory + s.shape.walk(&r)
	if spare := r.Remaining(); spare <= d.spare(s) && r.Ok() {
		body = body[:len(body)-spare]
	} else if err := r.Done(); err != nil {
		return nil, err
	}
	if limit := memoryFloor + memoryFactor*len(body); memory > limit {
		return nil, fmt.Errorf("%w: its %d bytes would take %d bytes of memory", ErrMalformed, len(body), memory)
	}
	if s.blobs {
		body = bytes.Clone(body) // kmsg's byte fields alias what they were read from
	}
	req := d.request(version)
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return req, nil
}

// spare is how many bytes may follow a request. librdkafka 2.12 keeps four for the number of topics of
// a flexible Metadata request and fills one where it asks for all of them.
func (d *Decoder) spare(s *lazyShape) int {
	if d.key == int16(kmsg.Metadata) && s.flexible {
		return 3
	}
	return 0
}

func (d *Decoder) shape(version int16) *lazyShape {
	s := &d.shapes[version-d.min]
	s.once.Do(func() {
		req := d.request(version)
		s.shape, s.flexible = shapeOf(req), req.IsFlexible()
		s.blobs = s.shape.holds(blob)
	})
	return s
}

func (d *Decoder) request(version int16) kmsg.Request {
	req := kmsg.RequestForKey(d.key)
	req.SetVersion(version)
	return req
}
