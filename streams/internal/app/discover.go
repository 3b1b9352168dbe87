package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/weirstream/weir/streams/internal/client"
	"github.com/weirstream/weir/streams/internal/runtime"
)

func (a *App) setupOptions() runtime.SetupOptions {
	return runtime.SetupOptions{
		Replication: a.config.Replication, Repartition: a.config.RepartitionConfig, Changelog: a.config.ChangelogConfig,
		DeadLetters: a.errorPolicy().DeadLetters,
	}
}

// discover looks now and then, and when another instance has news, which topics the
// patterns match, and lets the workers go on with those. Topics that do not fit the
// topology end the app.
func (a *App) discover(ctx context.Context, admin *client.Admin, workers []*runtime.Worker) error {
	tick := time.NewTicker(a.config.MetadataMaxAge)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-a.noticed:
		}
		a.mu.Lock()
		old := a.setup
		a.mu.Unlock()
		setup, err := old.Renew(ctx, admin, a.config.ApplicationID, a.topology.Graph(), a.setupOptions())
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, runtime.ErrRetry):
			a.log.Warn("cannot tell which topics there are", slog.Any("error", err))
			continue
		case err != nil:
			return err
		case setup == old:
			continue
		}
		a.log.Info("patterns match other topics", slog.Any("topics", setup.Topics))
		a.mu.Lock()
		a.setup = setup
		a.mu.Unlock()
		for _, w := range workers {
			w.Adopt(setup)
		}
	}
}
