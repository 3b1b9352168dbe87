package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn returns the kernel's side of a TCP connection, or nil.
func rawConn(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// sendFile sends n bytes of f from pos on. The offset is ours, so that one open
// file serves many connections at once; asking for exactly n keeps TCP from
// waiting for more.
func sendFile(raw syscall.RawConn, f *os.File, pos, n int64) error {
	src := int(f.Fd())
	var failed error
	err := raw.Write(func(fd uintptr) bool {
		for n > 0 {
			sent, err := unix.Sendfile(int(fd), src, &pos, int(n))
			switch {
			case sent > 0:
				n -= int64(sent)
			case errors.Is(err, unix.EAGAIN):
				return false
			case err == nil:
				failed = io.ErrUnexpectedEOF // the file is shorter than its range
				return true
			case !errors.Is(err, unix.EINTR):
				failed = os.NewSyscallError("sendfile", err)
				return true
			}
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

// sendMore writes p and tells the kernel that more follows at once.
func sendMore(raw syscall.RawConn, p []byte) error {
	var failed error
	err := raw.Write(func(fd uintptr) bool {
		for len(p) > 0 {
			sent, err := unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil && !errors.Is(err, unix.EINTR):
				failed = os.NewSyscallError("sendmsg", err)
				return true
			case err == nil:
				p = p[sent:]
			}
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}
