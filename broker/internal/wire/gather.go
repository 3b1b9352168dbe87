package wire

import "fmt"

const (
	// gather is the smallest body that is sent from its file; copying a smaller one
	// costs less than sending it.
	gather = 64 << 10
	// gathered is how many bytes are joined into one write at most. The answer to a
	// fetch of many small ranges is never in memory as a whole.
	gathered = 256 << 10
)

// gatherer joins the pieces of answers that are small into large writes.
type gatherer struct {
	w    *Writer
	held []byte  // a piece that may leave as it is
	buf  *Buffer // nil until two pieces have to be joined
	n    int     // bytes in buf
	left int     // bytes of the pieces to come
}

// add takes the next piece; bytes stay valid until end.
func (g *gatherer) add(bytes []byte, body Body) error {
	switch {
	case body == nil && g.buf == nil && g.held == nil:
		g.held = bytes
		return nil
	case body == nil:
		return g.join(bytes)
	case body.Len() >= gather:
		if err := g.flush(true); err != nil {
			return err
		}
		g.left -= body.Len()
		return g.w.body(body)
	}
	at, err := g.room(body.Len())
	if err != nil {
		return err
	}
	if _, err := body.ReadAt(at, 0); err != nil {
		return fmt.Errorf("read a range of %d bytes: %w", body.Len(), err)
	}
	return nil
}

// join copies bytes behind what is to be written.
func (g *gatherer) join(bytes []byte) error {
	for len(bytes) > 0 {
		at, err := g.room(min(len(bytes), gather))
		if err != nil {
			return err
		}
		bytes = bytes[copy(at, bytes):]
	}
	return nil
}

// room returns space for n more bytes in the buffer, n being at most gather.
func (g *gatherer) room(n int) ([]byte, error) {
	if g.buf == nil {
		held := g.held
		g.held = nil
		g.buf = g.w.buffers.Get(min(g.left, gathered))
		if err := g.join(held); err != nil {
			return nil, err
		}
	}
	if g.n+n > len(g.buf.Bytes) {
		if err := g.flush(true); err != nil {
			return nil, err
		}
	}
	g.n += n
	return g.buf.Bytes[g.n-n : g.n], nil
}

// flush writes what was taken.
func (g *gatherer) flush(more bool) error {
	if g.held != nil {
		held := g.held
		g.held = nil
		g.left -= len(held)
		return g.w.bytes(held, more)
	}
	if g.n == 0 {
		return nil
	}
	n := g.n
	g.n = 0
	g.left -= n
	return g.w.bytes(g.buf.Bytes[:n], more)
}

// end gives the buffer back and lets go of what was to be written.
func (g *gatherer) end() {
	g.w.buffers.Put(g.buf)
	*g = gatherer{}
}
