package bench

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/32 wide. The zero value
// is empty; it belongs to one goroutine.
type Histogram struct {
	counts [64 * 32]uint64
	n      uint64
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.n++
}

// Merge adds what another one has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, c := range other.counts {
		h.counts[i] += c
	}
	h.n += other.n
}

// Quantile is the duration below which the share q of the counts lies, q from 0 to 1.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q * float64(h.n))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; c > 0 && seen >= want {
			return time.Duration(lowest(i))
		}
	}
	return 0
}

// bucket is the index of a value: its highest bit and the five bits below it.
func bucket(v uint64) int {
	if v < 32 {
		return int(v)
	}
	exp := bits.Len64(v) - 6
	return exp*32 + int(v>>exp)
}

// lowest is the least value of a bucket.
func lowest(i int) uint64 {
	if i < 64 {
		return uint64(i)
	}
	exp := i/32 - 1
	return uint64(i-exp*32) << exp
}
