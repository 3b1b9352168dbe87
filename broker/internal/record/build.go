package record

import (
	"encoding/binary"

	"github.com/weirstream/weir/internal/compress"
)

// Producer identifies the idempotent producer of a batch and its place in that producer's
// sequence.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32
}

// Options say what kind of batch a Builder makes. The zero value is a plain, uncompressed batch
// at offset 0 without a producer.
type Options struct {
	BaseOffset    int64
	LeaderEpoch   int32
	Codec         compress.Codec
	Producer      *Producer // nil for none
	Transactional bool
	Control       bool
	AppendTime    bool // the batch has log append time: its max timestamp stands for all
}

// Builder puts records together into one batch. It is not safe for concurrent use.
type Builder struct {
	options  Options
	buf      []byte // header space, then encoded records
	count    int32
	base     int64
	max      int64
	overhead []byte // scratch of one record's fields
}

// NewBuilder returns an empty builder.
func NewBuilder(o Options) *Builder {
	b := &Builder{options: o}
	b.Reset()
	return b
}

// Reset forgets the records and keeps the options. The last Build's batch is not affected.
func (b *Builder) Reset() {
	b.buf = make([]byte, HeaderSize, 512)
	b.count, b.base, b.max = 0, NoTimestamp, NoTimestamp
}

// Append adds one record with a timestamp in milliseconds. A nil key or value is null. The bytes
// are copied. The first record's timestamp becomes the batch's base.
func (b *Builder) Append(timestamp int64, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.base, b.max = timestamp, timestamp
	}
	b.max = max(b.max, timestamp)
	f := append(b.overhead[:0], 0)
	f = binary.AppendVarint(f, timestamp-b.base)
	f = binary.AppendVarint(f, int64(b.count))
	f = appendBytes(f, key)
	f = appendBytes(f, value)
	f = binary.AppendVarint(f, int64(len(headers)))
	for _, h := range headers {
		f = binary.AppendVarint(f, int64(len(h.Key)))
		f = append(f, h.Key...)
		f = appendBytes(f, h.Value)
	}
	b.overhead = f
	b.buf = binary.AppendVarint(b.buf, int64(len(f)))
	b.buf = append(b.buf, f...)
	b.count++
}

func appendBytes(dst, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(v))), v...)
}

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Size is the size in bytes that the batch has without compression.
func (b *Builder) Size() int { return len(b.buf) }

// Build returns the batch with its CRC. The batch is the caller's; the builder must be Reset
// before it is used again. A codec that Kafka does not define is a bug of the caller.
func (b *Builder) Build() Batch {
	out := Batch(b.buf)
	if b.options.Codec != compress.None {
		packed, err := compress.Compress(make([]byte, HeaderSize, HeaderSize+len(b.buf)/2), b.buf[HeaderSize:], b.options.Codec)
		if err != nil {
			panic("bug: " + err.Error())
		}
		out = packed
	}
	o := b.options
	p := Producer{ID: NoProducerID, Epoch: NoProducerEpoch, Sequence: NoSequence}
	if o.Producer != nil {
		p = *o.Producer
	}
	be := binary.BigEndian
	out.SetBaseOffset(o.BaseOffset)
	be.PutUint32(out[atLength:], uint32(len(out)-LogOverhead))
	out.SetLeaderEpoch(o.LeaderEpoch)
	out[atMagic] = Magic
	be.PutUint16(out[atAttributes:], o.attributes())
	be.PutUint32(out[atLastOffsetDelta:], uint32(b.count-1))
	be.PutUint64(out[atBaseTimestamp:], uint64(b.base))
	be.PutUint64(out[atMaxTimestamp:], uint64(b.max))
	be.PutUint64(out[atProducerID:], uint64(p.ID))
	be.PutUint16(out[atProducerEpoch:], uint16(p.Epoch))
	be.PutUint32(out[atBaseSequence:], uint32(p.Sequence))
	be.PutUint32(out[atCount:], uint32(b.count))
	out.seal()
	return out
}

func (o Options) attributes() uint16 {
	a := uint16(o.Codec)
	if o.AppendTime {
		a |= attrLogAppendTime
	}
	if o.Transactional {
		a |= attrTransactional
	}
	if o.Control {
		a |= attrControl
	}
	return a
}
