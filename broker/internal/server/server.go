// Package server owns the listeners and connections of a broker. One goroutine
// reads a connection and starts its requests in order; the answers that are owed
// stand in slots in the same order, and those that are ready leave in one write. A
// connection that is silent and owed nothing sleeps, where the network can keep its
// socket, without a goroutine.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

// Listener is an address to serve.
type Listener struct {
	Name     string // such as PLAINTEXT
	Addr     string // host:port; port 0 picks a free one
	Protocol string // security protocol; PLAINTEXT connections need no authentication
}

// Meter counts what the server does. Its methods are called on the hot path from
// many goroutines and must neither block nor allocate.
type Meter interface {
	Opened(listener string)
	Closed(listener string)
	Received(key int16, bytes int)
	Answered(key int16, bytes int, took time.Duration)
	Refused(reason Reason)
}

// Reason is why the server closed a connection by itself.
type Reason string

// The reasons for which connections are closed.
const (
	TooMany     Reason = "too_many_connections"
	BadFrame    Reason = "bad_frame"
	Unsupported Reason = "unsupported_request"
	Malformed   Reason = "malformed_request"
	Panicked    Reason = "handler_panic"
	Idle        Reason = "idle"
	Stalled     Reason = "stalled"
	Failed      Reason = "handler_error"
)

// Options are what a Server needs. Env, Logger, Routes and Listeners are required;
// zero values elsewhere take the defaults that Kafka has or those stated.
type Options struct {
	Env       env.Env
	Logger    *slog.Logger
	Routes    []route.Route
	Listeners []Listener
	Meter     Meter           // nil counts nothing
	Gate      <-chan struct{} // connections wait in the backlog until it is closed; nil is open

	MaxRequestBytes         int           // socket.request.max.bytes
	MaxUnauthenticatedBytes int           // of a frame before authentication; 64 KiB
	MaxIdle                 time.Duration // connections.max.idle.ms
	MaxConnections          int           // max.connections; 0 is unlimited
	MaxConnectionsPerIP     int           // max.connections.per.ip; 0 is unlimited
	SendBuffer              int           // socket.send.buffer.bytes, in the kernel; 0 leaves it to the kernel
	ReceiveBuffer           int           // socket.receive.buffer.bytes, as SendBuffer
	MaxOwed                 int           // answers a connection may be owed before it is read on; 128
	MaxOwedBytes            int           // of the requests that are owed an answer; 16 MiB
	StopGrace               time.Duration // for started requests when the server stops; 2 s
}

func (o *Options) defaults() {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&o.MaxRequestBytes, 100<<20)
	set(&o.MaxUnauthenticatedBytes, 64<<10)
	set(&o.MaxOwed, 128)
	set(&o.MaxOwedBytes, 16<<20)
	if o.MaxIdle == 0 {
		o.MaxIdle = 10 * time.Minute
	}
	if o.StopGrace == 0 {
		o.StopGrace = 2 * time.Second
	}
	if o.Meter == nil {
		o.Meter = noMeter{}
	}
}

// Server serves one broker's listeners.
type Server struct {
	o       Options
	routes  []*route.Route // by key
	buffers wire.Buffers
	slots   sync.Pool // *slot
	outs    sync.Pool // *wire.Out
	warn    warnings
	lastID  atomic.Uint64
	ready   chan struct{}
	began   time.Time
	sockets env.Sockets // of connections that sleep; nil where none can

	mu     sync.Mutex
	addrs  map[string]net.Addr
	conns  map[uint64]*conn // by id
	perIP  map[string]*address
	asleep sleepers
}

// address is where clients are; their sessions share its text.
type address struct {
	host  string
	conns int
}

// New returns a server that has not started. Routes must have distinct keys.
func New(o Options) *Server {
	o.defaults()
	s := &Server{
		o: o, ready: make(chan struct{}), began: o.Env.Clock.Now(), addrs: map[string]net.Addr{},
		conns: map[uint64]*conn{}, perIP: map[string]*address{},
	}
	s.warn = warnings{clock: o.Env.Clock}
	for i := range o.Routes {
		r := &o.Routes[i]
		for int(r.Key) >= len(s.routes) {
			s.routes = append(s.routes, nil)
		}
		s.routes[r.Key] = r
	}
	return s
}

// Ready is closed once every listener accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addrs returns the addresses that are listened on, by listener name; complete
// once the server is ready.
func (s *Server) Addrs() map[string]net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.addrs)
}

// Run serves until ctx ends, then stops accepting and reading, lets started
// requests finish for at most StopGrace, and closes every connection. It returns
// nil after such a stop, and an error when an address cannot be listened on.
func (s *Server) Run(ctx context.Context) error {
	listeners, err := s.listen(ctx)
	if err != nil {
		return err
	}
	close(s.ready)
	if s.o.Gate != nil {
		select {
		case <-s.o.Gate:
		case <-ctx.Done():
			return closeAll(listeners)
		}
	}
	live, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var conns sync.WaitGroup
	group, accepting := errgroup.WithContext(ctx)
	if s.bed(); s.sockets != nil {
		group.Go(func() error { return s.watch(live, &conns) })
	}
	for i, l := range listeners {
		group.Go(func() error { return s.accept(accepting, live, l, s.o.Listeners[i], &conns) })
	}
	group.Go(func() error {
		<-accepting.Done()
		return errors.Join(closeAll(listeners), s.unwatch())
	})
	err = group.Wait()
	s.stop(&conns)
	return err
}

func (s *Server) listen(ctx context.Context) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, l := range s.o.Listeners {
		listener, err := s.o.Env.Net.Listen(ctx, l.Addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listener %s on %s: %w", l.Name, l.Addr, err), closeAll(listeners))
		}
		listeners = append(listeners, listener)
		s.mu.Lock()
		s.addrs[l.Name] = listener.Addr()
		s.mu.Unlock()
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// accept takes in connections until ctx ends. live is the context of their requests.
func (s *Server) accept(ctx, live context.Context, l net.Listener, from Listener, conns *sync.WaitGroup) error {
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				return nc.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("listener %s: %w", from.Name, err)
		}
		if err != nil { // such as too many open files: it may pass
			if suppressed, ok := s.warn.may(); ok {
				s.o.Logger.Warn("accept failed", slog.String("listener", from.Name), slog.Any("error", err), slog.Int("suppressed", suppressed))
			}
			if !s.pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		c := s.admit(nc, from)
		if c == nil {
			s.o.Meter.Refused(TooMany)
			_ = nc.Close() // nobody was served
			continue
		}
		s.size(nc)
		c.serve(live, conns)
	}
}

// size sets the sizes of a connection's buffers in the kernel. A connection that has none, or refuses
// because it has failed, is taken as it is.
func (s *Server) size(nc net.Conn) {
	c, ok := nc.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	})
	if ok && s.o.SendBuffer > 0 {
		_ = c.SetWriteBuffer(s.o.SendBuffer)
	}
	if ok && s.o.ReceiveBuffer > 0 {
		_ = c.SetReadBuffer(s.o.ReceiveBuffer)
	}
}

// pause waits for d and reports whether ctx is still alive.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	done := make(chan struct{})
	timer := s.o.Env.Clock.AfterFunc(d, func() { close(done) })
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// admit registers a connection, or returns nil where there are too many already.
func (s *Server) admit(nc net.Conn, from Listener) *conn {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		host = nc.RemoteAddr().String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := s.perIP[host]
	if s.o.MaxConnections > 0 && len(s.conns) >= s.o.MaxConnections ||
		s.o.MaxConnectionsPerIP > 0 && ip != nil && ip.conns >= s.o.MaxConnectionsPerIP {
		return nil
	}
	if ip == nil {
		ip = &address{host: strings.Clone(host)}
		s.perIP[ip.host] = ip
	}
	ip.conns++
	c := newConn(s, nc, from, ip.host)
	s.conns[c.session.ConnID] = c
	s.o.Meter.Opened(from.Name)
	return c
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.session.ConnID)
	ip := s.perIP[c.session.ClientAddr]
	if ip.conns--; ip.conns == 0 {
		delete(s.perIP, ip.host)
	}
	s.o.Meter.Closed(c.session.Listener)
}

// stop lets started requests finish, then closes what is left.
func (s *Server) stop(conns *sync.WaitGroup) {
	each := func(f func(*conn)) {
		s.mu.Lock()
		all := make([]*conn, 0, len(s.conns))
		for _, c := range s.conns {
			all = append(all, c)
		}
		s.mu.Unlock()
		for _, c := range all {
			f(c)
		}
	}
	timer := s.o.Env.Clock.AfterFunc(s.o.StopGrace, func() { each(func(c *conn) { c.fail(nil) }) })
	defer timer.Stop()
	each((*conn).drain)
	conns.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep.timer != nil {
		s.asleep.timer.Stop()
	}
}

// needsLogin says that connections of a security protocol must authenticate first.
func needsLogin(protocol string) bool { return strings.HasPrefix(protocol, "SASL_") }

type noMeter struct{}

func (noMeter) Opened(string)                      {}
func (noMeter) Closed(string)                      {}
func (noMeter) Received(int16, int)                {}
func (noMeter) Answered(int16, int, time.Duration) {}
func (noMeter) Refused(Reason)                     {}

// warnings lets at most one line a second be logged, so that a hostile client
// cannot fill the disk.
type warnings struct {
	clock      env.Clock
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

// may says whether a line may be logged now, and how many were held back since the last.
func (w *warnings) may() (suppressed int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	if !w.last.IsZero() && now.Sub(w.last) < time.Second {
		w.suppressed++
		return 0, false
	}
	suppressed = w.suppressed
	w.last, w.suppressed = now, 0
	return suppressed, true
}
