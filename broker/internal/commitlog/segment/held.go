package segment

const (
	// heldMost bounds the bytes of one Held.
	heldMost = 1 << 20
	// heldFiles is how many of a pool hold something at once.
	heldFiles = 64
)

// Held is memory for bytes that are to be written later, together. The pool that made it bounds how
// many have any.
type Held struct {
	pool  *Pool
	bytes []byte
}

// Held returns an empty one.
func (p *Pool) Held() Held { return Held{pool: p} }

// Add takes a copy of b and tells whether there was room for it.
func (h *Held) Add(b []byte) bool {
	if len(h.bytes)+len(b) > heldMost || h.bytes == nil && !h.take() {
		return false
	}
	h.bytes = append(h.bytes, b...)
	return true
}

func (h *Held) take() bool {
	if h.pool.held.Add(1) > heldFiles {
		h.pool.held.Add(-1)
		return false
	}
	memory, ok := h.pool.holds.Get().(*[heldMost]byte)
	if !ok {
		memory = new([heldMost]byte)
	}
	h.bytes = memory[:0]
	return true
}

// Bytes are those that were added, valid until Drop.
func (h *Held) Bytes() []byte { return h.bytes }

// Drop forgets them and gives the memory back.
func (h *Held) Drop() {
	if h.bytes == nil {
		return
	}
	h.pool.holds.Put((*[heldMost]byte)(h.bytes[:heldMost]))
	h.pool.held.Add(-1)
	h.bytes = nil
}
