//go:build !linux

package bench

import (
	"io"
	"net"
)

// dropper throws received bytes away.
type dropper struct{ conn net.Conn }

func newDropper(conn net.Conn) (*dropper, error) { return &dropper{conn}, nil }

// bytes drops the next n bytes.
func (d *dropper) bytes(n int) error {
	_, err := io.CopyN(io.Discard, d.conn, int64(n))
	return err
}
