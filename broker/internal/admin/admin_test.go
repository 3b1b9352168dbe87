package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/weirstream/weir/broker/internal/admin"
)

type network struct{}

func (network) Listen(ctx context.Context, addr string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
}

func (network) Dial(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }

func TestEndpointsFollowTheNode(t *testing.T) {
	ready := make(chan struct{})
	var failed error
	l := admin.New(admin.Options{
		Net: network{}, Addr: "127.0.0.1:0", Ready: ready, Failed: func() error { return failed },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
	})
	if err := l.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	expect := func(path string, status int, body string) {
		t.Helper()
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(text), body) {
			t.Errorf("%s: %d %q %v, want %d %q", path, resp.StatusCode, text, err, status, body)
		}
	}
	expect("/readyz", 503, "starting")
	expect("/healthz", 200, "ok")
	expect("/metrics", 200, "up 1")
	close(ready)
	expect("/readyz", 200, "ok")
	failed = errors.New("the log directory is offline")
	expect("/readyz", 503, "offline")
	other := admin.New(admin.Options{Net: network{}, Addr: l.Addr().String()})
	if err := other.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("a port in use: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
