package bench

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
)

const (
	produceVersion = 7
	fetchVersion   = 11
	batchHeader    = 61
)

// A Batch is one record batch, encoded once and sent again and again.
type Batch struct {
	Bytes   []byte
	Records int
}

// NewBatch encodes a batch of the current format with records of size value
// bytes each, as many as fit into about limit bytes but at least one. The values
// are the same for the same seed and do not compress.
func NewBatch(size, limit int, seed uint64) Batch {
	return newBatch(size, math.MaxInt, limit, seed)
}

// newBatch is NewBatch with at most that many records.
func newBatch(size, records, limit int, seed uint64) Batch {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same values for the same seed
	b := make([]byte, batchHeader, batchHeader+size+32)
	n := 0
	for n == 0 || n < records && len(b)+size+16 <= limit {
		b = appendRecord(b, n, size, random)
		n++
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint64(b[27:], ^uint64(0)) // no timestamps: any broker clock is right
	binary.BigEndian.PutUint64(b[35:], ^uint64(0))
	binary.BigEndian.PutUint64(b[43:], ^uint64(0)) // no producer id
	binary.BigEndian.PutUint16(b[51:], ^uint16(0))
	binary.BigEndian.PutUint32(b[53:], ^uint32(0))
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return Batch{Bytes: b, Records: n}
}

// appendRecord appends the record with that offset delta: no key, no headers.
func appendRecord(b []byte, delta, size int, random *rand.Rand) []byte {
	body := make([]byte, 0, size+16)
	body = append(body, 0)
	body = binary.AppendVarint(body, 0)
	body = binary.AppendVarint(body, int64(delta))
	body = binary.AppendVarint(body, -1)
	body = binary.AppendVarint(body, int64(size))
	for range size {
		body = append(body, byte(random.Uint32()))
	}
	body = binary.AppendVarint(body, 0)
	return append(binary.AppendVarint(b, int64(len(body))), body...)
}

// appendFrame appends a request: its length, its header and what body appends.
func appendFrame(dst []byte, key, version int16, body func([]byte) []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(version))
	dst = binary.BigEndian.AppendUint32(dst, 0) // answers come in order: no id is needed
	dst = appendString(dst, "bench")
	dst = body(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// appendProduce appends a Produce request with one batch for one partition.
func appendProduce(dst []byte, topic string, partition int32, acks int16, batch []byte) []byte {
	return appendFrame(dst, 0, produceVersion, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, ^uint16(0)) // no transactional id
		b = binary.BigEndian.AppendUint16(b, uint16(acks))
		b = binary.BigEndian.AppendUint32(b, 30_000)
		b = binary.BigEndian.AppendUint32(b, 1)
		b = appendString(b, topic)
		b = binary.BigEndian.AppendUint32(b, 1)
		b = binary.BigEndian.AppendUint32(b, uint32(partition))
		b = binary.BigEndian.AppendUint32(b, uint32(len(batch)))
		return append(b, batch...)
	})
}

// produceError is where the error code stands in an answer to appendProduce, its length included.
func produceError(topic string) int { return 4 + 4 + 4 + 2 + len(topic) + 4 + 4 }

// fetchPart is one partition of a Fetch request.
type fetchPart struct {
	index  int32
	offset int64
}

// appendFetch appends a Fetch request without a session.
func appendFetch(dst []byte, topic string, parts []fetchPart, wait, minBytes, perPartition int) []byte {
	return appendFrame(dst, 1, fetchVersion, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, ^uint32(0))
		b = binary.BigEndian.AppendUint32(b, uint32(wait))
		b = binary.BigEndian.AppendUint32(b, uint32(minBytes))
		b = binary.BigEndian.AppendUint32(b, 64<<20)
		b = append(b, 0)                                 // read uncommitted
		b = binary.BigEndian.AppendUint32(b, 0)          // session id
		b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // no session
		b = binary.BigEndian.AppendUint32(b, 1)
		b = appendString(b, topic)
		b = binary.BigEndian.AppendUint32(b, uint32(len(parts)))
		for _, p := range parts {
			b = binary.BigEndian.AppendUint32(b, uint32(p.index))
			b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // any leader epoch
			b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
			b = binary.BigEndian.AppendUint64(b, ^uint64(0)) // not a follower
			b = binary.BigEndian.AppendUint32(b, uint32(perPartition))
		}
		b = binary.BigEndian.AppendUint32(b, 0) // forgotten topics
		return appendString(b, "")
	})
}

// The fixed parts of an answer to appendFetch: up to the partitions, its length
// included, and of each partition up to its records. No transactions, no aborted ones.
func fetchHead(topic string) int { return 4 + 4 + 4 + 2 + 4 + 4 + 2 + len(topic) + 4 }

const fetchPartHead = 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}
