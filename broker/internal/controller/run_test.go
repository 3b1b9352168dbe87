package controller

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

func TestX(t *testing.T) {
	e := env.Real()
	fs := env.NewMemFS()
	e.FS = fs
	fs.MkdirAll("/d/__cluster_metadata-0", 0o755)
	dir := &commitlog.Dir{}
	for range 3 {
		c := New(Options{Env: e, Dir: dir, Path: "/d", NodeID: 1, ClusterID: "c", Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
			Register:  func(context.Context) (metadata.Broker, error) { return metadata.Broker{}, nil },
			Reconcile: func(ctx context.Context, from, to *metadata.Image) error { t.Log("reconcile", to.Version()); return nil }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		start := e.Clock.Now()
		go func() { done <- c.Run(ctx) }()
		select {
		case <-c.Ready():
		case err := <-done:
			t.Fatal(err)
		}
		t.Log(e.Clock.Now().Sub(start))
		for i := range 3 {
			r, err := c.Propose(ctx, metadata.CreateTopics{Topics: []metadata.NewTopic{{Name: string(rune('a' + i)), ID: metadata.ID{byte(i + 1)}, Assignments: [][]int32{{1}}}}})
			t.Log(r, err, c.Image().Version(), e.Clock.Now().Sub(start))
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}
