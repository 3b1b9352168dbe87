package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"time"
)

//go:embed assets
var assets embed.FS

// snapshot is what the page and the terminal show: the totals of the newest
// windows and the pages with the most views in the newest of them.
type snapshot struct {
	Windows []outputLine `json:"windows"`
	Top     []outputLine `json:"top"`
}

// shownWindows and shownPages bound a snapshot.
const (
	shownWindows = 60
	shownPages   = 15
)

func (t *tally) snapshot() snapshot {
	s := snapshot{Windows: []outputLine{}, Top: []outputLine{}}
	rows := t.sorted()
	for _, r := range rows {
		if r.page == total {
			s.Windows = append(s.Windows, newOutputLine(r, t.get(r)))
		}
	}
	s.Windows = s.Windows[max(0, len(s.Windows)-shownWindows):]
	if len(s.Windows) == 0 {
		return s
	}
	newest := s.Windows[len(s.Windows)-1].Window
	for _, r := range rows {
		if l := newOutputLine(r, t.get(r)); r.page != total && l.Window == newest {
			s.Top = append(s.Top, l)
		}
	}
	slices.SortStableFunc(s.Top, func(a, b outputLine) int { return int(b.PV - a.PV) })
	s.Top = s.Top[:min(len(s.Top), shownPages)]
	return s
}

// web serves the page with charts until ctx ends; it says where on ready.
func (t *tally) web(ctx context.Context, addr string, ready func(url string)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("-http %s: %w; choose another address, or -http off", addr, err)
	}
	static, err := fs.Sub(assets, "assets")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(static))
	mux.HandleFunc("GET /snapshot", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(t.snapshot())
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { t.events(ctx, w, r) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	ready("http://" + listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// events sends a snapshot every second (Server-Sent Events).
func (t *tally) events(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	flusher, ok := w.(http.Flusher)
	if !ok {
		http.Error(w, "streaming is not possible here", http.StatusNotImplemented)
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		text, err := json.Marshal(t.snapshot())
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil {
			return
		}
		flusher.Flush()
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
