package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/wire"
)

// errUnsupported is a request for an API key or version that is not served.
var errUnsupported = errors.New("unsupported request")

// conn is one connection. While it is silent and owed nothing it may sleep, and is no
// more than this.
type conn struct {
	server  *Server
	session *route.Session
	client  auth.Client // the session's

	mu      sync.Mutex
	*awake  // nil while it sleeps
	asleep  sleeper
	trusted bool // authenticated, or on a listener that asks for no authentication; the reader's
	stop    bool // no more requests are started
	dead    bool
}

// awake is a reader, and the answers a connection is owed.
type awake struct {
	nc      wire.Conn
	frames  *wire.Frames
	writer  *wire.Writer
	changed sync.Cond // an answer left, writing ended, the connection failed; the lock is the connection's
	head    *slot     // the answers owed, in the order of the requests
	tail    *slot
	owed    int // slots, those being written included
	bytes   int // of their requests
	parked  bool
	writing bool
}

func newConn(s *Server, nc net.Conn, from Listener, host string) *conn {
	c := &conn{server: s, trusted: !needsLogin(from.Protocol)}
	c.session = &route.Session{
		Principal: auth.Anonymous, Listener: from.Name, ClientAddr: host,
		ConnID: s.lastID.Add(1), Client: &c.client,
	}
	c.wake(nc)
	return c
}

// wake gives the connection all that it needs to be read and answered. The caller
// holds the mutex, or the connection is new.
func (c *conn) wake(nc wire.Conn) {
	s := c.server
	c.awake = &awake{
		nc:     nc,
		frames: wire.NewFrames(nc, s.o.Env.Clock, &s.buffers, s.o.MaxIdle),
		writer: wire.NewWriter(nc, s.o.Env.Clock, &s.buffers, s.o.MaxIdle),
	}
	c.changed.L = &c.mu
}

// serve reads and starts requests until the connection sleeps or ends, and at its end
// waits for whoever still writes to it. It runs on one goroutine of group at a time, and
// on a fresh one after each silence, because a stack that a request has grown shrinks no
// more while its goroutine waits.
func (c *conn) serve(ctx context.Context, group *sync.WaitGroup) {
	live, cancel := context.WithCancel(ctx)
	var run func()
	run = func() {
		err := c.read(live)
		quiet := errors.Is(err, wire.ErrQuiet)
		if quiet && !c.sleep() {
			group.Go(run)
			return
		}
		cancel()
		if !quiet {
			c.finish(err)
		}
	}
	group.Go(run)
}

// finish ends the connection, whose reading ended with err.
func (c *conn) finish(err error) {
	c.fail(err)
	for _, p := range c.polls() {
		p.Hurry()
	}
	c.mu.Lock()
	for c.writing {
		c.changed.Wait()
	}
	c.mu.Unlock()
	c.frames.Close()
	c.server.forget(c)
}

// read starts requests in the order they arrive.
func (c *conn) read(ctx context.Context) error {
	for {
		if !c.frames.Ready() {
			c.flush()
			if c.frames.Rest() {
				return wire.ErrQuiet
			}
		}
		frame, err := c.frames.Next(c.limit())
		if errors.Is(err, wire.ErrIdle) && c.waiting() {
			continue
		}
		if err != nil {
			return err
		}
		if !c.unpark() {
			return nil
		}
		if err := c.handle(ctx, frame); err != nil {
			return err
		}
		if !c.room() {
			return nil
		}
	}
}

// limit is how large the next frame may be.
func (c *conn) limit() int {
	if c.trusted {
		return c.server.o.MaxRequestBytes
	}
	return c.server.o.MaxUnauthenticatedBytes
}

// handle starts one request. An error closes the connection.
func (c *conn) handle(ctx context.Context, frame []byte) error {
	h, err := wire.PeekHeader(frame)
	if err != nil {
		return err
	}
	r := c.server.route(h.Key)
	if r == nil || !r.Serves(h.Version) || !c.trusted && !beforeLogin(h.Key) {
		return fmt.Errorf("%w: api key %d version %d", errUnsupported, h.Key, h.Version)
	}
	h, body, err := wire.ReadHeader(frame, r.Flexible(h.Version))
	if err != nil {
		return fmt.Errorf("%s version %d: %w", r.Name, h.Version, err)
	}
	c.server.o.Meter.Received(r.Key, len(frame))
	c.identify(h.ClientID)
	began := c.server.o.Env.Clock.Now()
	resp, pending, err := c.start(ctx, r, h.Version, body)
	if err != nil {
		return fmt.Errorf("%s version %d: %w", r.Name, h.Version, err)
	}
	if resp == nil {
		return nil
	}
	s := c.server.slot()
	*s = slot{conn: c, route: r, header: h, size: len(frame) + c.weight(resp), began: began, resp: resp, pending: pending}
	s.header.ClientID = nil // it aliases the frame
	c.owe(s)
	if pending == nil {
		s.Ready()
	} else {
		pending.Wait(s)
	}
	return nil
}

// weight is what an answer counts for beside its request. One that is held as a message until it is
// written may be large, such as the metadata of all topics, so that few of them may be owed.
func (c *conn) weight(resp route.Response) int {
	if _, ok := route.Kmsg(resp); ok {
		return c.server.o.MaxOwedBytes / maxMessages
	}
	return 0
}

// maxMessages is how many answers of kmsg's a connection may be owed.
const maxMessages = 16

// start runs the handler; a panic closes this connection alone.
func (c *conn) start(ctx context.Context, r *route.Route, version int16, body []byte) (resp route.Response, p *route.Pending, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v\n%s", route.ErrPanic, v, debug.Stack())
		}
	}()
	return r.Start(ctx, c.session, version, body)
}

// identify makes a new session when the client id changed: handlers may still hold the old one.
func (c *conn) identify(clientID []byte) {
	if string(clientID) != c.session.ClientID {
		s := *c.session
		s.ClientID = strings.ToValidUTF8(string(clientID), "\uFFFD")
		c.mu.Lock() // whoever reports a failure looks at it too
		c.session = &s
		c.mu.Unlock()
	}
}

func beforeLogin(key int16) bool {
	return key == int16(kmsg.ApiVersions) || key == int16(kmsg.SASLHandshake) || key == int16(kmsg.SASLAuthenticate)
}

func (s *Server) route(key int16) *route.Route {
	if key < 0 || int(key) >= len(s.routes) {
		return nil
	}
	return s.routes[key]
}

// fail ends the connection, for the reason err or because it is over; the first
// call decides what is logged. It may be called from any goroutine.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *conn) failLocked(err error) {
	if c.dead {
		return
	}
	c.dead = true
	if c.awake == nil {
		c.end()
	} else {
		c.changed.Broadcast()
		_ = c.nc.Close() // the reader and the writer see it
	}
	c.report(err)
}

// report logs and counts why the server closed the connection, unless it was the client who did.
func (c *conn) report(err error) {
	reason := reasonFor(err)
	if reason == "" {
		return
	}
	c.server.o.Meter.Refused(reason)
	attrs := []any{
		slog.String("reason", string(reason)), slog.Any("error", err), slog.String("listener", c.session.Listener),
		slog.String("client_addr", c.session.ClientAddr), slog.String("client_id", c.session.ClientID),
	}
	switch reason {
	case Idle:
	case Panicked, Failed:
		c.server.o.Logger.Error("connection closed by a failing handler", attrs...)
	default:
		if suppressed, ok := c.server.warn.may(); ok {
			c.server.o.Logger.Warn("connection closed", append(attrs, slog.Int("suppressed", suppressed))...)
		}
	}
}

func reasonFor(err error) Reason {
	_, network := errors.AsType[net.Error](err)
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, os.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ""
	case errors.Is(err, wire.ErrIdle):
		return Idle
	case errors.Is(err, wire.ErrStalled):
		return Stalled
	case errors.Is(err, wire.ErrFrameSize):
		return BadFrame
	case errors.Is(err, errUnsupported):
		return Unsupported
	case errors.Is(err, wire.ErrMalformed):
		return Malformed
	case errors.Is(err, route.ErrPanic):
		return Panicked
	case errors.Is(err, route.ErrClose), network:
		return ""
	}
	return Failed
}
