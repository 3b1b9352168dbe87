package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/internal/client"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
)

// State is how far an app is.
type State int

// The states of an app. Rebalancing and Running alternate.
const (
	Created     State = iota
	Rebalancing       // joins its group, opens or restores tasks
	Running           // every task that the app was given runs
	Stopping
	Stopped
	Failed
)

// String returns the name of the state.
func (s State) String() string {
	switch s {
	case Created:
		return "created"
	case Rebalancing:
		return "rebalancing"
	case Running:
		return "running"
	case Stopping:
		return "stopping"
	case Stopped:
		return "stopped"
	case Failed:
		return "failed"
	default:
		return "state(" + strconv.Itoa(int(s)) + ")"
	}
}

// ErrNotRunning means that a question about tasks or offsets came before the
// app knew its topics.
var ErrNotRunning = errors.New("the app is not running")

// App runs a topology on a Kafka cluster. Its methods may be called from any
// goroutine; Run is called once.
type App struct {
	topology runtime.Program
	config   Config
	log      *slog.Logger
	ready    chan struct{}
	changed  chan struct{} // capacity 1: something about a worker changed
	noticed  chan struct{} // capacity 1: other instances read more topics

	turn    sync.Mutex // changes of the state come one after another
	mu      sync.Mutex
	state   State
	running time.Time // since when it is Running
	setup   *runtime.Setup
	admin   *client.Admin
	workers []*runtime.Worker
}

// New checks the configuration. It does not connect and touches no file.
func New(topology runtime.Program, cfg Config) (*App, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &App{
		topology: topology, config: cfg, log: cfg.Logger.With(slog.String("application", cfg.ApplicationID)),
		ready: make(chan struct{}), changed: make(chan struct{}, 1), noticed: make(chan struct{}, 1),
	}, nil
}

// Run creates the internal topics, joins the group and processes until ctx
// ends; then it commits, closes the tasks and returns nil. A missing source
// topic, internal topics that do not fit, a state directory in use, and a
// record that fails are errors. The brokers may be away, for however long,
// once the app has begun.
func (a *App) Run(ctx context.Context) error {
	if err := a.begin(); err != nil {
		return err
	}
	err := a.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	if err != nil {
		a.to(Failed)
		return fmt.Errorf("streams app %s: %w", a.config.ApplicationID, err)
	}
	a.to(Stopped)
	return nil
}

func (a *App) begin() error {
	a.mu.Lock()
	fresh := a.state == Created
	a.mu.Unlock()
	if !fresh {
		return errors.New("the app ran before: make a new one")
	}
	a.to(Rebalancing)
	return nil
}

func (a *App) run(ctx context.Context) (err error) {
	h, err := a.openHome()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	admin, err := client.NewAdmin(ctx, a.config.Brokers, a.config.ApplicationID, a.config.ApplicationID+"-admin", a.log, a.config.ClientOptions...)
	if err != nil {
		return err
	}
	defer admin.Close()
	setup, err := runtime.Prepare(ctx, admin, a.config.ApplicationID, a.topology.Graph(), a.setupOptions())
	if err != nil {
		return err
	}
	holdings, err := a.holdings(h, setup)
	if err != nil {
		return err
	}
	defer a.cleaning(ctx, h, holdings)()
	globals, db, err := a.openGlobals(h)
	if err != nil {
		return err
	}
	if db != nil {
		defer func() { err = errors.Join(err, db.Close()) }()
	}
	workers := make([]*runtime.Worker, a.config.Workers)
	for i := range workers {
		workers[i] = a.worker(i, h, holdings, setup, globals)
	}
	a.mu.Lock()
	a.setup, a.admin, a.workers = setup, admin, workers
	a.mu.Unlock()
	return a.drive(ctx, workers, admin, globals, setup)
}

// drive runs the workers, and what goes on beside them.
func (a *App) drive(ctx context.Context, workers []*runtime.Worker, admin *client.Admin, globals *runtime.GlobalTables, setup *runtime.Setup) error {
	g, gctx := errgroup.WithContext(ctx)
	full := a.follow(gctx, g, admin, globals, setup)
	if a.topology.Graph().Patterned() {
		g.Go(func() error { return a.discover(gctx, admin, workers) })
	}
	beside, stop := context.WithCancel(gctx)
	defer stop()
	var side sync.WaitGroup
	side.Go(func() { a.watch(beside) })
	if a.config.PurgeInterval > 0 {
		side.Go(func() { a.purge(beside, admin) })
	}
	for _, w := range workers {
		g.Go(func() error {
			select {
			case <-full:
				return w.Run(gctx)
			case <-gctx.Done():
				return gctx.Err()
			}
		})
	}
	stopping := context.AfterFunc(gctx, func() { a.to(Stopping) })
	err := g.Wait()
	stopping()
	stop()
	side.Wait()
	return err
}

func (a *App) worker(i int, h *home, holdings *runtime.Holdings, setup *runtime.Setup, globals *runtime.GlobalTables) *runtime.Worker {
	c := &a.config
	name := c.ApplicationID + "-" + strconv.Itoa(i)
	instance := h.process + "-" + strconv.Itoa(i)
	transactions := ""
	if c.Guarantee == ExactlyOnceV2 {
		transactions = c.ApplicationID + "-" + instance
	}
	return runtime.NewWorker(runtime.WorkerOptions{
		Index: i, ApplicationID: c.ApplicationID, Program: a.topology, Setup: setup, Databases: h, Globals: globals, Holdings: holdings,
		Dial: func(ctx context.Context, r runtime.Rebalancer, topics []string) (runtime.Log, error) {
			return client.Dial(ctx, client.Options{
				Brokers: c.Brokers, Group: c.ApplicationID, ClientID: name,
				Instance: instance, Process: h.process, Layout: setup.Layout, Topics: topics, Noticed: func() { poke(a.noticed) },
				Assign: assign.Options{Standbys: c.Standbys, AcceptableLag: c.AcceptableLag, Warmups: c.Warmups}, Changelogs: setup.Changelogs, ResetToEnd: c.ResetToEnd,
				SessionTimeout: c.SessionTimeout, Logger: a.log, Extra: c.ClientOptions,
				TransactionalID: transactions, TransactionTimeout: c.TransactionTimeout,
			}, r)
		},
		CommitInterval: c.CommitInterval, CacheBytes: max(1, c.CacheBytes/c.Workers), RestoreBytes: c.RestoreBytes / c.Workers,
		Buffered: c.Buffered, PollRecords: pollRecords, StopTimeout: c.StopTimeout,
		ResetToEnd: c.ResetToEnd, Leave: c.LeaveOnStop, AcceptableLag: c.AcceptableLag, ProbingInterval: c.ProbingInterval,
		ErrorPolicy: a.errorPolicy(), OnRestore: c.OnRestore, OnStandby: c.OnStandby, OnChange: func() { poke(a.changed) }, Logger: a.log,
	})
}

// holdings reads how far the state of each task is that the folder has. What
// cannot be read counts as none until a task opens it, and stays.
func (a *App) holdings(h *home, setup *runtime.Setup) (*runtime.Holdings, error) {
	stored, err := h.stored()
	if err != nil {
		return nil, err
	}
	holdings := runtime.NewHoldings()
	for _, id := range stored {
		if err := holdings.Read(id, h, setup); err != nil {
			a.log.Warn("cannot tell how far state is", slog.Any("error", err))
		}
	}
	return holdings, nil
}

// errorPolicy is what happens to records that fail.
func (a *App) errorPolicy() runtime.ErrorPolicy {
	c := &a.config
	if c.OnError == nil {
		return runtime.ErrorPolicy{}
	}
	return runtime.ErrorPolicy{OnError: c.OnError, Retries: c.Retries, Backoff: c.RetryBackoff, DeadLetters: c.DeadLetterTopic}
}

// pollRecords is how many records one poll of a worker takes: enough to make
// its cost small beside theirs.
const pollRecords = 8192

// poke lets whoever waits on a channel look again.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch follows the workers and derives the state of the app.
func (a *App) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		}
		if tasks, all := a.status(); all {
			a.log.Info("app runs", slog.Int("tasks", len(tasks)))
			a.to(Running)
		} else {
			a.to(Rebalancing)
		}
	}
}

func (a *App) status() (tasks []TaskStatus, ready bool) {
	a.mu.Lock()
	workers := a.workers
	a.mu.Unlock()
	ready = len(workers) > 0
	for _, w := range workers {
		t, ok := w.Status()
		tasks = append(tasks, t...)
		ready = ready && ok
	}
	return tasks, ready
}

// to changes the state. An app that stops does not run again.
func (a *App) to(now State) {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.mu.Lock()
	old := a.state
	same := old == now || old >= Stopping && now < old
	if !same {
		a.state = now
		if now == Running {
			a.running = time.Now()
		}
	}
	a.mu.Unlock()
	if same {
		return
	}
	a.log.Info("state changes", slog.String("from", old.String()), slog.String("to", now.String()))
	if now == Running {
		select {
		case <-a.ready:
		default:
			close(a.ready)
		}
	}
	if a.config.OnState != nil {
		a.config.OnState(old, now)
	}
}

// purge deletes what was processed from repartition topics.
func (a *App) purge(ctx context.Context, admin *client.Admin) {
	tick := time.NewTicker(a.config.PurgeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		workers := a.workers
		a.mu.Unlock()
		before := map[runtime.TP]int64{}
		for _, w := range workers {
			maps.Copy(before, w.Purgeable())
		}
		if len(before) == 0 {
			continue
		}
		if err := admin.DeleteRecords(ctx, before); err != nil && ctx.Err() == nil {
			a.log.Warn("purge of repartition topics failed", slog.Any("error", err))
		}
	}
}

// State returns the state of the app.
func (a *App) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Ready is closed when the app is Running for the first time.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Tasks returns the tasks that the app has at the moment.
func (a *App) Tasks() []TaskStatus {
	tasks, _ := a.status()
	return tasks
}

func (a *App) parts() (*runtime.Setup, *client.Admin, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.setup == nil || a.state >= Stopping {
		return nil, nil, ErrNotRunning
	}
	return a.setup, a.admin, nil
}

// Drained reports whether the application, all its instances together, has
// processed and committed everything: no record lies between the committed
// offset and the end of any source or repartition partition. It asks the
// brokers, so rebalances do not disturb it. Results wait in caches until a
// commit, so after true they are in the output topics. It is false before the
// app has found its topics, and while the brokers cannot tell.
func (a *App) Drained(ctx context.Context) (bool, error) {
	setup, admin, err := a.parts()
	if errors.Is(err, ErrNotRunning) && a.State() < Stopping {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	done, err := drained(ctx, admin, setup.Work)
	if errors.Is(err, runtime.ErrRetry) {
		a.log.Debug("cannot tell whether all is drained", slog.Any("error", err))
		return false, nil
	}
	return done, err
}

// TopicPartition names one partition.
type TopicPartition = runtime.TP

// Lag returns how far the commits of the application are behind the end of each
// partition that it reads.
func (a *App) Lag(ctx context.Context) (map[TopicPartition]int64, error) {
	setup, admin, err := a.parts()
	if err != nil {
		return nil, err
	}
	return lag(ctx, admin, setup.Work)
}

// Query calls f for every running task of this app that has the store, one
// after another, and each between two records of its task: open the store with
// [StoreRef.Open], read, and return soon. Changes that are not committed yet
// show. An error of f ends the query. If another task with the store does not run
// yet, or the app has only standbys of those that have it, the query ends with a
// [*NotReadyError] after those that do. Package query reads stores by key and
// range with it.
func (a *App) Query(store string, f func(id processor.TaskID, s processor.Stores) error) error {
	return a.query(store, false, f)
}

// Stale is an app whose queries read standbys too.
type Stale struct{ app *App }

// Stale returns the app as one to query with the standbys that it keeps: they show
// what is committed, and lag behind. For package query.
func (a *App) Stale() Stale { return Stale{a} }

// Query is [App.Query], of standbys too.
func (s Stale) Query(store string, f func(id processor.TaskID, s processor.Stores) error) error {
	return s.app.query(store, true, f)
}

func (a *App) query(store string, stale bool, f func(id processor.TaskID, s processor.Stores) error) error {
	a.mu.Lock()
	workers := a.workers
	a.mu.Unlock()
	var missing, standby error
	asked := false
	for _, w := range workers {
		err := w.Query(store, stale, func(id processor.TaskID, s processor.Stores) error {
			asked = true
			return f(id, s)
		})
		early := (*NotReadyError)(nil)
		switch {
		case errors.As(err, &early) && early.Standby:
			standby = err
		case errors.As(err, &early):
			missing = err
		case err != nil:
			return err
		}
	}
	if missing == nil && !asked {
		return standby
	}
	return missing
}
