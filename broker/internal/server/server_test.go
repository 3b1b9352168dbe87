package server

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
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
