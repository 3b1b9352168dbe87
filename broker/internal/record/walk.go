package record

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/weirstream/weir/internal/compress"
)

// minRecord is the size of the smallest record: six one-byte fields and its length.
const minRecord = 7

// Record is one record of a batch. A nil Key or Value is null on the wire, an empty one is not.
type Record struct {
	Offset    int64 // absolute
	Timestamp int64 // milliseconds; the batch's append time where that is in force
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is one header of a record; a nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// Records walks the batch's records. It yields an error, once and last, for bytes that are no
// records (wrapping ErrInvalid), and when they decompress to more than limit bytes (wrapping
// compress.ErrTooLarge); it never panics. Keys and values alias the batch, or, where it is
// compressed, a buffer made for this walk: they stay valid as long as those bytes are not reused.
func (b Batch) Records(limit int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		body, err := b.Body(nil, nil, limit)
		if err != nil {
			yield(Record{}, err)
			return
		}
		w := b.Walk(body)
		for w.Next() {
			rec := w.Record()
			rec.Headers = w.Headers()
			if !yield(rec, nil) {
				return
			}
		}
		if w.Err() != nil {
			yield(Record{}, w.Err())
		}
	}
}

// Body returns the bytes of the records: a view of the batch where it is not compressed, else
// the decompressed form, of at most limit bytes, appended to dst. c may be nil.
func (b Batch) Body(c *compress.Coders, dst []byte, limit int) ([]byte, error) {
	body := b[HeaderSize:]
	if b.Codec() == compress.None {
		return body, nil
	}
	out, err := c.Decompress(dst, body, b.Codec(), limit)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return out, nil
}

// Walk starts a walk over body, which is what Body returned for b. It allocates nothing.
func (b Batch) Walk(body []byte) Walker {
	w := Walker{rest: body, left: b.Count(), base: b.BaseOffset(), time: b.BaseTimestamp()}
	if b.IsLogAppendTime() {
		w.appendTime, w.fixed = b.MaxTimestamp(), true
	}
	return w
}

// Walker steps through the records of one batch without allocating. Use it as
//
//	for w := b.Walk(body); w.Next(); { w.Record() }
//
// and ask Err afterwards. It is not safe for concurrent use.
type Walker struct {
	rest       []byte
	raw        []byte // the record as it was encoded
	left       int32
	base, time int64
	appendTime int64
	fixed      bool
	record     Record
	headers    []byte // undecoded, already known to be well formed
	nheaders   int
	err        error
}

// Next moves to the next record and reports whether there is one.
func (w *Walker) Next() bool {
	if w.err != nil || w.left <= 0 {
		if w.err == nil && len(w.rest) > 0 {
			w.err = fmt.Errorf("%w: %d bytes after the last record", ErrInvalid, len(w.rest))
		}
		return false
	}
	w.left--
	c := cursor{b: w.rest}
	body := c.bytes(c.varint())
	if c.bad || body == nil {
		w.err = fmt.Errorf("%w: record length", ErrInvalid)
		return false
	}
	w.raw = w.rest[:len(w.rest)-len(c.b)]
	w.rest = c.b
	if !w.decode(body) {
		w.err = fmt.Errorf("%w: malformed record", ErrInvalid)
		return false
	}
	return true
}

func (w *Walker) decode(body []byte) bool {
	c := cursor{b: body}
	c.skip(1) // attributes, unused
	timestamp := w.time + c.varlong()
	offset := c.varint()
	key := c.bytes(c.varint())
	value := c.bytes(c.varint())
	n := c.varint()
	w.headers, w.nheaders = c.b, int(n)
	if n < 0 {
		return false
	}
	for range n {
		if c.bytes(c.varint()) == nil {
			return false // also ends a count that the bytes cannot back up
		}
		c.bytes(c.varint())
	}
	if w.fixed {
		timestamp = w.appendTime
	}
	w.record = Record{Offset: w.base + int64(offset), Timestamp: timestamp, Key: key, Value: value}
	return !c.bad && len(c.b) == 0
}

// Record is the record that Next moved to, without its headers.
func (w *Walker) Record() Record { return w.record }

// Headers decodes the headers of the record that Next moved to; it allocates when there are any.
func (w *Walker) Headers() []Header {
	if w.nheaders == 0 {
		return nil
	}
	headers := make([]Header, 0, w.nheaders)
	c := cursor{b: w.headers}
	for range w.nheaders {
		key := string(c.bytes(c.varint()))
		headers = append(headers, Header{Key: key, Value: c.bytes(c.varint())})
	}
	return headers
}

// Err is what ended the walk early, or nil.
func (w *Walker) Err() error { return w.err }

// cursor reads the varint-based fields of a record; once bad it stays bad and yields zeros.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) skip(n int) {
	if len(c.b) < n {
		c.bad = true
		return
	}
	c.b = c.b[n:]
}

// varint reads a zigzag int32.
func (c *cursor) varint() int32 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return int32(v>>1) ^ -int32(v&1)
	}
	v := c.varlong()
	if v != int64(int32(v)) {
		c.bad = true
		return 0
	}
	return int32(v)
}

// varlong reads a zigzag int64.
func (c *cursor) varlong() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes reads n bytes as a view; -1 is null and gives nil, as does any failure.
func (c *cursor) bytes(n int32) []byte {
	switch {
	case n == -1 && !c.bad:
		return nil
	case n < 0 || int(n) > len(c.b) || c.bad:
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}
