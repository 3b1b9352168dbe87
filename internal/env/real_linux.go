package env

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncFS(f *os.File) error { return retry(func() error { return unix.Syncfs(int(f.Fd())) }) }

func syncData(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) {
		err = retry(func() error { return unix.Fdatasync(int(fd)) })
	}), err)
}

func preallocate(f *os.File, size int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) {
		err = retry(func() error { return unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, 0, size) })
	}), err)
}

// retry repeats a call that a signal interrupted before it did anything.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
