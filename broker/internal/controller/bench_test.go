package controller

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

// BenchmarkStart is one life on a real disk: open the directory, lead, register,
// put 100 topics in force.
func BenchmarkStart(b *testing.B) {
	path := b.TempDir()
	for i := 0; b.Loop(); i++ {
		dir, err := commitlog.OpenDir(env.Real(), path, commitlog.DirOptions{ClusterID: "disk", NodeID: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		c := New(Options{
			Env: env.Real(), Dir: dir, NodeID: 1, ClusterID: "cluster", Logger: slog.New(slog.DiscardHandler),
			Register:  func(context.Context) (metadata.Broker, error) { return metadata.Broker{}, nil },
			Reconcile: func(context.Context, *metadata.Image, *metadata.Image) error { return nil },
		})
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 2)
		go func() { ended <- c.Run(ctx) }()
		<-c.Ready()
		b.StopTimer()
		if i == 0 {
			for n := range 100 {
				if _, err := c.Propose(ctx, topicNamed(fmt.Sprint("t", n), 10)); err != nil {
					b.Fatal(err)
				}
			}
		}
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		if err := dir.Run(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
