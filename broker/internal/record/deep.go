package record

import (
	"encoding/binary"
	"fmt"
)

// Findings are what a walk over all records of a batch found.
type Findings struct {
	MaxTimestamp int64   // the largest timestamp of the records
	Rejected     []int32 // indexes of the records that the caller's rule refused
}

// CheckRecords decodes every record of body, which is what Body returned for b, and holds them
// to the format: as many as the header says, offset deltas 0, 1, 2, …, nothing left over. It
// also collects the records that reject refuses. Errors wrap ErrInvalid.
func (b Batch) CheckRecords(body []byte, reject func(Record) bool) (Findings, error) {
	f := Findings{MaxTimestamp: NoTimestamp}
	w := b.Walk(body)
	index := int32(0)
	for ; w.Next(); index++ {
		r := w.Record()
		if delta := r.Offset - b.BaseOffset(); delta != int64(index) {
			return Findings{}, fmt.Errorf("%w: record %d has offset delta %d", ErrInvalid, index, delta)
		}
		f.MaxTimestamp = max(f.MaxTimestamp, r.Timestamp)
		if reject(r) {
			f.Rejected = append(f.Rejected, index)
		}
	}
	if w.Err() != nil {
		return Findings{}, w.Err()
	}
	return f, nil
}

// SetMaxTimestamp corrects the max timestamp, in milliseconds, and computes the CRC anew.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms))
	b.seal()
}
