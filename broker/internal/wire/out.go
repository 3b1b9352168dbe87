package wire

import (
	"encoding/binary"
	"os"
)

// Body is a run of bytes that an answer carries without holding it in memory: a
// range of a log segment. Release is called exactly once, after the bytes were
// written or when they no longer will be.
type Body interface {
	// Len is the number of bytes.
	Len() int
	// ReadAt fills p with the bytes from off on, off+len(p) being at most Len.
	ReadAt(p []byte, off int64) (int, error)
	// File returns the open file and position of the bytes, or false where there
	// is no such file. The caller uses explicit offsets only.
	File() (f *os.File, pos int64, ok bool)
	// Release gives the bytes back.
	Release()
}

// Out collects answers on their way to one connection. Bytes are appended to Buf;
// Splice marks where bodies go between them. The zero value is empty and ready; an
// Out belongs to one goroutine.
type Out struct {
	Buf     []byte
	splices []splice
	skipped bool
}

// splice is a body that stands before Buf[at].
type splice struct {
	at   int
	body Body
}

// Splice puts body at the present end of the answer. The Out owns it from here on.
func (o *Out) Splice(body Body) {
	o.splices = append(o.splices, splice{len(o.Buf), body})
}

// Skip says that the request that is being answered gets no answer (acks=0).
// Whatever was appended since Begin is dropped by End.
func (o *Out) Skip() { o.skipped = true }

// Mark is where an answer began.
type Mark struct{ buf, splices int }

// Begin starts an answer: room for its length and the response header. Flexible
// says that the response header has tagged fields (KIP-482).
func (o *Out) Begin(correlation int32, flexible bool) Mark {
	m := Mark{len(o.Buf), len(o.splices)}
	o.skipped = false
	o.Buf = append(o.Buf, 0, 0, 0, 0)
	o.Buf = binary.BigEndian.AppendUint32(o.Buf, uint32(correlation))
	if flexible {
		o.Buf = append(o.Buf, 0)
	}
	return m
}

// End completes the answer begun at m with its length, or takes it back when it
// was skipped. It returns the bytes the answer puts on the wire.
func (o *Out) End(m Mark) int {
	if o.skipped {
		o.Abort(m)
		return 0
	}
	n := len(o.Buf) - m.buf
	for _, s := range o.splices[m.splices:] {
		n += s.body.Len()
	}
	binary.BigEndian.PutUint32(o.Buf[m.buf:], uint32(n-4))
	return n
}

// Abort takes back everything since m and releases its bodies.
func (o *Out) Abort(m Mark) {
	for i, s := range o.splices[m.splices:] {
		s.body.Release()
		o.splices[m.splices+i] = splice{}
	}
	o.splices = o.splices[:m.splices]
	o.Buf = o.Buf[:m.buf]
}

// Len is the number of bytes that Each yields.
func (o *Out) Len() int {
	n := len(o.Buf)
	for _, s := range o.splices {
		n += s.body.Len()
	}
	return n
}

// Each calls f for the pieces in order until f fails: either bytes or a body. It
// releases nothing.
func (o *Out) Each(f func(bytes []byte, body Body) error) error {
	at := 0
	for _, s := range o.splices {
		if s.at > at {
			if err := f(o.Buf[at:s.at], nil); err != nil {
				return err
			}
			at = s.at
		}
		if err := f(nil, s.body); err != nil {
			return err
		}
	}
	if at < len(o.Buf) {
		return f(o.Buf[at:], nil)
	}
	return nil
}

// Bodies is the number of bodies between the bytes.
func (o *Out) Bodies() int { return len(o.splices) }

// Reset releases all bodies and empties the Out; it keeps Buf's memory.
func (o *Out) Reset() { o.Abort(Mark{}) }
