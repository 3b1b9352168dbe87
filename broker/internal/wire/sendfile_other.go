//go:build !linux

package wire

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// rawConn returns nil: bodies go through memory here.
func rawConn(net.Conn) syscall.RawConn { return nil }

func sendFile(syscall.RawConn, *os.File, int64, int64) error { return errors.ErrUnsupported }

func sendMore(syscall.RawConn, []byte) error { return errors.ErrUnsupported }
