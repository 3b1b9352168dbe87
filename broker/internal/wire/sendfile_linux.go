package wire

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn returns the kernel's side of a connection that is a socket, or nil.
func rawConn(conn Conn) syscall.RawConn {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// sending is what the kernel is asked to send. Its two steps are made once, so that a send allocates
// nothing.
type sending struct {
	src        int
	pos, n     int64
	p          []byte
	failed     error
	file, more func(fd uintptr) bool
}

func newSending() *sending {
	s := new(sending)
	s.file, s.more = s.stepFile, s.stepMore
	return s
}

// sendFile sends n bytes of f from pos on. The offset is ours, so that one open
// file serves many connections at once; asking for exactly n keeps TCP from
// waiting for more.
func (s *sending) sendFile(raw syscall.RawConn, f *os.File, pos, n int64) error {
	s.src, s.pos, s.n, s.failed = int(f.Fd()), pos, n, nil
	if err := raw.Write(s.file); s.failed == nil {
		return err
	}
	return s.failed
}

// stepFile sends until the connection takes no more, and says whether that was all.
func (s *sending) stepFile(fd uintptr) bool {
	for s.n > 0 {
		sent, err := unix.Sendfile(int(fd), s.src, &s.pos, int(s.n))
		switch {
		case sent > 0:
			s.n -= int64(sent)
		case errors.Is(err, unix.EAGAIN):
			return false
		case err == nil:
			s.failed = io.ErrUnexpectedEOF // the file is shorter than its range
			return true
		case !errors.Is(err, unix.EINTR):
			s.failed = os.NewSyscallError("sendfile", err)
			return true
		}
	}
	return true
}

// sendMore writes p and tells the kernel that more follows at once.
func (s *sending) sendMore(raw syscall.RawConn, p []byte) error {
	s.p, s.failed = p, nil
	err := raw.Write(s.more)
	s.p = nil
	if s.failed == nil {
		return err
	}
	return s.failed
}

func (s *sending) stepMore(fd uintptr) bool {
	for len(s.p) > 0 {
		sent, err := unix.SendmsgN(int(fd), s.p, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil && !errors.Is(err, unix.EINTR):
			s.failed = os.NewSyscallError("sendmsg", err)
			return true
		case err == nil:
			s.p = s.p[sent:]
		}
	}
	return true
}
