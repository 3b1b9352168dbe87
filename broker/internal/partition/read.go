package partition

import (
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/record"
)

// ReadRequest asks for data from an offset on.
type ReadRequest struct {
	Offset           int64
	MaxBytes         int
	MinOne           bool // a first batch is returned even when it is larger than MaxBytes
	ReadCommitted    bool
	Replica          bool  // a follower: it reads up to the log end
	CurrentEpoch     int32 // the leader epoch the reader believes in; -1 for any
	LastFetchedEpoch int32 // -1; reserved for followers that detect divergence by fetching
	// Into is memory for the bytes: a range that fits is copied to its beginning.
	Into []byte
}

// ReadResult is what a read found. The reader releases Range when it is done with the bytes; one
// of length 0 holds nothing and needs no release.
type ReadResult struct {
	HighWatermark, LastStable, LogStart int64
	Range                               commitlog.Range
	Aborted                             []commitlog.AbortedTxn // that have batches in the range, by their markers
}

// Read returns whole batches from the one that holds the offset on, never more than a reader may
// see: up to the last stable offset, the high watermark or, for replicas, the log end. Beyond
// that, up to the log end, there is nothing to read yet and no error; further on, and before the
// log start, the error is OFFSET_OUT_OF_RANGE. Read takes no lock and never waits.
func (p *Partition) Read(r ReadRequest) (ReadResult, error) {
	if err := p.fence(r.CurrentEpoch); err != nil {
		return ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}, err
	}
	res := ReadResult{LastStable: p.LastStable(), HighWatermark: p.hw.Load(), LogStart: p.log.StartOffset()}
	end := p.log.EndOffset()
	if r.Offset < res.LogStart || r.Offset > end {
		return res, kerr.OffsetOutOfRange
	}
	limit := res.HighWatermark
	switch {
	case r.Replica:
		limit = end
	case r.ReadCommitted:
		limit = res.LastStable
	}
	if r.Offset >= limit || r.MaxBytes <= 0 && !r.MinOne {
		return res, nil
	}
	var err error
	res.Range, err = p.log.ReadInto(r.Into, r.Offset, limit, r.MaxBytes, r.MinOne)
	if errors.Is(err, commitlog.ErrOffsetOutOfRange) {
		return res, kerr.OffsetOutOfRange // the start of the log moved in between
	}
	if errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrShort) {
		p.logger.Error("the log is damaged", slog.Int64("offset", r.Offset), slog.Any("err", err))
		return res, kerr.CorruptMessage
	}
	if err == nil && r.ReadCommitted && res.Range.Len() > 0 {
		res.Aborted, err = p.abortedIn(r.Offset, limit, res.Range)
	}
	return res, err
}

// Touch brings what Read looks at first, for an offset of each partition, into the processor's caches,
// for Touched of them at most. Who reads many partitions waits less for memory so.
func Touch(ps []*Partition, from []int64) {
	var logs [Touched]*commitlog.Log
	for i, p := range ps {
		logs[i] = p.log
	}
	commitlog.Touch(logs[:len(ps)], from)
}

// Touched is how many partitions are touched at a time at most.
const Touched = commitlog.Touched

// Fetched counts bytes of Range that go to a client.
func (p *Partition) Fetched(bytes int) { p.meter.Fetched(bytes) }

// abortedIn returns the aborted transactions that have batches in a range, which begins with an offset
// and ends before limit. Where there are any, the range is walked for its last offset.
func (p *Partition) abortedIn(from, limit int64, in commitlog.Range) ([]commitlog.AbortedTxn, error) {
	all := p.log.AbortedIn(from, limit)
	if len(all) == 0 {
		return nil, nil
	}
	var head [record.HeaderSize]byte
	end := from
	for at := 0; at < in.Len(); at += record.Batch(head[:]).Length() {
		if _, err := in.ReadAt(head[:], int64(at)); err != nil && !errors.Is(err, io.EOF) {
			in.Release()
			return nil, err
		}
		end = record.Batch(head[:]).NextOffset()
	}
	return slices.DeleteFunc(all, func(t commitlog.AbortedTxn) bool { return t.First >= end }), nil
}

// ReadableBytes tells about how many bytes a consumer could read from an offset on; 0 when there
// are none, when the offset is out of range, and when this broker does not lead.
func (p *Partition) ReadableBytes(from int64, readCommitted bool) int64 {
	const all = 1 << 30
	r, err := p.Read(ReadRequest{Offset: from, MaxBytes: all, MinOne: true, CurrentEpoch: -1, ReadCommitted: readCommitted})
	if err != nil || r.Range.Len() == 0 {
		return 0
	}
	defer r.Range.Release()
	return int64(r.Range.Len())
}
