package server

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/wire"
)

const (
	joined = 256 << 10 // answers are joined into writes of about this size
	kept   = 1 << 20   // a larger write buffer is not kept
)

// slot is one answer owed. It stands in its connection's list until it is ready
// and all before it have left.
type slot struct {
	conn    *conn
	route   *route.Route
	header  wire.Header
	size    int // of the request
	began   time.Time
	resp    route.Response
	pending *route.Pending // nil where the answer was ready at once
	ready   bool
	next    *slot
}

func (s *Server) slot() *slot {
	if got, ok := s.slots.Get().(*slot); ok {
		return got
	}
	return new(slot)
}

// owe puts a slot at the end of the list.
func (c *conn) owe(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tail == nil {
		c.head = s
	} else {
		c.tail.next = s
	}
	c.tail = s
	c.owed++
	c.bytes += s.size
}

// Ready says that the slot's answer may be written. While the reader is busy it
// will see to that itself; while it is parked, a goroutine does.
func (s *slot) Ready() {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	s.ready = true
	if c.head == s && c.parked && !c.writing && !c.dead {
		c.writing = true
		go c.write()
	}
}

// flush writes what is ready and parks the reader: until unpark, completions write by themselves.
func (c *conn) flush() {
	c.mu.Lock()
	c.parked = true
	if c.writing || c.dead || c.head == nil || !c.head.ready {
		c.mu.Unlock()
		c.rest()
		return
	}
	c.writing = true
	c.mu.Unlock()
	c.write()
}

// unpark says that the reader is busy, and whether it may start a request.
func (c *conn) unpark() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked = false
	if c.stop && c.owed == 0 {
		c.failLocked(nil)
	}
	if c.stop { // the answers that are owed leave by themselves
		c.parked = true
		for c.owed > 0 && !c.dead {
			c.changed.Wait()
		}
	}
	return !c.stop && !c.dead
}

// waiting says that answers are owed.
func (c *conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owed > 0
}

// room waits until the connection is owed little enough to be read on, and says
// whether it is still alive. So a client that does not read stops being read.
func (c *conn) room() bool {
	c.mu.Lock()
	full := c.full()
	c.mu.Unlock()
	if !full {
		return true
	}
	c.flush()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.full() && !c.dead {
		c.changed.Wait()
	}
	c.parked = false
	return !c.dead
}

func (c *conn) full() bool {
	return c.owed >= c.server.o.MaxOwed || c.owed > 0 && c.bytes >= c.server.o.MaxOwedBytes
}

// drain ends the connection once the answers of started requests have left.
func (c *conn) drain() {
	c.mu.Lock()
	c.stop = true
	c.mu.Unlock()
	for _, p := range c.polls() {
		p.Hurry()
	}
	c.rest()
}

// rest closes a connection that is to stop and owes nothing.
func (c *conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop && (c.awake == nil || c.parked && c.owed == 0) {
		c.failLocked(nil)
	}
}

// polls lists the answers that can be hurried.
func (c *conn) polls() []route.Poll {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awake == nil {
		return nil
	}
	var polls []route.Poll
	for s := c.head; s != nil; s = s.next {
		if p, ok := s.resp.(route.Poll); ok {
			polls = append(polls, p)
		}
	}
	return polls
}

// write writes ready answers, in order, until the next one is not ready. Whoever
// set c.writing calls it.
func (c *conn) write() {
	out := c.server.out()
	c.mu.Lock()
	for !c.dead {
		first, n, size := c.takeReady()
		if first == nil {
			break
		}
		c.mu.Unlock()
		err := c.writeSlots(first, out)
		c.mu.Lock()
		c.owed -= n
		c.bytes -= size
		c.changed.Broadcast()
		if err != nil {
			c.failLocked(err)
		}
	}
	c.writing = false
	c.changed.Broadcast()
	c.mu.Unlock()
	c.server.putOut(out)
	c.rest()
}

// takeReady cuts the ready slots off the head of the list.
func (c *conn) takeReady() (first *slot, n, size int) {
	var last *slot
	for s := c.head; s != nil && s.ready; s = s.next {
		last = s
		n++
		size += s.size
	}
	if last == nil {
		return nil, 0, 0
	}
	first = c.head
	c.head = last.next
	last.next = nil
	if c.head == nil {
		c.tail = nil
	}
	return first, n, size
}

// writeSlots writes the answers of a list of slots and gives the slots back.
func (c *conn) writeSlots(first *slot, out *wire.Out) error {
	now := c.server.o.Env.Clock.Now()
	for s := first; s != nil; {
		n, err := s.respond(out)
		if err != nil {
			return fmt.Errorf("%s version %d: %w", s.route.Name, s.header.Version, err)
		}
		c.server.o.Meter.Answered(s.route.Key, n, now.Sub(s.began))
		next := s.next
		*s = slot{}
		c.server.slots.Put(s)
		s = next
		if s != nil && out.Len() < joined {
			continue
		}
		if err := c.writer.Write(out); err != nil {
			return err
		}
		out.Reset()
	}
	return nil
}

// respond appends one answer; a panic closes the connection alone.
func (s *slot) respond(out *wire.Out) (n int, err error) {
	if s.pending != nil && s.pending.Err() != nil {
		return 0, s.pending.Err()
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v\n%s", route.ErrPanic, v, debug.Stack())
		}
	}()
	mark := out.Begin(s.header.Correlation, s.route.FlexibleHeader(s.header.Version))
	if err := s.resp.Respond(out); err != nil {
		return 0, err
	}
	return out.End(mark), nil
}

func (s *Server) out() *wire.Out {
	if got, ok := s.outs.Get().(*wire.Out); ok {
		return got
	}
	return new(wire.Out)
}

func (s *Server) putOut(out *wire.Out) {
	out.Reset()
	if cap(out.Buf) <= kept {
		s.outs.Put(out)
	}
}
