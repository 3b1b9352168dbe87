package env

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets makes an empty set of sockets.
func (realNetwork) Sockets() (Sockets, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("sockets: %w", os.NewSyscallError("epoll_create1", err))
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("sockets: %w", os.NewSyscallError("fcntl", err)), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sockets: %w", err), file.Close())
	}
	return &epoll{file: file, raw: raw, events: make([]unix.EpollEvent, 128)}, nil
}

// epoll is a set of sockets that the kernel keeps. Its own descriptor is one of Go's poller, so
// that a goroutine waits for it without a thread.
type epoll struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool
	events []unix.EpollEvent // of the one who waits
}

func (e *epoll) Keep(conn Socket, id uint64) (int, error) {
	if s, ok := conn.(*socket); ok {
		if fd, err := s.keep(id); fd >= 0 {
			return fd, err
		}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("keep a socket: %w", err)
	}
	var fd int
	var failed error
	if err := raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || failed != nil {
		return 0, fmt.Errorf("keep a socket: %w", errors.Join(err, os.NewSyscallError("fcntl", failed)))
	}
	if err := e.control(unix.EPOLL_CTL_ADD, fd, once(id)); err != nil {
		return 0, errors.Join(fmt.Errorf("keep a socket: %w", err), unix.Close(fd))
	}
	_ = conn.Close() // its socket lives on
	return fd, nil
}

// once asks for the next event alone: after it the socket is in other hands.
func once(id uint64) *unix.EpollEvent {
	return &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(id), Pad: int32(id >> 32)}
}

func (e *epoll) control(op, fd int, event *unix.EpollEvent) error {
	var failed error
	err := e.raw.Control(func(set uintptr) { failed = unix.EpollCtl(int(set), op, fd, event) })
	return errors.Join(err, os.NewSyscallError("epoll_ctl", failed))
}

func (e *epoll) Wait(ids []uint64) ([]uint64, error) {
	var n int
	var failed error
	err := e.raw.Read(func(set uintptr) bool {
		n, failed = unix.EpollWait(int(set), e.events, 0)
		return n > 0 || failed != nil && !errors.Is(failed, unix.EINTR)
	})
	if err != nil && e.closed.Load() {
		return ids, net.ErrClosed
	}
	if err != nil || failed != nil {
		return ids, fmt.Errorf("wait for sockets: %w", errors.Join(err, os.NewSyscallError("epoll_wait", failed)))
	}
	for _, event := range e.events[:n] {
		ids = append(ids, uint64(uint32(event.Fd))|uint64(uint32(event.Pad))<<32)
	}
	return ids, nil
}

func (e *epoll) Wake(fd int) Socket { return &socket{set: e, fd: fd} }

func (e *epoll) Drop(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

func (e *epoll) Close() error {
	e.closed.Store(true)
	return e.file.Close()
}
