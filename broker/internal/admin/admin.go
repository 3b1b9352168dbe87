// Package admin is the HTTP listener for operators: /metrics for Prometheus,
// /healthz while the process works, /readyz once it serves.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// Options are what the listener needs.
type Options struct {
	Net     env.Network
	Addr    string // host:port
	Metrics http.Handler
	Ready   <-chan struct{}
	Failed  func() error // why the node is not healthy, or nil
}

// Listener serves operators.
type Listener struct {
	o      Options
	listen net.Listener
}

// New returns a listener that Listen opens.
func New(o Options) *Listener { return &Listener{o: o} }

// Listen opens the port, so that a port in use is known before anything else starts.
func (l *Listener) Listen(ctx context.Context) error {
	listener, err := l.o.Net.Listen(ctx, l.o.Addr)
	if err != nil {
		return fmt.Errorf("weir.admin.listener=%s: %w; choose another port, or an empty one to turn it off", l.o.Addr, err)
	}
	l.listen = listener
	return nil
}

// Addr returns where the listener is.
func (l *Listener) Addr() net.Addr { return l.listen.Addr() }

// Run serves until ctx ends. Listen must have succeeded.
func (l *Listener) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", l.o.Metrics)
	mux.HandleFunc("GET /healthz", l.healthz)
	mux.HandleFunc("GET /readyz", l.readyz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l.listen); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

func (l *Listener) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := l.o.Failed(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (l *Listener) readyz(w http.ResponseWriter, r *http.Request) {
	select {
	case <-l.o.Ready:
		l.healthz(w, r)
	default:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	}
}

// Close frees the port of a listener that Run never served.
func (l *Listener) Close() error { return l.listen.Close() }
