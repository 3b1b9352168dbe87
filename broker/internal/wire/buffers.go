package wire

import (
	"math/bits"
	"sync"
)

// The sizes of pooled buffers: powers of four from 4 KiB to 4 MiB.
const (
	smallestClass = 12 // log2
	classStep     = 2
	classes       = 6
)

// Buffers is a pool of byte slices in a few sizes. The zero value is ready; it is
// safe for concurrent use.
type Buffers struct{ pools [classes]sync.Pool }

// Buffer is a slice on loan. Bytes may be cut and grown by its holder.
type Buffer struct {
	Bytes []byte
	home  []byte // the whole slice
	class int
}

// Get lends a buffer with len(Bytes) at least n. What it holds is arbitrary.
func (b *Buffers) Get(n int) *Buffer {
	class := classOf(n)
	if class >= classes {
		buf := make([]byte, n)
		return &Buffer{Bytes: buf, home: buf, class: class}
	}
	if got, ok := b.pools[class].Get().(*Buffer); ok {
		got.Bytes = got.home
		return got
	}
	buf := make([]byte, classSize(class))
	return &Buffer{Bytes: buf, home: buf, class: class}
}

// Put takes a buffer back; nobody may use its bytes any more. nil is ignored.
func (b *Buffers) Put(buf *Buffer) {
	if buf == nil || buf.class >= classes {
		return
	}
	buf.Bytes = nil
	b.pools[buf.class].Put(buf)
}

func classSize(class int) int { return 1 << (smallestClass + classStep*class) }

// classOf is the smallest class whose buffers hold n bytes.
func classOf(n int) int {
	log := bits.Len(uint(max(n, 1) - 1))
	return max(0, (log-smallestClass+classStep-1)/classStep)
}
