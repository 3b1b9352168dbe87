package data

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/fetchsession"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/wire"
)

// zstdFetch is the first Fetch version whose clients know zstd, the codec of that number.
const (
	zstdFetch = 10
	zstd      = 4
)

// fetched is what was read of one partition.
type fetched struct {
	topic  *topicRef
	result partition.ReadResult
	err    error
	code   int16
}

// Respond reads the partitions and appends the answer, or the failure of the whole
// request.
func (f *fetch) Respond(out *wire.Out) error {
	if f.err == nil {
		f.appendAnswer(out)
	} else {
		f.appendFailure(out)
	}
	return nil
}

// appendAnswer reads the partitions and appends what they have.
func (f *fetch) appendAnswer(out *wire.Out) {
	version, flexible := f.request.version, f.request.flexible()
	finder := f.finder()
	all, answers, bytes := f.readAll(finder)
	tell := make([]bool, len(all))
	f.sessions.tell(&f.within, answers, tell)
	b := appendThrottle(out.Buf, route.ThrottleMillis(f.deps.Quota, f.session, route.FetchBytes, float64(bytes)))
	if version >= 7 {
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(f.within.ID))
	}
	groups := f.groups(tell)
	b = wire.AppendArrayLen(b, len(groups), flexible)
	out.Buf = b
	var hints []hint
	for _, g := range groups {
		out.Buf = appendTopic(out.Buf, all[g.parts[0]].topic, version, flexible)
		out.Buf = wire.AppendArrayLen(out.Buf, len(g.parts), flexible)
		for _, i := range g.parts {
			hints = f.appendPart(out, i, &all[i], hints)
		}
		if flexible {
			out.Buf = append(out.Buf, 0)
		}
	}
	if flexible {
		out.Buf = appendNodes(out.Buf, finder.image, f.session.Listener, hints)
	}
}

// appendFailure appends an answer to a request that failed as a whole.
func (f *fetch) appendFailure(out *wire.Out) {
	code := route.LogCode(f.deps.Logger, f.err)
	out.Buf = appendThrottle(out.Buf, 0)
	if f.request.version >= 7 {
		out.Buf = binary.BigEndian.AppendUint16(out.Buf, uint16(code))
		out.Buf = binary.BigEndian.AppendUint32(out.Buf, 0)
	}
	out.Buf = wire.AppendArrayLen(out.Buf, 0, f.request.flexible())
	if f.request.flexible() {
		out.Buf = append(out.Buf, 0)
	}
}

// maxRanges is how many partitions one answer brings records of. Each holds a file open until the
// answer is written; the session brings the others first next time.
const maxRanges = 500

// readAll reads every partition, within the bytes that are asked for.
func (f *fetch) readAll(n *finder) (all []fetched, answers []fetchsession.Answer, bytes int) {
	all = make([]fetched, len(f.within.Partitions))
	answers = make([]fetchsession.Answer, len(all))
	left, ranges := min(f.request.maxBytes, f.deps.FetchMaxBytes), 0
	for i := range all {
		a := &all[i]
		p, err := n.find(&f.within.Partitions[i].Key)
		a.topic = n.last
		if err != nil {
			a.fail(f, err)
		} else {
			r := f.readRequest(i)
			r.MinOne = bytes == 0
			r.MaxBytes = max(0, min(r.MaxBytes, left-bytes))
			if ranges == maxRanges {
				r.MaxBytes = 0
			}
			a.read(f, p, r)
		}
		if a.result.Range.Len() > 0 {
			ranges++
		}
		bytes += a.result.Range.Len()
		answers[i] = fetchsession.Answer{
			Code: a.code, Bytes: a.result.Range.Len(), HighWatermark: a.result.HighWatermark, LogStart: a.result.LogStart,
		}
	}
	return all, answers, bytes
}

// read reads one partition.
func (a *fetched) read(f *fetch, p *partition.Partition, r partition.ReadRequest) {
	res, err := p.Read(r)
	if err == nil && f.request.version < zstdFetch && res.Range.Len() > 0 {
		if err = refuseZstd(res.Range); err != nil {
			res.Range.Release()
		}
	}
	if err != nil {
		a.fail(f, err)
		return
	}
	a.result = res
}

// fail makes err the answer of the partition.
func (a *fetched) fail(f *fetch, err error) {
	a.err, a.code = err, route.LogCode(f.deps.Logger, err)
	a.result = partition.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}
}

// refuseZstd returns UNSUPPORTED_COMPRESSION_TYPE when a batch is compressed with zstd.
func refuseZstd(r wire.Body) error {
	var head [record.HeaderSize]byte
	for off := int64(0); off < int64(r.Len()); {
		if _, err := r.ReadAt(head[:], off); err != nil {
			return err
		}
		if record.Batch(head[:]).Codec() == zstd {
			return kerr.UnsupportedCompressionType
		}
		off += 12 + int64(int32(binary.BigEndian.Uint32(head[8:])))
	}
	return nil
}

// group is a run of partitions of one topic.
type group struct {
	key   fetchsession.Key
	parts []int
}

// groups gathers the partitions to tell of, topic by topic, in their order.
func (f *fetch) groups(tell []bool) []group {
	var groups []group
	for i, yes := range tell {
		if !yes {
			continue
		}
		key := f.within.Partitions[i].Key
		key.Index = 0
		if len(groups) == 0 || groups[len(groups)-1].key != key {
			groups = append(groups, group{key: key})
		}
		g := &groups[len(groups)-1]
		g.parts = append(g.parts, i)
	}
	return groups
}

// appendPart appends one partition with its records.
func (f *fetch) appendPart(out *wire.Out, i int, a *fetched, hints []hint) []hint {
	index, n := f.within.Partitions[i].Index, a.result.Range.Len()
	f.appendPartHead(out, index, a)
	out.Buf = appendRecordsLen(out.Buf, n, f.request.flexible())
	if n > 0 {
		out.Splice(&a.result.Range)
	}
	if !f.request.flexible() {
		return hints
	}
	h, ok := hintFor(a.topic, index, a.err)
	if !ok {
		out.Buf = append(out.Buf, 0)
		return hints
	}
	out.Buf = wire.AppendTagged(append(out.Buf, 1), 1, h.append(nil))
	if f.request.version < 16 {
		return hints // addresses come with version 16
	}
	return append(hints, h)
}

// appendRecordsLen appends the length of a partition's records.
func appendRecordsLen(b []byte, n int, flexible bool) []byte {
	return wire.AppendArrayLen(b, n, flexible) // bytes and arrays count alike
}

// appendPartHead appends what stands before the records.
func (f *fetch) appendPartHead(out *wire.Out, index int32, a *fetched) {
	b := binary.BigEndian.AppendUint32(out.Buf, uint32(index))
	b = binary.BigEndian.AppendUint16(b, uint16(a.code))
	b = binary.BigEndian.AppendUint64(b, uint64(a.result.HighWatermark))
	b = binary.BigEndian.AppendUint64(b, uint64(a.result.LastStable))
	if f.request.version >= 5 {
		b = binary.BigEndian.AppendUint64(b, uint64(a.result.LogStart))
	}
	if f.request.readCommitted {
		b = f.appendAborted(b, &a.result)
	} else {
		b = wire.AppendArrayLen(b, -1, f.request.flexible())
	}
	if f.request.version >= 11 {
		b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // no better replica to read from
	}
	out.Buf = b
}

func (f *fetch) appendAborted(b []byte, r *partition.ReadResult) []byte {
	b = wire.AppendArrayLen(b, len(r.Aborted), f.request.flexible())
	for _, t := range r.Aborted {
		b = binary.BigEndian.AppendUint64(b, uint64(t.ProducerID))
		b = binary.BigEndian.AppendUint64(b, uint64(t.First))
		if f.request.flexible() {
			b = append(b, 0)
		}
	}
	return b
}
