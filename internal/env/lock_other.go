//go:build !unix

package env

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Lock keeps the file's existence as the lock; one left behind by a crash must be removed by hand.
func (realFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return removeOnClose{f}, nil
}

type removeOnClose struct{ *os.File }

func (f removeOnClose) Close() error { return errors.Join(f.File.Close(), os.Remove(f.Name())) }
