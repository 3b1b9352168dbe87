package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// The errors that end reading, beside those of the connection.
var (
	// ErrIdle says that no byte came for the idle time. The caller may read on.
	ErrIdle = errors.New("connection is idle")
	// ErrQuiet says that no byte came for a second or longer, and no read buffer is held.
	// The caller reads on, and may use the moment to give back memory of its own.
	ErrQuiet = errors.New("connection is quiet")
	// ErrStalled says that a frame began and its rest did not come in time.
	ErrStalled = errors.New("frame stalled")
	// ErrFrameSize says that a frame is negative, empty or larger than allowed.
	ErrFrameSize = errors.New("frame size out of bounds")
)

const (
	prefix     = 4        // bytes of a frame's length
	window     = 64 << 10 // read buffer of a busy connection
	small      = 4 << 10  // read buffer for the first frame in a while
	growth     = 1 << 20  // a large frame's buffer at first; it doubles as bytes arrive
	linger     = time.Second
	frameGrace = 10 * time.Second // for the rest of a frame, plus a second for each slowest bytes
	slowest    = 64 << 10
)

// Frames cuts the bytes of one connection into frames. A connection that has been
// silent for a second holds no read buffer, and one that asks now and then holds
// none between two frames. It belongs to one goroutine.
type Frames struct {
	conn    Conn
	clock   env.Clock
	buffers *Buffers
	idle    time.Duration

	buf    *Buffer // nil while the connection is silent
	r, w   int     // buf.Bytes[r:w] was read and not handed out
	large  *Buffer // the frame handed out last, when it did not fit
	head   [prefix]byte
	armed  time.Time     // the read deadline in force
	silent time.Duration // how long nothing came since the buffer went back, as far as it was told

	// Woken is when a frame last began without a buffer. Other Frames that read the same
	// connection on must be told.
	Woken time.Time
}

// Conn is what is read and written: a connection, or the file of a socket.
type Conn interface {
	io.ReadWriteCloser
	SetReadDeadline(at time.Time) error
	SetWriteDeadline(at time.Time) error
}

// NewFrames reads from conn; a connection that sends nothing for a second gets ErrQuiet,
// and again each time its silence has doubled, and ErrIdle once it has lasted for idle.
func NewFrames(conn Conn, clock env.Clock, buffers *Buffers, idle time.Duration) *Frames {
	return &Frames{conn: conn, clock: clock, buffers: buffers, idle: idle}
}

// Close gives the buffers back; frames handed out are no longer valid.
func (f *Frames) Close() {
	f.buffers.Put(f.buf)
	f.buffers.Put(f.large)
	f.buf, f.large = nil, nil
}

// Ready says that a whole frame was read already, so that Next will not wait.
func (f *Frames) Ready() bool {
	if f.w-f.r < prefix {
		return false
	}
	size := int32(binary.BigEndian.Uint32(f.buf.Bytes[f.r:]))
	return size < 0 || f.w-f.r-prefix >= int(size) // a bad size is Next's to tell
}

// Rest gives the read buffer back when the last frame was the first in a while and
// nothing follows it yet, and says whether it did. The frame is no longer valid.
func (f *Frames) Rest() bool {
	if f.buf == nil || f.w > f.r || len(f.buf.Bytes) > small {
		return false
	}
	f.buffers.Put(f.buf)
	f.buffers.Put(f.large)
	f.buf, f.large = nil, nil
	return true
}

// Next returns the next frame without its length. It is valid, and may be changed,
// until the next call. No more than limit bytes are accepted, and memory for a
// large frame grows only as its bytes arrive.
func (f *Frames) Next(limit int) ([]byte, error) {
	f.buffers.Put(f.large)
	f.large = nil
	if err := f.begin(); err != nil {
		return nil, err
	}
	if err := f.fill(prefix, frameGrace); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(f.buf.Bytes[f.r:])))
	if size <= 0 || size > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrameSize, size, limit)
	}
	f.r += prefix
	if size > len(f.buf.Bytes) {
		return f.huge(size)
	}
	if err := f.fill(size, graceFor(size)); err != nil {
		return nil, err
	}
	frame := f.buf.Bytes[f.r : f.r+size : f.r+size]
	f.r += size
	return frame, nil
}

// begin waits until the first bytes of a frame are in the buffer.
func (f *Frames) begin() error {
	if f.w > f.r {
		return nil
	}
	f.r, f.w = 0, 0
	if f.buf != nil {
		now := f.clock.Now()
		if left := f.armed.Sub(now); left > linger || left < linger/2 {
			f.arm(now.Add(linger))
		}
		n, err := f.conn.Read(f.buf.Bytes)
		f.w = n
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return f.readError(n, err)
		}
		f.buffers.Put(f.buf)
		f.buf = nil
		return ErrQuiet
	}
	patience := min(max(f.silent, linger), f.idle-f.silent)
	f.arm(f.clock.Now().Add(patience))
	n, err := f.conn.Read(f.head[:])
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		if f.silent += patience; f.silent < f.idle {
			return ErrQuiet
		}
		f.silent = 0
		return ErrIdle
	}
	now, size := f.clock.Now(), window
	if now.Sub(f.Woken) > linger {
		size = small
	}
	f.Woken, f.silent = now, 0
	f.buf = f.buffers.Get(size)
	f.w = copy(f.buf.Bytes, f.head[:n])
	return f.readError(n, err)
}

// fill reads on in the middle of a frame until n bytes are there, which may take grace.
func (f *Frames) fill(n int, grace time.Duration) error {
	if f.w-f.r >= n {
		return nil
	}
	f.w = copy(f.buf.Bytes, f.buf.Bytes[f.r:f.w])
	f.r = 0
	f.arm(f.clock.Now().Add(grace))
	for f.w < n {
		got, err := f.conn.Read(f.buf.Bytes[f.w:])
		f.w += got
		if err := f.readError(got, err); err != nil {
			return err
		}
	}
	return nil
}

// huge reads a frame that does not fit the read buffer.
func (f *Frames) huge(size int) ([]byte, error) {
	f.large = f.buffers.Get(min(size, growth))
	got := copy(f.large.Bytes, f.buf.Bytes[f.r:f.w])
	f.r, f.w = 0, 0
	f.arm(f.clock.Now().Add(graceFor(size)))
	for got < size {
		if got == len(f.large.Bytes) {
			next := f.buffers.Get(min(size, 2*got))
			copy(next.Bytes, f.large.Bytes)
			f.buffers.Put(f.large)
			f.large = next
		}
		n, err := f.conn.Read(f.large.Bytes[got:min(size, len(f.large.Bytes))])
		got += n
		if err := f.readError(n, err); err != nil {
			return nil, err
		}
	}
	return f.large.Bytes[:size:size], nil
}

// readError sorts what a read in or before a frame returned.
func (f *Frames) readError(n int, err error) error {
	switch {
	case n > 0:
		return nil // an error comes back with the next read
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	case errors.Is(err, io.EOF) && f.w > f.r:
		return io.ErrUnexpectedEOF
	}
	return err
}

// arm sets the read deadline. A failure shows in the read that follows.
func (f *Frames) arm(at time.Time) {
	f.armed = at
	_ = f.conn.SetReadDeadline(at)
}

func graceFor(size int) time.Duration {
	return frameGrace + time.Duration(size/slowest)*time.Second
}
