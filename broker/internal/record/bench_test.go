package record_test

import (
	"fmt"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
)

func batchOf(size int) record.Batch {
	b := record.NewBuilder(record.Options{})
	for i := 0; b.Size() < size; i++ {
		b.Append(int64(i), fmt.Appendf(nil, "key-%05d", i), make([]byte, 90), nil)
	}
	return b.Build()
}

func BenchmarkCheck(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		batch := batchOf(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				if err := batch.Check(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHeader(b *testing.B) {
	batch := batchOf(1 << 10)
	var sum int64
	for b.Loop() {
		first, _, err := record.Split(batch)
		if err != nil {
			b.Fatal(err)
		}
		sum += first.BaseOffset() + int64(first.LastOffsetDelta()) + first.ProducerID() + int64(first.Count())
	}
	_ = sum
}

func BenchmarkWalk(b *testing.B) {
	batch := batchOf(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		body, err := batch.Body(nil, nil, plenty)
		if err != nil {
			b.Fatal(err)
		}
		n := int32(0)
		for w := batch.Walk(body); w.Next(); {
			n++
		}
		if n != batch.Count() {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Count()), "ns/record")
}
