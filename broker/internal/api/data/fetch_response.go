package data

import (
	"encoding/binary"
	"os"
	"slices"

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

// fetchAnswer is what an answer is made of; its memory is used again.
type fetchAnswer struct {
	topics  []topicRef
	parts   []fetched
	answers []fetchsession.Answer // beside parts
	tell    []bool                // beside parts
	groups  []group
	held    int            // bodies that are not written yet, and one for Respond itself
	blocks  []*wire.Buffer // hold the records of small ranges
	space   []byte         // what is left of the last
}

// fetched is what was read of one partition, and the body of its records.
type fetched struct {
	fetch  *fetch
	topic  int                  // of topics
	from   *partition.Partition // nil where there is none
	result partition.ReadResult
	err    error
	code   int16
}

// Len is the number of bytes.
func (a *fetched) Len() int { return a.result.Range.Len() }

// ReadAt reads from the records.
func (a *fetched) ReadAt(p []byte, off int64) (int, error) { return a.result.Range.ReadAt(p, off) }

// File is the file of the records and the position in it.
func (a *fetched) File() (f *os.File, pos int64, ok bool) { return a.result.Range.File() }

// Release gives the records back, and with the last of an answer the answer itself.
func (a *fetched) Release() {
	a.result.Range.Release()
	a.fetch.release()
}

// group is a run of partitions of one topic that are told of.
type group struct {
	topic int
	first int // of parts; those in between that are not told of belong to other groups or none
	n     int
}

// Respond reads the partitions and appends the answer, or the failure of the whole
// request.
func (f *fetch) Respond(out *wire.Out) error {
	f.answer.held = 1
	defer f.release()
	if f.err == nil {
		f.appendAnswer(out)
	} else {
		f.appendFailure(out)
	}
	return nil
}

// kept is the most partitions of a request whose memory is kept for the next.
const kept = 2048

// release lets go of one thing that holds the answer. It is called on the connection's writing side
// alone.
func (f *fetch) release() {
	if f.answer.held--; f.answer.held > 0 {
		return
	}
	f.answer.free(f.memory)
	if cap(f.answer.parts) > kept {
		return
	}
	clear(f.answer.topics)
	clear(f.answer.parts)
	f.session = nil
	f.pool.Put(f)
}

// appendAnswer reads the partitions and appends what they have.
func (f *fetch) appendAnswer(out *wire.Out) {
	version, flexible := f.request.version, f.request.flexible()
	a := &f.answer
	finder := f.finder()
	bytes := f.readAll(&finder)
	f.sessions.tell(&f.within, a.answers, a.tell)
	b := appendThrottle(out.Buf, route.ThrottleMillis(f.deps.Quota, f.session, route.FetchBytes, float64(bytes)))
	if version >= 7 {
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(f.within.ID))
	}
	f.group()
	b = wire.AppendArrayLen(b, len(a.groups), flexible)
	out.Buf = b
	var hints []hint
	for _, g := range a.groups {
		out.Buf = appendTopic(out.Buf, &a.topics[g.topic], version, flexible)
		out.Buf = wire.AppendArrayLen(out.Buf, g.n, flexible)
		for i := g.first; g.n > 0; i++ {
			if a.tell[i] {
				g.n--
				hints = f.appendPart(out, i, &a.parts[i], hints)
			}
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

// maxRanges is how many ranges one answer sends from files. Each holds one open until the answer is
// written; the session brings the others first next time.
const maxRanges = 1000

// readAll reads every partition, within the bytes that are asked for, and returns how many it has.
func (f *fetch) readAll(n *finder) (bytes int) {
	count := len(f.within.Partitions)
	a := &f.answer
	a.topics = a.topics[:0]
	a.parts = slices.Grow(a.parts[:0], count)[:count]
	a.answers = slices.Grow(a.answers[:0], count)[:count]
	a.tell = slices.Grow(a.tell[:0], count)[:count]
	left, files := min(f.request.maxBytes, f.deps.FetchMaxBytes), 0
	for i := range a.parts {
		if i%partition.Touched == 0 {
			f.findSome(n, i, min(i+partition.Touched, count))
		}
		part := &a.parts[i]
		if part.from != nil {
			r := f.readRequest(i)
			r.MinOne = bytes == 0
			r.MaxBytes = max(0, min(r.MaxBytes, left-bytes))
			if files == maxRanges {
				r.MaxBytes = 0
			}
			if r.MaxBytes > 0 {
				r.Into = a.room(f.memory, r.MaxBytes, min(left-bytes, (count-i)*smallRange))
			}
			part.read(r)
		}
		if part.Len() > 0 {
			part.from.Fetched(part.Len())
			switch r := &part.result.Range; {
			case r.Lent():
				a.space = a.space[part.Len():]
			case !r.InMemory():
				files++
			}
		}
		bytes += part.Len()
		a.answers[i] = fetchsession.Answer{
			Code: part.code, Bytes: part.Len(), HighWatermark: part.result.HighWatermark, LogStart: part.result.LogStart,
		}
	}
	return bytes
}

// findSome finds some of the partitions, and touches them for the reading that follows.
func (f *fetch) findSome(n *finder, first, end int) {
	a := &f.answer
	var found [partition.Touched]*partition.Partition
	var offsets [partition.Touched]int64
	count := 0
	for i := first; i < end; i++ {
		asked := &f.within.Partitions[i]
		p, err := n.find(&asked.Key)
		if n.turn > len(a.topics) {
			a.topics = append(a.topics, n.topic)
		}
		part := &a.parts[i]
		*part = fetched{fetch: f, topic: len(a.topics) - 1, from: p}
		if err != nil {
			part.fail(err)
			continue
		}
		found[count], offsets[count] = p, asked.Offset
		count++
	}
	if count > 1 {
		partition.Touch(found[:count], offsets[:count])
	}
}

// read reads the partition.
func (a *fetched) read(r partition.ReadRequest) {
	res, err := a.from.Read(r)
	if err == nil && a.fetch.request.version < zstdFetch && res.Range.Len() > 0 {
		if err = refuseZstd(res.Range); err != nil {
			res.Range.Release()
		}
	}
	if err != nil {
		a.fail(err)
		return
	}
	a.result = res
}

// fail makes err the answer of the partition.
func (a *fetched) fail(err error) {
	a.err, a.code = err, route.LogCode(a.fetch.deps.Logger, err)
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

// group gathers the partitions to tell of, topic by topic, in their order.
func (f *fetch) group() {
	a := &f.answer
	a.groups = a.groups[:0]
	for i, yes := range a.tell {
		if !yes {
			continue
		}
		if last := len(a.groups) - 1; last < 0 || !f.sameTopic(a.groups[last].first, i) {
			a.groups = append(a.groups, group{topic: a.parts[i].topic, first: i})
		}
		a.groups[len(a.groups)-1].n++
	}
}

func (f *fetch) sameTopic(i, j int) bool {
	a, b := &f.within.Partitions[i].Key, &f.within.Partitions[j].Key
	return a.Topic == b.Topic && a.TopicID == b.TopicID
}

// appendPart appends one partition with its records.
func (f *fetch) appendPart(out *wire.Out, i int, a *fetched, hints []hint) []hint {
	index, n := f.within.Partitions[i].Index, a.result.Range.Len()
	f.appendPartHead(out, index, a)
	out.Buf = appendRecordsLen(out.Buf, n, f.request.flexible())
	if n > 0 {
		f.answer.held++
		out.Splice(a)
	}
	if !f.request.flexible() {
		return hints
	}
	h, ok := hintFor(&f.answer.topics[a.topic], index, a.err)
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
	if f.request.readCommitted && a.code == 0 {
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
