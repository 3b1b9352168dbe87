package record_test

import (
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
)

// FuzzSplit cuts whatever bytes into batches and walks them as recovery and the deep check do:
// nothing panics, and no step yields more than the input can hold.
func FuzzSplit(f *testing.F) {
	for _, codec := range codecs() {
		f.Add([]byte(sample(record.Options{Codec: codec})))
	}
	f.Add(append([]byte(sample(record.Options{})), record.NewEndTxn(1, 2, record.Control{Type: record.Commit}, 3)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			b, next, err := record.Split(rest)
			if err != nil {
				return
			}
			if len(b)+len(next) != len(rest) || len(b) < record.HeaderSize || b.Length() != len(b) {
				t.Fatal("split lost bytes")
			}
			rest = next
			_ = b.Check()
			_, _ = b.Control()
			walk(t, b)
		}
	})
}

// FuzzRecords puts whatever bytes behind a valid header.
func FuzzRecords(f *testing.F) {
	f.Add([]byte(sample(record.Options{})[61:]), int32(3), uint8(0))
	f.Add([]byte(sample(record.Options{Codec: compress.Zstd})[61:]), int32(3), uint8(4))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, int32(1<<31-1), uint8(0))
	f.Fuzz(func(t *testing.T, body []byte, count int32, codec uint8) {
		head := sample(record.Options{})[:61:61]
		b := append(head, body...)
		b[57], b[58], b[59], b[60] = byte(count>>24), byte(count>>16), byte(count>>8), byte(count)
		b[22] = codec & 7
		walk(t, b)
	})
}

func walk(t *testing.T, b record.Batch) {
	const limit = 1 << 20
	n, failed := 0, false
	for r, err := range b.Records(limit) {
		if failed {
			t.Fatal("a record after an error")
		}
		failed = err != nil
		n += len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			n += len(h.Key) + len(h.Value)
		}
	}
	if n > max(limit, len(b)) {
		t.Fatalf("%d bytes out of a batch of %d", n, len(b))
	}
}
