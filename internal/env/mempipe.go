package env

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is how many bytes one direction of a connection holds before its writer waits.
const pipeBuffer = 256 << 10

// pipe is one direction of a connection.
type pipe struct {
	mu    sync.Mutex
	wake  *sync.Cond
	buf   []byte
	eof   bool  // the writer closed: readers get what is left
	err   error // the connection is broken or the reader closed it
	read  limit
	write limit
}

// limit is a deadline: passed is set when it lies behind.
type limit struct {
	timer  *time.Timer
	passed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.wake = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) readInto(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.err != nil:
			return 0, p.err
		case p.read.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p.buf) > 0 || len(b) == 0:
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			p.wake.Broadcast()
			return n, nil
		case p.eof:
			return 0, io.EOF
		}
		p.wake.Wait()
	}
}

func (p *pipe) writeFrom(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for {
		switch {
		case p.err != nil:
			return written, p.err
		case p.eof:
			return written, net.ErrClosed
		case p.write.passed:
			return written, os.ErrDeadlineExceeded
		}
		n := min(len(b), pipeBuffer-len(p.buf))
		p.buf = append(p.buf, b[:n]...)
		written, b = written+n, b[n:]
		p.wake.Broadcast()
		if len(b) == 0 {
			return written, nil
		}
		p.wake.Wait()
	}
}

func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eof = true
	p.wake.Broadcast()
}

func (p *pipe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err, p.buf = err, nil
	}
	p.read.stop()
	p.write.stop()
	p.wake.Broadcast()
}

func (l *limit) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (p *pipe) set(l *limit, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.stop()
	l.timer, l.passed = nil, false
	if at.IsZero() {
		return
	}
	wait := time.Until(at)
	if wait <= 0 {
		l.passed = true
		p.wake.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.timer == timer {
			l.passed = true
			p.wake.Broadcast()
		}
	})
	l.timer = timer
}

// memConn is one end of a connection.
type memConn struct {
	net           *MemNetwork
	in, out       *pipe
	local, remote memAddr
	once          sync.Once
}

// Read waits for bytes, the peer's close (io.EOF), or the deadline.
func (c *memConn) Read(b []byte) (int, error) {
	n, err := c.in.readInto(b)
	return n, c.wrap("read", err)
}

// Write returns when all bytes are buffered.
func (c *memConn) Write(b []byte) (int, error) {
	n, err := c.out.writeFrom(b)
	return n, c.wrap("write", err)
}

func (c *memConn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends both directions: the peer reads what was written, then io.EOF, and its writes fail.
func (c *memConn) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: c.remote, Err: net.ErrClosed})
	c.once.Do(func() {
		err = nil
		c.net.mu.Lock()
		delete(c.net.conns, c)
		c.net.mu.Unlock()
		c.in.closeReader()
		c.out.finish()
	})
	return err
}

// closeReader breaks the direction this end reads from: its own reads see ErrClosed, which the
// peer's writes see as a broken pipe.
func (p *pipe) closeReader() {
	p.fail(errors.Join(net.ErrClosed, syscall.EPIPE))
}

// LocalAddr is this end's address.
func (c *memConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the peer's address.
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline bounds reads and writes, those that wait already too.
func (c *memConn) SetDeadline(t time.Time) error {
	c.in.set(&c.in.read, t)
	c.out.set(&c.out.write, t)
	return nil
}

// SetReadDeadline bounds reads.
func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.read, t)
	return nil
}

// SetWriteDeadline bounds writes.
func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.write, t)
	return nil
}
