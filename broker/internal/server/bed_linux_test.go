package server

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/internal/env"
)

// bedroom is a server on the real network of which a test knows when a connection falls asleep.
type bedroom struct {
	*Server
	*ledger
	t     *testing.T
	clock *handClock
	log   *bytes.Buffer // to be read after the server's end
	kept  chan uint64   // ids, when they begin to sleep
	ended chan error
	end   func() error
}

// rest is the real network, whose sockets tell of themselves and fail as a test wants.
type rest struct {
	env.Network
	kept                        chan uint64
	noSockets, noKeeping, awake error
}

func (r rest) Sockets() (env.Sockets, error) {
	if r.noSockets != nil {
		return nil, r.noSockets
	}
	sockets, err := env.RealNetwork().(env.SocketKeeper).Sockets()
	return &restSockets{sockets, r}, err
}

type restSockets struct {
	env.Sockets
	rest rest
}

func (r *restSockets) Keep(conn env.Socket, id uint64) (int, error) {
	if r.rest.noKeeping != nil {
		r.rest.kept <- id
		return 0, r.rest.noKeeping
	}
	fd, err := r.Sockets.Keep(conn, id)
	if err == nil {
		r.rest.kept <- id
	}
	return fd, err
}

func (r *restSockets) Wait(ids []uint64) ([]uint64, error) {
	if r.rest.awake != nil {
		return nil, r.rest.awake
	}
	return r.Sockets.Wait(ids)
}

// ledger is a meter that keeps what it is told.
type ledger struct {
	noMeter
	closed  chan string
	refused chan Reason
}

func (l *ledger) Closed(listener string) { l.closed <- listener }
func (l *ledger) Refused(reason Reason)  { l.refused <- reason }

// handClock is the real time, and what a test adds to it. Its timers run when the test says.
type handClock struct {
	mu     sync.Mutex
	added  time.Duration
	hurry  time.Duration // added with every look
	timers []*handTimer
}

type handTimer struct {
	clock *handClock
	at    time.Time
	f     func()
	armed bool
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added += c.hurry
	return time.Now().Add(c.added)
}

func (c *handClock) AfterFunc(d time.Duration, f func()) env.Timer {
	t := &handTimer{clock: c, f: f}
	t.Reset(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers = append(c.timers, t)
	return t
}

func (t *handTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.armed
	t.armed = false
	return was
}

func (t *handTimer) Reset(d time.Duration) bool {
	at := t.clock.Now().Add(d)
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.armed
	t.at, t.armed = at, true
	return was
}

// pass lets time pass, and returns when the timers that are due have run.
func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	c.added += d
	now := time.Now().Add(c.added)
	var due []func()
	for _, t := range c.timers {
		if t.armed && !t.at.After(now) {
			t.armed = false
			due = append(due, t.f)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// makeBed starts a server whose network fails as r says.
func makeBed(t *testing.T, o Options, r rest) *bedroom {
	t.Helper()
	heart, _ := heartbeat()
	b := &bedroom{
		t: t, clock: &handClock{}, log: new(bytes.Buffer), kept: make(chan uint64, 1_000_000),
		ledger: &ledger{closed: make(chan string, 1_000_000), refused: make(chan Reason, 10_000)},
	}
	r.Network, r.kept = env.RealNetwork(), b.kept
	o.Env, o.Meter, o.Logger = env.Env{Clock: b.clock, Net: r}, b.ledger, slog.New(slog.NewTextHandler(b.log, nil))
	o.Listeners = []Listener{{Name: "PLAINTEXT", Addr: "127.0.0.1:0", Protocol: "PLAINTEXT"}}
	if o.Routes == nil {
		o.Routes = []route.Route{heart}
	}
	b.Server = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	b.ended = make(chan error, 1)
	go func() {
		b.ended <- b.Run(ctx)
		close(b.ended)
	}()
	b.end = sync.OnceValue(func() error { cancel(); return <-b.ended })
	t.Cleanup(func() { _ = b.end() })
	<-b.Ready()
	return b
}

func (b *bedroom) dial() net.Conn {
	b.t.Helper()
	c, err := new(net.Dialer).DialContext(b.t.Context(), "tcp", b.Addrs()["PLAINTEXT"].String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask makes a request, writing it in pieces, and checks that it is answered.
func (b *bedroom) ask(c net.Conn, correlation int32, piece int) {
	b.t.Helper()
	for request := frame(correlation, "now"); len(request) > 0; {
		n := min(piece, len(request))
		if _, err := c.Write(request[:n]); err != nil {
			b.t.Fatal(err)
		}
		request = request[n:]
	}
	if got := answer(b.t, c); got != correlation {
		b.t.Fatalf("got the answer to %d, want %d", got, correlation)
	}
}

// sleeper returns a connection that sleeps, and its end at the server.
func (b *bedroom) sleeper() (net.Conn, *conn) {
	b.t.Helper()
	c := b.dial()
	b.ask(c, 1, 1<<10)
	return c, b.find(<-b.kept)
}

func (b *bedroom) find(id uint64) *conn {
	b.mu.Lock()
	c := b.conns[id]
	b.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awake != nil {
		b.t.Fatal("the connection does not sleep")
	}
	return c
}

// forgotten checks that no connection is known, once so many were closed.
func (b *bedroom) forgotten(closed int) {
	b.t.Helper()
	for range closed {
		<-b.closed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.conns) != 0 || len(b.perIP) != 0 || b.asleep.first != nil || b.asleep.last != nil {
		b.t.Errorf("%d connections of %d addresses are left", len(b.conns), len(b.perIP))
	}
}

// kick ends all connections of a client, whether they sleep or not.
func (b *bedroom) kick(client string) {
	b.mu.Lock()
	conns := slices.Collect(maps.Values(b.conns))
	b.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		if c.session.ClientID == client {
			c.failLocked(nil)
		}
		c.mu.Unlock()
	}
}
