package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

// sleeper is what a connection knows while it sleeps. Its socket is one of the server's
// set then, and belongs to whoever takes the connection from the list of sleepers.
type sleeper struct {
	prev, next *conn
	since      time.Duration // on the server's clock, as all times that many hold
	woken      time.Duration // of its Frames
	fd         int32
	listed     bool // guarded by the server's mutex, as the neighbours are
}

// sleepers are the connections that sleep, in the order in which they began.
type sleepers struct {
	first, last *conn
	timer       env.Timer // nil unless it will look at the first
}

// sleep lets go of all that a connection does not need while it is silent and owed
// nothing, and says whether it did: its reader is then somebody else's to start. Nobody
// completes an answer meanwhile, for there is none.
func (c *conn) sleep() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.server
	socket, ok := c.nc.(env.Socket)
	if !ok || s.sockets == nil || c.owed > 0 || c.writing || c.stop || c.dead {
		return false
	}
	c.asleep.since, c.asleep.woken = s.now(), c.frames.Woken.Sub(s.began)
	s.list(c) // before anything can wake it; who does waits for the mutex
	fd, err := s.sockets.Keep(socket, c.session.ConnID)
	if err != nil {
		s.unlist(c)
		if suppressed, ok := s.warn.may(); ok {
			s.o.Logger.Warn("connection cannot sleep", slog.Any("error", err), slog.Int("suppressed", suppressed))
		}
		return false
	}
	c.asleep.fd = int32(fd)
	c.frames.Close()
	c.awake = nil
	return true
}

// end ends a connection that sleeps, unless it is just being woken, which ends it too.
// The caller holds the mutex.
func (c *conn) end() {
	if c.server.unlist(c) {
		c.drop()
	}
}

// drop ends a connection that was taken from the list of sleepers.
func (c *conn) drop() {
	_ = c.server.sockets.Drop(int(c.asleep.fd)) // nothing is lost
	c.server.forget(c)
}

// rise wakes a connection that was taken from the list of sleepers.
func (c *conn) rise(ctx context.Context, group *sync.WaitGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		c.drop()
		return
	}
	c.wake(c.server.sockets.Wake(int(c.asleep.fd)))
	c.frames.Woken = c.server.began.Add(c.asleep.woken)
	c.serve(ctx, group)
}

// watch wakes connections that get bytes, or end, until the set of sockets is closed.
func (s *Server) watch(ctx context.Context, group *sync.WaitGroup) error {
	var ids []uint64
	for {
		var err error
		if ids, err = s.sockets.Wait(ids[:0]); errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		for _, id := range ids {
			s.mu.Lock()
			c := s.conns[id]
			s.mu.Unlock()
			if c != nil && s.unlist(c) {
				c.rise(ctx, group)
			}
		}
	}
}

// unwatch ends watch. From here on no connection falls asleep, and none wakes.
func (s *Server) unwatch() error {
	if s.sockets == nil {
		return nil
	}
	return s.sockets.Close()
}

// list puts a connection behind those that sleep.
func (s *Server) list(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.asleep.listed, c.asleep.prev, c.asleep.next = true, s.asleep.last, nil
	if s.asleep.last == nil {
		s.asleep.first = c
	} else {
		s.asleep.last.asleep.next = c
	}
	s.asleep.last = c
	if s.asleep.timer == nil {
		s.asleep.timer = s.o.Env.Clock.AfterFunc(s.o.MaxIdle, s.expire)
	}
}

// unlist takes a connection from those that sleep, and says whether it was one.
func (s *Server) unlist(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &c.asleep
	if !a.listed {
		return false
	}
	if a.prev == nil {
		s.asleep.first = a.next
	} else {
		a.prev.asleep.next = a.next
	}
	if a.next == nil {
		s.asleep.last = a.prev
	} else {
		a.next.asleep.prev = a.prev
	}
	a.listed, a.prev, a.next = false, nil, nil
	return true
}

// expire ends the connections that have slept for MaxIdle.
func (s *Server) expire() {
	for c := s.overdue(); c != nil; c = s.overdue() {
		c.mu.Lock()
		if c.awake == nil && s.left(c) <= 0 {
			c.failLocked(wire.ErrIdle)
		}
		c.mu.Unlock()
	}
}

// overdue returns the first connection that has slept for MaxIdle, or waits on for the
// first of all.
func (s *Server) overdue() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.asleep.first
	if c == nil {
		s.asleep.timer = nil
		return nil
	}
	if left := s.left(c); left > 0 {
		s.asleep.timer.Reset(left)
		return nil
	}
	return c
}

// left is how long a connection may sleep on.
func (s *Server) left(c *conn) time.Duration { return c.asleep.since + s.o.MaxIdle - s.now() }

// now is the time since the server was made, which takes less room than a time of day.
func (s *Server) now() time.Duration { return s.o.Env.Clock.Now().Sub(s.began) }

// bed makes the set of sockets, where the network has such.
func (s *Server) bed() {
	keeper, ok := s.o.Env.Net.(env.SocketKeeper)
	if !ok {
		return
	}
	sockets, err := keeper.Sockets()
	if err != nil {
		s.o.Logger.Warn("silent connections cannot sleep", slog.Any("error", err))
		return
	}
	s.sockets = sockets
}
