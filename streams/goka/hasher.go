package goka

import (
	"encoding/binary"
	"hash"
	"hash/fnv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// Partitioner puts records where goka's emitters and processors put them by default:
// by the FNV-1a hash of the key, as sarama takes it modulo the partitions. Give it to
// a client whose topics a goka application joins with its own.
func Partitioner() kgo.Partitioner {
	return kgo.StickyKeyPartitioner(kgo.SaramaCompatHasher(func(key []byte) uint32 {
		h := fnv.New32a()
		_, _ = h.Write(key) // never fails
		return h.Sum32()
	}))
}

// Murmur2 is a hasher for goka.WithHasher, goka.WithEmitterHasher and goka.WithViewHasher:
// with it goka puts keys where Kafka's own clients and Weir's streams put them, and its
// tables are co-partitioned with theirs.
func Murmur2() func() hash.Hash32 {
	return func() hash.Hash32 { return new(murmur2) }
}

// murmur2 collects the key: the hash starts from its length.
type murmur2 struct{ key []byte }

// Write implements hash.Hash32.
func (m *murmur2) Write(p []byte) (int, error) {
	m.key = append(m.key, p...)
	return len(p), nil
}

// Sum32 implements hash.Hash32. The sign bit is off, as in Kafka's default partitioner.
func (m *murmur2) Sum32() uint32 { return runtime.Hash(m.key) }

// Sum implements hash.Hash32.
func (m *murmur2) Sum(b []byte) []byte { return binary.BigEndian.AppendUint32(b, m.Sum32()) }

// Reset implements hash.Hash32.
func (m *murmur2) Reset() { m.key = m.key[:0] }

// Size implements hash.Hash32.
func (m *murmur2) Size() int { return 4 }

// BlockSize implements hash.Hash32.
func (m *murmur2) BlockSize() int { return 4 }
