package record

import (
	"encoding/binary"
	"fmt"

	"github.com/weirstream/weir/internal/compress"
)

// What compaction needs: batches that hold fewer records than they were written with. Offsets,
// producer and leader epoch stay as they were, whatever goes.

// Raw is the record that Next moved to as it stands in the body, its length included.
func (w *Walker) Raw() []byte { return w.raw }

// AppendRebased appends the record that Next moved to, with a timestamp relative to base, to dst.
func (w *Walker) AppendRebased(dst []byte, base int64) []byte {
	c := cursor{b: w.raw}
	c.varint()                          // length
	attributes, rest := c.b[0], c.b[1:] // decoded before
	c.b = rest
	c.varlong()
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = attributes
	n := 1 + binary.PutVarint(head[1:], w.record.Timestamp-base)
	dst = binary.AppendVarint(dst, int64(n+len(c.b)))
	dst = append(dst, head[:n]...)
	return append(dst, c.b...)
}

// Kept says what a compaction has left of a batch.
type Kept struct {
	Count        int32
	MaxTimestamp int64 // of the records kept, in milliseconds; not used under log append time
	// Horizon is the time in milliseconds from when on tombstones and markers may go; -1 leaves
	// the base timestamp as it is. The records must be relative to it (AppendRebased).
	Horizon int64
}

// Keep appends to dst, which must be empty, a batch with b's header and codec and with body, the
// uncompressed records that stay. The error wraps compress.ErrUnknownCodec. c may be nil.
func (b Batch) Keep(c *compress.Coders, dst, body []byte, k Kept) (Batch, error) {
	packed, err := c.Compress(append(dst, b[:HeaderSize]...), body, b.Codec())
	if err != nil {
		return nil, fmt.Errorf("keep records: %w", err)
	}
	out, be := Batch(packed), binary.BigEndian
	be.PutUint32(out[atLength:], uint32(len(out)-LogOverhead))
	be.PutUint32(out[atCount:], uint32(k.Count))
	if !b.IsLogAppendTime() {
		be.PutUint64(out[atMaxTimestamp:], uint64(k.MaxTimestamp))
	}
	if k.Horizon >= 0 {
		be.PutUint16(out[atAttributes:], uint16(b.Attributes()|attrDeleteHorizon))
		be.PutUint64(out[atBaseTimestamp:], uint64(k.Horizon))
	}
	out.seal()
	return out, nil
}

// Emptied appends to dst, which must be empty, a batch with b's header and no records: it keeps
// offsets and the producer's sequence alive.
func (b Batch) Emptied(dst []byte) Batch {
	out, be := Batch(append(dst, b[:HeaderSize]...)), binary.BigEndian
	be.PutUint32(out[atLength:], HeaderSize-LogOverhead)
	be.PutUint16(out[atAttributes:], uint16(b.Attributes()&^(attrCodec|attrDeleteHorizon)))
	be.PutUint64(out[atBaseTimestamp:], uint64(b.MaxTimestamp()))
	be.PutUint32(out[atCount:], 0)
	out.seal()
	return out
}
