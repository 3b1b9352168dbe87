package app

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/client"
	"github.com/weirstream/weir/streams/internal/runtime"
)

// openGlobals opens the database of the global tables; both are nil if there
// are none.
func (a *App) openGlobals(h *home) (*runtime.GlobalTables, statestore.DB, error) {
	g := a.topology.Graph()
	if len(g.Globals()) == 0 {
		return nil, nil, nil
	}
	db, err := h.openGlobal()
	if err != nil {
		return nil, nil, fmt.Errorf("open global tables: %w", err)
	}
	return runtime.NewGlobalTables(g, db), db, nil
}

// follow keeps the global tables current on a goroutine of g. The channel is
// closed once they hold all that their topics had when the app began.
func (a *App) follow(ctx context.Context, g *errgroup.Group, admin *client.Admin, tables *runtime.GlobalTables, setup *runtime.Setup) <-chan struct{} {
	full := make(chan struct{})
	if tables == nil {
		close(full)
		return full
	}
	o := client.Options{
		Brokers: a.config.Brokers, ClientID: a.config.ApplicationID + "-global", Logger: a.log, Extra: a.config.ClientOptions,
	}
	if a.config.Guarantee == ExactlyOnceV2 {
		o.TransactionalID = o.ClientID // so it reads what is committed
	}
	f := client.NewFollower(o, admin)
	ready := func() {
		select {
		case <-full:
		default:
			close(full)
		}
	}
	g.Go(func() error {
		defer f.Close()
		return tables.Follow(ctx, f, setup, a.log, ready)
	})
	return full
}
