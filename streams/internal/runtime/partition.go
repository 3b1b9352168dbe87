package runtime

// Partition returns the partition of a key among n as Kafka's default
// partitioner does: murmur2 of the bytes, without the sign, modulo n.
func Partition(key []byte, n int32) int32 {
	return int32(Hash(key) % uint32(n))
}

// Hash returns the murmur2 hash of a key without its sign bit.
func Hash(key []byte) uint32 {
	const (
		seed = 0x9747b28c
		mix  = 0x5bd1e995
	)
	h := uint32(seed) ^ uint32(len(key))
	b := key
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= mix
		k ^= k >> 24
		h = h*mix ^ k*mix
	}
	for i, c := range b {
		h ^= uint32(c) << (8 * i)
	}
	if len(b) > 0 {
		h *= mix
	}
	h ^= h >> 13
	h *= mix
	h ^= h >> 15
	return h & 0x7fffffff
}
