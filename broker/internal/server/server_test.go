package server

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/internal/env"
)

// start runs a server inside a synctest bubble and returns how to connect to it.
func start(t *testing.T, o Options) (s *Server, dial func() net.Conn) {
	t.Helper()
	o.Env = env.Env{Clock: env.Real().Clock, Net: env.NewMemNetwork()}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Listeners = []Listener{{Name: "PLAINTEXT", Addr: "broker:9092", Protocol: "PLAINTEXT"}}
	s = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, func() net.Conn {
		c, err := o.Env.Net.Dial(t.Context(), "broker:9092")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

// frame is a Heartbeat request, whose group says what the handler is to do.
func frame(correlation int32, group string) []byte {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group = 4, group
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, correlation)
}

// answer reads one response and returns its correlation id, or -1 at the end.
func answer(t *testing.T, c net.Conn) int32 {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return -1
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatalf("cut off answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(body))
}

// heartbeat is a route whose requests named "later" wait in the returned channel.
func heartbeat() (route.Route, chan *route.Pending) {
	later := make(chan *route.Pending, 1000)
	return route.New(0, 4, func(_ context.Context, _ *route.Session, req *kmsg.HeartbeatRequest, _ *kmsg.HeartbeatResponse) *route.Pending {
		switch req.Group {
		case "later":
			p := route.NewPending()
			later <- p
			return p
		case "panic":
			panic("bug: asked for")
		}
		return nil
	}), later
}

func TestAnswersLeaveInTheOrderOfTheRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, later := heartbeat()
		_, dial := start(t, Options{Routes: []route.Route{r}})
		c := dial()
		for i, group := range []string{"now", "later", "now", "later", "now"} {
			if _, err := c.Write(frame(int32(i), group)); err != nil {
				t.Fatal(err)
			}
		}
		if got := answer(t, c); got != 0 {
			t.Fatalf("first answer is to %d", got)
		}
		first, second := <-later, <-later
		second.Complete()
		synctest.Wait()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if got := answer(t, c); got != -1 {
			t.Fatalf("answer to %d overtook the one that is owed", got)
		}
		_ = c.SetReadDeadline(time.Time{})
		first.Complete()
		for want := int32(1); want < 5; want++ {
			if got := answer(t, c); got != want {
				t.Fatalf("got the answer to %d, want %d", got, want)
			}
		}
	})
}

func TestAPanicClosesItsConnectionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := heartbeat()
		_, dial := start(t, Options{Routes: []route.Route{r}})
		bad, good := dial(), dial()
		_, _ = bad.Write(frame(1, "panic"))
		if got := answer(t, bad); got != -1 {
			t.Errorf("a panicking handler answered %d", got)
		}
		_, _ = good.Write(frame(2, "now"))
		if got := answer(t, good); got != 2 {
			t.Errorf("the other connection got %d", got)
		}
	})
}

func TestHostileBytesCloseOneConnection(t *testing.T) {
	unknown := frame(1, "now")
	unknown[4], unknown[5] = 0x7f, 0
	negative := frame(1, "now")
	negative[4] = 0xff
	tooNew := frame(1, "now")
	tooNew[7] = 9
	cut := frame(1, "now")
	cut = cut[:len(cut)-1]
	cut[3]--
	for name, bytes := range map[string][]byte{
		"oversized frame":  {0x7f, 0xff, 0xff, 0xff},
		"negative frame":   {0xff, 0xff, 0xff, 0xff},
		"empty frame":      {0, 0, 0, 0},
		"frame of 3 bytes": {0, 0, 0, 3, 1, 2, 3},
		"unknown key":      unknown,
		"negative key":     negative,
		"unknown version":  tooNew,
		"cut body":         cut,
		"a TLS hello":      {0x16, 0x03, 0x01, 0x02, 0x00, 0x01},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := heartbeat()
				_, dial := start(t, Options{Routes: []route.Route{r}})
				good, bad := dial(), dial()
				_, _ = good.Write(frame(1, "now"))
				_, _ = bad.Write(frame(7, "now"))
				_, _ = bad.Write(bytes)
				if got := answer(t, bad); got != 7 && got != -1 {
					t.Errorf("got an answer to %d", got)
				}
				if got := answer(t, bad); got != -1 {
					t.Errorf("the connection lives on")
				}
				_, _ = good.Write(frame(2, "now"))
				if a, b := answer(t, good), answer(t, good); a != 1 || b != 2 {
					t.Errorf("the other connection got %d and %d", a, b)
				}
			})
		})
	}
}

func TestAClientThatNeverReadsBlocksItselfAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := heartbeat()
		s, dial := start(t, Options{Routes: []route.Route{r}, MaxIdle: time.Minute})
		bad, good := dial(), dial()
		flooded := make(chan struct{})
		go func() {
			defer close(flooded)
			for i := int32(0); ; i++ {
				if _, err := bad.Write(frame(i, "now")); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		s.mu.Lock()
		for _, c := range s.conns {
			c.mu.Lock()
			if c.owed > s.o.MaxOwed {
				t.Errorf("%d answers are owed", c.owed)
			}
			c.mu.Unlock()
		}
		s.mu.Unlock()
		_, _ = good.Write(frame(1, "now"))
		if got := answer(t, good); got != 1 {
			t.Errorf("the other connection got %d", got)
		}
		<-flooded // the connection is given up when nothing is read for long
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.conns) > 1 {
			t.Errorf("%d connections are left", len(s.conns))
		}
	})
}

func TestOwedAnswersBoundWhatIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, later := heartbeat()
		_, dial := start(t, Options{Routes: []route.Route{r}, MaxOwed: 3})
		c := dial()
		for i := range int32(10) {
			_, _ = c.Write(frame(i, "later"))
		}
		synctest.Wait()
		if n := len(later); n != 3 {
			t.Fatalf("%d requests were started, want 3", n)
		}
		for i := range int32(10) {
			p := <-later
			synctest.Wait()
			p.Complete()
			if got := answer(t, c); got != i {
				t.Fatalf("got the answer to %d, want %d", got, i)
			}
		}
	})
}

func TestIdleConnectionsAreClosedAndWaitingOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, later := heartbeat()
		_, dial := start(t, Options{Routes: []route.Route{r}, MaxIdle: time.Minute})
		idle, waiting := dial(), dial()
		_, _ = waiting.Write(frame(1, "later"))
		began := time.Now()
		if answer(t, idle) != -1 || time.Since(began) > 2*time.Minute {
			t.Errorf("an idle connection lived for %v", time.Since(began))
		}
		time.Sleep(5 * time.Minute) // in the bubble
		(<-later).Complete()
		if got := answer(t, waiting); got != 1 {
			t.Errorf("a connection that is owed an answer got %d", got)
		}
	})
}

func TestAHalfOpenPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := heartbeat()
		s, dial := start(t, Options{Routes: []route.Route{r}})
		c := dial()
		_, _ = c.Write(frame(1, "now")[:9])
		time.Sleep(30 * time.Second) // in the bubble
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.conns) != 0 {
			t.Error("a connection that stopped in the middle of a frame lives on")
		}
	})
}

func TestConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := heartbeat()
		for _, o := range []Options{{MaxConnections: 2}, {MaxConnectionsPerIP: 2}} {
			o.Routes = []route.Route{r}
			_, dial := start(t, o)
			a, b, c := dial(), dial(), dial()
			if answer(t, c) != -1 {
				t.Error("a third connection was served")
			}
			_ = a.Close()
			synctest.Wait()
			d := dial()
			for _, one := range []net.Conn{b, d} {
				_, _ = one.Write(frame(3, "now"))
				if answer(t, one) != 3 {
					t.Error("a connection within the limit was not served")
				}
			}
		}
	})
}

func TestStopLetsStartedRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, later := heartbeat()
		network := env.NewMemNetwork()
		s := New(Options{
			Env: env.Env{Clock: env.RealClock(), Net: network}, Logger: slog.New(slog.DiscardHandler),
			Routes: []route.Route{r}, Listeners: []Listener{{Name: "PLAINTEXT", Addr: "b:1"}},
		})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- s.Run(ctx) }()
		<-s.Ready()
		idle, _ := network.Dial(t.Context(), "b:1")
		busy, _ := network.Dial(t.Context(), "b:1")
		stuck, _ := network.Dial(t.Context(), "b:1")
		_, _ = busy.Write(frame(1, "later"))
		p := <-later
		_, _ = stuck.Write(frame(1, "later"))
		<-later
		synctest.Wait()
		ended := time.Now()
		cancel()
		if answer(t, idle) != -1 || time.Since(ended) > 0 {
			t.Errorf("an idle connection was closed after %v", time.Since(ended))
		}
		synctest.Wait()
		if _, err := network.Dial(t.Context(), "b:1"); err == nil {
			t.Error("a stopped server accepts")
		}
		_, _ = busy.Write(frame(2, "now"))
		p.Complete()
		if got := answer(t, busy); got != 1 {
			t.Errorf("the started request got %d", got)
		}
		if got := answer(t, busy); got != -1 {
			t.Errorf("a request after the stop got %d", got)
		}
		began := time.Now()
		if err := <-stopped; err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("Run ended with %v after %v", err, time.Since(began))
		}
	})
}

func TestAddressesInUseAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := env.NewMemNetwork()
		l, err := network.Listen(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		s := New(Options{
			Env: env.Env{Clock: env.RealClock(), Net: network}, Logger: slog.New(slog.DiscardHandler),
			Listeners: []Listener{{Name: "FREE", Addr: "b:2"}, {Name: "TAKEN", Addr: "b:1"}},
		})
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "TAKEN on b:1") {
			t.Errorf("Run: %v", err)
		}
		if again, err := network.Listen(t.Context(), "b:2"); err != nil {
			t.Errorf("the free address is still held: %v", err)
		} else {
			_ = again.Close()
		}
		_ = l.Close()
	})
}

func TestRequestsBeforeAuthenticationAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := heartbeat()
		network := env.NewMemNetwork()
		s := New(Options{
			Env: env.Env{Clock: env.RealClock(), Net: network}, Logger: slog.New(slog.DiscardHandler),
			Routes: []route.Route{r}, Listeners: []Listener{{Name: "SASL", Addr: "b:1", Protocol: "SASL_PLAINTEXT"}},
		})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- s.Run(ctx) }()
		<-s.Ready()
		for _, bytes := range [][]byte{frame(1, "now"), {0, 1, 0, 1}} {
			c, err := network.Dial(t.Context(), "b:1")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write(bytes)
			if answer(t, c) != -1 {
				t.Error("answered before authentication")
			}
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}
