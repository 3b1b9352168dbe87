package record

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weirstream/weir/internal/compress"
)

// CheckRecords decodes every record of body, which is what Body returned for b, and holds them
// to the format: as many as the header says, offset deltas 0, 1, 2, …, nothing left over. It
// shows each record with its index to visit and returns the largest timestamp. Errors wrap
// ErrInvalid.
func (b Batch) CheckRecords(body []byte, visit func(index int32, r Record)) (maxTimestamp int64, err error) {
	maxTimestamp = NoTimestamp
	w := b.Walk(body)
	for index := int32(0); w.Next(); index++ {
		r := w.Record()
		if delta := r.Offset - b.BaseOffset(); delta != int64(index) {
			return 0, fmt.Errorf("%w: record %d has offset delta %d", ErrInvalid, index, delta)
		}
		maxTimestamp = max(maxTimestamp, r.Timestamp)
		visit(index, r)
	}
	return maxTimestamp, w.Err()
}

// SetMaxTimestamp corrects the max timestamp, in milliseconds, and computes the CRC anew.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms))
	b.seal()
}

// Recompress returns a new batch with b's header and with body, which is what Body returned for
// b, under another codec. The only error wraps compress.ErrUnknownCodec. c may be nil.
func (b Batch) Recompress(c *compress.Coders, body []byte, codec compress.Codec) (Batch, error) {
	packed, err := c.Compress(slices.Clone(b[:HeaderSize]), body, codec)
	if err != nil {
		return nil, fmt.Errorf("recompress: %w", err)
	}
	out := Batch(packed)
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-LogOverhead))
	binary.BigEndian.PutUint16(out[atAttributes:], uint16(b.Attributes()&^attrCodec)|uint16(codec))
	out.seal()
	return out, nil
}
