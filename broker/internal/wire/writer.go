package wire

import (
	"fmt"
	"syscall"
	"time"

	"github.com/weirstream/weir/internal/env"
)

const (
	// chunk is how much of a body is written under one deadline.
	chunk = 1 << 20
	// copied is how much of a body is held in memory where the kernel cannot send it.
	copied = 256 << 10
)

// Writer writes answers to one connection. It belongs to one goroutine at a time.
type Writer struct {
	conn    Conn
	raw     syscall.RawConn // for bodies; nil where the kernel cannot send files
	clock   env.Clock
	buffers *Buffers
	stall   time.Duration
	armed   time.Time
	bodies  *spliced // made for the first answer with bodies
}

// spliced is what a Writer needs for answers with bodies.
type spliced struct {
	gatherer
	sending *sending
	add     func(bytes []byte, body Body) error // of the gatherer, made once
}

// NewWriter writes to conn. A peer that takes nothing for about stall breaks the connection.
func NewWriter(conn Conn, clock env.Clock, buffers *Buffers, stall time.Duration) *Writer {
	return &Writer{conn: conn, clock: clock, buffers: buffers, stall: stall}
}

// Write puts everything in out on the wire in few large writes: small bodies are
// joined with the bytes around them, large ones sent from their files. It blocks
// while the peer does not read. out keeps its bodies; Reset releases them.
func (w *Writer) Write(out *Out) error {
	if out.Bodies() == 0 {
		return w.bytes(out.Buf, false)
	}
	if w.bodies == nil {
		w.raw = rawConn(w.conn)
		w.bodies = &spliced{sending: newSending()}
		w.bodies.add = w.bodies.gatherer.add
	}
	g := &w.bodies.gatherer
	*g = gatherer{w: w, left: out.Len()}
	defer g.end()
	if err := out.Each(w.bodies.add); err != nil {
		return err
	}
	return g.flush(false)
}

// body sends a range from its file where the kernel can, else through memory.
func (w *Writer) body(body Body) error {
	if f, pos, ok := body.File(); ok && w.raw != nil {
		for left := int64(body.Len()); left > 0; {
			n := min(left, chunk)
			w.arm()
			if err := w.bodies.sending.sendFile(w.raw, f, pos, n); err != nil {
				return fmt.Errorf("send a range of %s: %w", f.Name(), err)
			}
			pos, left = pos+n, left-n
		}
		return nil
	}
	buf := w.buffers.Get(min(body.Len(), copied))
	defer w.buffers.Put(buf)
	for off := 0; off < body.Len(); {
		part := buf.Bytes[:min(len(buf.Bytes), body.Len()-off)]
		if _, err := body.ReadAt(part, int64(off)); err != nil {
			return fmt.Errorf("read a range of %d bytes: %w", body.Len(), err)
		}
		if err := w.bytes(part, false); err != nil {
			return err
		}
		off += len(part)
	}
	return nil
}

// bytes writes p; with more, the kernel may hold it back for what follows.
func (w *Writer) bytes(p []byte, more bool) error {
	for len(p) > 0 {
		part := p[:min(len(p), chunk)]
		w.arm()
		var err error
		if more && w.raw != nil {
			err = w.bodies.sending.sendMore(w.raw, part)
		} else {
			_, err = w.conn.Write(part)
		}
		if err != nil {
			return err
		}
		p = p[len(part):]
	}
	return nil
}

// arm moves the write deadline on when half of it has passed, so that a busy
// connection does not pay for a timer with every write. A failure shows in the write.
func (w *Writer) arm() {
	now := w.clock.Now()
	if w.armed.Sub(now) < w.stall/2 {
		w.armed = now.Add(w.stall)
		_ = w.conn.SetWriteDeadline(w.armed)
	}
}
