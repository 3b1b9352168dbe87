//go:build !linux

package wire

import (
	"errors"
	"os"
	"syscall"
)

// rawConn returns nil: bodies go through memory here.
func rawConn(Conn) syscall.RawConn { return nil }

func (*sending) sendFile(syscall.RawConn, *os.File, int64, int64) error { return errors.ErrUnsupported }

func (*sending) sendMore(syscall.RawConn, []byte) error { return errors.ErrUnsupported }

// sending is nothing where the kernel does not send files.
type sending struct{}

func newSending() *sending { return nil }
