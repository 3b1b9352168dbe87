package env

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a connection that was kept. It becomes a file of Go's poller only when it has to wait,
// so that a request now and then, and its answer, cost little more than their two calls.
type socket struct {
	set *epoll

	mu      sync.Mutex // held through calls that do not wait
	fd      int        // -1 when it is closed or file's
	file    *os.File
	reading time.Time // deadlines for file
	writing time.Time
}

func (s *socket) Read(p []byte) (n int, err error) {
	file, err := s.try(func(fd int) (bool, error) {
		n, err = unix.Read(fd, p)
		return true, err
	})
	switch {
	case file != nil:
		return file.Read(p)
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(p []byte) (n int, err error) {
	file, err := s.try(func(fd int) (bool, error) {
		m, err := unix.Write(fd, p[n:])
		n += max(m, 0)
		return n == len(p), err
	})
	if file != nil {
		m, err := file.Write(p[n:])
		return n + m, err
	}
	return n, os.NewSyscallError("write", err)
}

// try calls f until it is done or fails. It returns the file instead that the socket has become,
// maybe just now because f would have to wait.
func (s *socket) try(f func(fd int) (done bool, err error)) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.file == nil && s.fd >= 0 {
		done, err := f(s.fd)
		switch {
		case errors.Is(err, unix.EAGAIN):
			s.become()
		case errors.Is(err, unix.EINTR):
		case done || err != nil:
			return nil, err
		}
	}
	if s.file == nil {
		return nil, os.ErrClosed
	}
	return s.file, nil
}

// become makes the socket a file. The caller holds the mutex; the socket is open.
func (s *socket) become() {
	_ = s.set.control(unix.EPOLL_CTL_DEL, s.fd, nil) // only a closed set has it no more
	s.file, s.fd = os.NewFile(uintptr(s.fd), "socket"), -1
	_ = s.file.SetReadDeadline(s.reading) // a failure shows in what is read
	_ = s.file.SetWriteDeadline(s.writing)
}

// keep leaves the descriptor to the set, if it is still the socket's.
func (s *socket) keep(id uint64) (fd int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return s.fd, nil
	}
	if err := s.set.control(unix.EPOLL_CTL_MOD, s.fd, once(id)); err != nil {
		return 0, fmt.Errorf("keep a socket: %w", err)
	}
	fd, s.fd = s.fd, -1
	return fd, nil
}

func (s *socket) SyscallConn() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		s.become()
	}
	if s.file == nil {
		return nil, os.ErrClosed
	}
	return s.file.SyscallConn()
}

func (s *socket) SetReadDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading = at; s.file != nil {
		return s.file.SetReadDeadline(at)
	}
	return nil
}

func (s *socket) SetWriteDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing = at; s.file != nil {
		return s.file.SetWriteDeadline(at)
	}
	return nil
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd := s.fd
	s.fd = -1
	switch {
	case s.file != nil:
		return s.file.Close()
	case fd < 0:
		return os.ErrClosed
	}
	return os.NewSyscallError("close", unix.Close(fd))
}
