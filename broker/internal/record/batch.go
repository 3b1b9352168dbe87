// Package record reads, checks and builds record batches of message format v2 (KIP-98), the one
// unit that producers send, the log stores and consumers fetch. A Batch is a view: it aliases
// the bytes it was cut from, copies nothing and decodes nothing until records are walked.
//
// Layout of a batch, big endian, offsets in bytes:
//
//	 0 base offset      int64 \ stamped by the broker,
//	 8 length           int32  | outside the CRC
//	12 leader epoch     int32  |
//	16 magic            int8  /
//	17 CRC32C           uint32  of everything that follows it
//	21 attributes       int16   0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//	23 last offset delta int32
//	27 base timestamp   int64
//	35 max timestamp    int64
//	43 producer id      int64
//	51 producer epoch   int16
//	53 base sequence    int32
//	57 record count     int32
//	61 records, compressed as a whole
package record

import (
	"encoding/binary"
	"math"

	"github.com/weirstream/weir/internal/compress"
)

// Sizes and absent values of the format.
const (
	// HeaderSize is the length of a batch without records.
	HeaderSize = 61
	// LogOverhead is the part of the header that the length field does not count.
	LogOverhead = 12
	// Magic is the only message format version served here.
	Magic = 2
	// NoTimestamp, NoProducerID, NoProducerEpoch, NoSequence and NoLeaderEpoch say that a batch
	// or record does not have the thing.
	NoTimestamp     int64 = -1
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
	NoSequence      int32 = -1
	NoLeaderEpoch   int32 = -1
)

const (
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atCount           = 57
)

const (
	attrCodec         = 0x07
	attrLogAppendTime = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
	attrDeleteHorizon = 1 << 6
)

// Batch is a view of exactly one v2 batch. Its methods need at least HeaderSize bytes, which
// Split guarantees; anything beyond the header holds only after Check or Intact.
type Batch []byte

func (b Batch) int16(at int) int16 { return int16(binary.BigEndian.Uint16(b[at:])) }
func (b Batch) int32(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }
func (b Batch) int64(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }

// BaseOffset is the offset of the batch's first record.
func (b Batch) BaseOffset() int64 { return b.int64(0) }

// LastOffset is the offset of the batch's last record, which compaction may have removed.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset that follows the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// Length is the batch's size in bytes as its header declares it, all of it counted.
func (b Batch) Length() int { return LogOverhead + int(b.int32(atLength)) }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return b.int32(atLeaderEpoch) }

// Magic is the message format version.
func (b Batch) Magic() int8 { return int8(b[atMagic]) }

// CRC is the stored CRC32C of the attributes and all that follows them.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[atCRC:]) }

// Attributes are the flag bits; the methods below name them.
func (b Batch) Attributes() int16 { return b.int16(atAttributes) }

// Codec is the compression of the records; a number that Kafka does not define is possible.
func (b Batch) Codec() compress.Codec { return compress.Codec(b.Attributes() & attrCodec) }

// IsLogAppendTime reports whether the broker's append time stands for every record's timestamp.
func (b Batch) IsLogAppendTime() bool { return b.Attributes()&attrLogAppendTime != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.Attributes()&attrTransactional != 0 }

// IsControl reports whether the batch holds control records, which consumers never see.
func (b Batch) IsControl() bool { return b.Attributes()&attrControl != 0 }

// HasDeleteHorizon reports whether the base timestamp is a delete horizon (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&attrDeleteHorizon != 0 }

// LastOffsetDelta is LastOffset relative to BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return b.int32(atLastOffsetDelta) }

// BaseTimestamp is what the records' timestamps are relative to, in milliseconds since 1970.
func (b Batch) BaseTimestamp() int64 { return b.int64(atBaseTimestamp) }

// MaxTimestamp is the largest timestamp of the records in milliseconds, or the append time.
func (b Batch) MaxTimestamp() int64 { return b.int64(atMaxTimestamp) }

// ProducerID is the idempotent producer's id or NoProducerID.
func (b Batch) ProducerID() int64 { return b.int64(atProducerID) }

// HasProducer reports whether an idempotent producer wrote the batch.
func (b Batch) HasProducer() bool { return b.ProducerID() > NoProducerID }

// ProducerEpoch is the idempotent producer's epoch or NoProducerEpoch.
func (b Batch) ProducerEpoch() int16 { return b.int16(atProducerEpoch) }

// BaseSequence is the producer's sequence number of the first record or NoSequence.
func (b Batch) BaseSequence() int32 { return b.int32(atBaseSequence) }

// LastSequence is the sequence number of the last record; numbers follow 2^31-1 with 0.
func (b Batch) LastSequence() int32 {
	if b.BaseSequence() == NoSequence {
		return NoSequence
	}
	return AddSequence(b.BaseSequence(), b.LastOffsetDelta())
}

// Count is the number of records as the header tells it.
func (b Batch) Count() int32 { return b.int32(atCount) }

// AddSequence returns the sequence number n places after seq, for n >= 0.
func AddSequence(seq, n int32) int32 {
	if sum := int64(seq) + int64(n); sum <= math.MaxInt32 {
		return int32(sum)
	}
	return n - (math.MaxInt32 - seq) - 1
}

// SetBaseOffset stamps the base offset; the CRC does not cover it.
func (b Batch) SetBaseOffset(offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// SetLeaderEpoch stamps the leader epoch; the CRC does not cover it.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(epoch))
}

// SetAppendTime turns the batch into one of log append time: it sets the attribute and the max
// timestamp, in milliseconds, and computes the CRC anew.
func (b Batch) SetAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(b.Attributes()|attrLogAppendTime))
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms))
	b.seal()
}

// seal computes and stores the CRC.
func (b Batch) seal() { binary.BigEndian.PutUint32(b[atCRC:], b.checksum()) }
