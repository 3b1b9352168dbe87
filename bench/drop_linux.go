package bench

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropper throws received bytes away without copying them out of the kernel.
type dropper struct {
	raw syscall.RawConn
	buf []byte
}

func newDropper(conn net.Conn) (*dropper, error) {
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := tcp.SyscallConn()
	return &dropper{raw, make([]byte, 1<<20)}, err
}

// bytes drops the next n bytes.
func (d *dropper) bytes(n int) error {
	var failed error
	err := d.raw.Read(func(fd uintptr) bool {
		for n > 0 {
			got, _, err := unix.Recvfrom(int(fd), d.buf[:min(n, len(d.buf))], unix.MSG_TRUNC)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				failed = os.NewSyscallError("recvfrom", err)
				return true
			case got == 0:
				failed = io.ErrUnexpectedEOF
				return true
			default:
				n -= got
			}
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}
