package segment

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// TestEveryByteIsReadOnce: a walk over whole batches, shorter and longer than what is read at once.
func TestEveryByteIsReadOnce(t *testing.T) {
	var file []byte
	var want []record.Batch
	for i, size := range []int{100, bodyChunk - 200, 10, 3 * bodyChunk, 1, bodyChunk, bodyChunk - 70, 5 * bodyChunk, 40_000, 40_000, 200_000} {
		b := record.NewBuilder(record.Options{BaseOffset: int64(i)})
		value := make([]byte, size)
		for j := range value {
			value[j] = byte(i + j*j>>7)
		}
		b.Append(1000, nil, value, nil)
		want = append(want, b.Build())
		file = append(file, want[i]...)
	}
	counted := &countingReader{ReaderAt: bytes.NewReader(file)}
	sc := New(NewPool(env.NewMemFS(), 10, 0), "/", 0).Scan(counted, 0, int64(len(file)), true)
	defer sc.Close()
	for i, w := range want {
		b, _, err := sc.Next()
		if err != nil || !bytes.Equal(b, w) {
			t.Fatalf("batch %d: %d bytes of %d, %v", i, len(b), len(w), err)
		}
	}
	if _, _, err := sc.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if counted.bytes != len(file) {
		t.Errorf("%d bytes were read of a file of %d", counted.bytes, len(file))
	}
}
