package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirstream/weir/internal/compress"
)

var (
	// ErrShort reports that the bytes end before the batch does.
	ErrShort = errors.New("record batch is incomplete")
	// ErrCorrupt reports bytes that cannot be a batch, or that differ from what was written.
	ErrCorrupt = errors.New("record batch is corrupt")
	// ErrOldFormat reports a message set of magic 0 or 1, which brokers since 4.0 do not take.
	ErrOldFormat = errors.New("message format before v2")
	// ErrInvalid reports a batch that arrived as it was written but breaks a rule of the format.
	ErrInvalid = errors.New("record batch is invalid")
)

// minOldMessage is the smallest length that a message of magic 0 declares.
const minOldMessage = 14

// Split cuts the first batch off buf by its length field and returns it with the bytes after it.
// Both alias buf. The error is ErrShort when buf ends before the batch does, ErrOldFormat for
// magic 0 and 1, ErrCorrupt when length or magic cannot be right. The CRC is not looked at.
func Split(buf []byte) (first Batch, rest []byte, err error) {
	if len(buf) <= atMagic {
		return nil, nil, ErrShort
	}
	length := int64(int32(binary.BigEndian.Uint32(buf[atLength:])))
	switch magic := int8(buf[atMagic]); {
	case (magic == 0 || magic == 1) && length >= minOldMessage:
		return nil, nil, ErrOldFormat
	case magic != Magic:
		return nil, nil, fmt.Errorf("%w: magic %d", ErrCorrupt, magic)
	}
	size := LogOverhead + length
	if size < HeaderSize {
		return nil, nil, fmt.Errorf("%w: length %d", ErrCorrupt, length)
	}
	if size > int64(len(buf)) {
		return nil, nil, ErrShort
	}
	return Batch(buf[:size:size]), buf[size:], nil
}

// Intact tells whether b is a batch as it was once written: length, magic, CRC32C, and a last
// offset that is not before the first. It holds for every batch in a log, compacted ones
// included, and is what recovery asks. Errors wrap ErrCorrupt, ErrShort, ErrOldFormat, or
// ErrInvalid when the CRC holds and the header is absurd all the same.
func (b Batch) Intact() error {
	whole, rest, err := Split(b)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after the batch", ErrCorrupt, len(rest))
	}
	if sum := whole.checksum(); sum != whole.CRC() {
		return fmt.Errorf("%w: crc %08x, computed %08x", ErrCorrupt, whole.CRC(), sum)
	}
	if whole.LastOffsetDelta() < 0 || whole.Count() < 0 {
		return fmt.Errorf("%w: last offset delta %d, count %d", ErrInvalid, whole.LastOffsetDelta(), whole.Count())
	}
	return nil
}

// Check tells whether b is a batch that a producer may have made: Intact, at least one record,
// offsets without gaps, a sequence number wherever there is a producer id. It reads the header
// and computes the CRC once; records are not decoded. Errors wrap ErrCorrupt, ErrShort or
// ErrOldFormat when the bytes are damaged or foreign, ErrInvalid when they break a rule.
func (b Batch) Check() error {
	if err := b.Intact(); err != nil {
		return err
	}
	switch {
	case !b.Codec().Known():
		return fmt.Errorf("%w: %w: %d", ErrInvalid, compress.ErrUnknownCodec, b.Codec())
	case b.Count() == 0:
		return fmt.Errorf("%w: no records", ErrInvalid)
	case b.LastOffsetDelta() != b.Count()-1:
		return fmt.Errorf("%w: last offset delta %d with %d records", ErrInvalid, b.LastOffsetDelta(), b.Count())
	case int64(b.Count())*minRecord > int64(len(b)-HeaderSize) && b.Codec() == compress.None:
		return fmt.Errorf("%w: %d bytes cannot hold %d records", ErrInvalid, len(b)-HeaderSize, b.Count())
	case b.HasProducer() && b.BaseSequence() < 0 && !b.IsControl():
		return fmt.Errorf("%w: producer %d without a sequence number", ErrInvalid, b.ProducerID())
	case b.HasProducer() && b.ProducerEpoch() < 0:
		return fmt.Errorf("%w: producer %d without an epoch", ErrInvalid, b.ProducerID())
	case b.ProducerID() < NoProducerID:
		return fmt.Errorf("%w: producer id %d", ErrInvalid, b.ProducerID())
	case b.IsTransactional() && !b.HasProducer():
		return fmt.Errorf("%w: transactional without a producer id", ErrInvalid)
	}
	return nil
}

func (b Batch) checksum() uint32 {
	return crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli))
}
