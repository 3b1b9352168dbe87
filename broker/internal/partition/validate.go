package partition

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/record"
)

// zstdProduceVersion is the first Produce version that may carry zstd (KIP-110).
const zstdProduceVersion = 7

// keptScratch is the largest buffer of decompressed records that is kept for the next batch.
const keptScratch = 4 << 20

// RecordError names a record of a refused batch and what is wrong with it (KIP-467).
type RecordError struct {
	Index   int32
	Message string
}

// refusal is why a batch is not taken: the protocol's error, a sentence for people, and the
// records at fault where single ones are.
type refusal struct {
	err     error
	message string
	records []RecordError
}

func refuse(err error, message string) *refusal { return &refusal{err: err, message: message} }

// validate holds the bytes of one Produce partition to the rules for clients and returns the
// batch as it is to be stored. It takes no lock, and computes the CRC of the bytes once.
func (p *Partition) validate(buf []byte, r AppendRequest, c *Config, now time.Time) (record.Batch, *refusal) {
	b, rest, err := record.Split(buf)
	switch {
	case len(buf) == 0:
		return nil, refuse(kerr.InvalidRecord, "no record batch for the partition")
	case err != nil:
		return nil, refuseBatch(err)
	case len(rest) > 0:
		return nil, refuse(kerr.InvalidRecord, "more than one record batch for the partition")
	case c.MaxMessageBytes > 0 && len(b) > c.MaxMessageBytes:
		return nil, refuse(kerr.MessageTooLarge, "the batch is larger than max.message.bytes")
	}
	if err := b.Check(); err != nil {
		return nil, refuseBatch(err)
	}
	switch {
	case b.BaseOffset() != 0:
		return nil, refuse(kerr.InvalidRecord, "the base offset of a new batch must be 0")
	case b.IsControl():
		return nil, refuse(kerr.InvalidRecord, "clients may not write control records")
	case b.IsLogAppendTime():
		return nil, refuse(kerr.InvalidTimestamp, "the broker alone sets log append time")
	case b.Codec() == record.Zstd && r.ProduceVersion < zstdProduceVersion:
		return nil, refuse(kerr.UnsupportedCompressionType, "zstd needs Produce version 7")
	case !c.walks() && !c.outside(b.MaxTimestamp(), now):
		return b, nil
	}
	return p.validateDeep(b, c, now)
}

// walks reports whether the topic depends on what the records hold. A bound on the past is among
// that, because a header tells the largest timestamp and not the smallest.
func (c *Config) walks() bool {
	return c.Compact || c.LogAppendTime || c.Deep || c.Recompress || c.BeforeMax > 0
}

// outside reports whether a create time is too far from the broker's clock.
func (c *Config) outside(ms int64, now time.Time) bool {
	if c.LogAppendTime || ms == record.NoTimestamp {
		return false
	}
	behind := now.UnixMilli() - ms
	return c.BeforeMax > 0 && behind > c.BeforeMax.Milliseconds() ||
		c.AfterMax > 0 && -behind > c.AfterMax.Milliseconds()
}

func refuseBatch(err error) *refusal {
	// What a client wrote wrongly is invalid; what may be sound on the next try is corrupt.
	for _, wrong := range []error{record.ErrOldFormat, record.ErrInvalid, record.ErrShort} {
		if errors.Is(err, wrong) {
			return refuse(kerr.InvalidRecord, err.Error())
		}
	}
	return refuse(kerr.CorruptMessage, err.Error())
}

// validateDeep walks the records of a batch that passed the shallow rules.
func (p *Partition) validateDeep(b record.Batch, c *Config, now time.Time) (record.Batch, *refusal) {
	scratch, ok := p.scratch.Get().(*[]byte)
	if !ok {
		scratch = new([]byte)
	}
	defer p.scratch.Put(scratch)
	body, err := b.Body(p.coders, (*scratch)[:0], c.maxDecompressed())
	if err != nil {
		return nil, refuseBatch(err)
	}
	if b.Codec() != record.None && cap(body) <= keptScratch {
		*scratch = body
	}
	bad := refuse(kerr.InvalidTimestamp, "")
	latest, err := b.CheckRecords(body, func(index int32, r record.Record) {
		switch {
		case c.Compact && r.Key == nil:
			bad.err = kerr.InvalidRecord
			bad.records = append(bad.records, RecordError{Index: index, Message: "a compacted topic takes no record without a key"})
		case c.outside(r.Timestamp, now):
			bad.records = append(bad.records, RecordError{Index: index, Message: "the timestamp is out of the topic's range"})
		}
	})
	switch {
	case err != nil:
		return nil, refuseBatch(err)
	case len(bad.records) > 0:
		bad.message = "one or more records were refused, and the batch with them"
		return nil, bad
	}
	return p.rewrite(b, body, latest, c, now)
}

// rewrite applies what the topic demands of the stored form.
func (p *Partition) rewrite(b record.Batch, body []byte, latest int64, c *Config, now time.Time) (record.Batch, *refusal) {
	if c.Recompress && b.Codec() != c.Codec {
		packed, err := b.Recompress(p.coders, body, c.Codec)
		if err != nil {
			return nil, refuse(kerr.UnsupportedCompressionType, err.Error())
		}
		if c.MaxMessageBytes > 0 && len(packed) > c.MaxMessageBytes {
			return nil, refuse(kerr.MessageTooLarge, "the batch is larger than max.message.bytes once it is stored under the topic's codec")
		}
		b = packed
	}
	switch {
	case c.LogAppendTime:
		b.SetAppendTime(now.UnixMilli())
	case latest != b.MaxTimestamp():
		b.SetMaxTimestamp(latest)
	}
	return b, nil
}
