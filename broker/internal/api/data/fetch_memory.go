package data

import (
	"sync/atomic"

	"github.com/weirstream/weir/broker/internal/wire"
)

const (
	// smallRange is the largest range that is read when the answer is made; a larger one is sent from
	// its file.
	smallRange = 64<<10 - 1
	// memoryBlock is how much memory an answer takes at a time.
	memoryBlock = 256 << 10
	// maxMemory bounds what all answers that are not sent yet hold. When it is spent, ranges are read as
	// they are sent.
	maxMemory = 32 << 20
)

// fetchMemory lends memory for the records of answers on their way. It is safe for concurrent use.
type fetchMemory struct {
	buffers wire.Buffers
	left    atomic.Int64
}

func newFetchMemory(limit int64) *fetchMemory {
	m := new(fetchMemory)
	m.left.Store(limit)
	return m
}

// get returns at least n bytes, or nil when too much is lent.
func (m *fetchMemory) get(n int) *wire.Buffer {
	b := m.buffers.Get(n)
	if m.left.Add(-int64(len(b.Bytes))) >= 0 {
		return b
	}
	m.put(b)
	return nil
}

func (m *fetchMemory) put(b *wire.Buffer) {
	m.left.Add(int64(len(b.Bytes)))
	m.buffers.Put(b)
}

// room returns memory for a range of n bytes, or for a small one if that is less, of an answer that may
// bring rest bytes more, all ranges taken together; nil when too much is lent.
func (a *fetchAnswer) room(m *fetchMemory, n, rest int) []byte {
	if len(a.space) < min(n, smallRange) {
		b := m.get(min(rest, memoryBlock))
		if b == nil {
			return nil
		}
		a.blocks = append(a.blocks, b)
		a.space = b.Bytes
	}
	return a.space[:min(len(a.space), smallRange)]
}

// free gives the memory of the answer back.
func (a *fetchAnswer) free(m *fetchMemory) {
	for _, b := range a.blocks {
		m.put(b)
	}
	clear(a.blocks)
	a.blocks, a.space = a.blocks[:0], nil
}
