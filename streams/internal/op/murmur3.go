package op

import (
	"encoding/binary"
	"math/bits"
)

// hash128 is 128 bits of murmur3 (x64) with the seed of Kafka Streams. It tells
// whether an answer is about the row that asked for it.
type hash128 [2]uint64

const (
	murmurSeed = 104729
	murmurC1   = 0x87c37b91114253d5
	murmurC2   = 0x4cf5ad432745937f
)

func murmur3(b []byte) hash128 {
	h1, h2 := uint64(murmurSeed), uint64(murmurSeed)
	n := uint64(len(b))
	for ; len(b) >= 16; b = b[16:] {
		h1 ^= bits.RotateLeft64(binary.LittleEndian.Uint64(b)*murmurC1, 31) * murmurC2
		h1 = (bits.RotateLeft64(h1, 27)+h2)*5 + 0x52dce729
		h2 ^= bits.RotateLeft64(binary.LittleEndian.Uint64(b[8:])*murmurC2, 33) * murmurC1
		h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
	}
	var tail [16]byte
	copy(tail[:], b)
	h2 ^= bits.RotateLeft64(binary.LittleEndian.Uint64(tail[8:])*murmurC2, 33) * murmurC1
	h1 ^= bits.RotateLeft64(binary.LittleEndian.Uint64(tail[:])*murmurC1, 31) * murmurC2
	h1, h2 = h1^n, h2^n
	h1 += h2
	h2 += h1
	h1, h2 = murmurMix(h1), murmurMix(h2)
	h1 += h2
	h2 += h1
	return hash128{h1, h2}
}

func murmurMix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
