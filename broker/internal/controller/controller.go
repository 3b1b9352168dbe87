// Package controller keeps the metadata of the cluster with hashicorp/raft: it
// proposes commands, applies what is committed, has the change put in force on
// this node and publishes the image. Raft's log is a commitlog of its own,
// __cluster_metadata-0; offset is index minus one, the epoch of a batch is the
// term. This node is the only voter; the transport is the seam for more.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

// maxCommandBytes bounds one entry of the log.
const maxCommandBytes = 8 << 20

// ErrStopped is returned by Propose when the controller ended. The outcome of a
// command that was under way is unknown.
var ErrStopped = errors.New("the controller has stopped")

// PartitionError says that one partition could not be opened or led. Reconcile
// returns it, alone or joined with others; the partition is then published
// without a leader and the rest of the node serves.
type PartitionError struct {
	Topic     string
	Partition int32
	Err       error
}

// Error names the partition and the cause.
func (e *PartitionError) Error() string {
	return fmt.Sprintf("partition %s-%d: %v", e.Topic, e.Partition, e.Err)
}

// Unwrap returns the cause.
func (e *PartitionError) Unwrap() error { return e.Err }

// Options are what a controller needs. All fields but SnapshotEntries are needed.
type Options struct {
	Env       env.Env
	Dir       *commitlog.Dir // where the metadata log lives; its Run must be running
	NodeID    int32
	ClusterID string // names a cluster that has no name yet; must be the name of one that has
	Logger    *slog.Logger
	// Register returns this node's registration. It is called once the node leads,
	// and may wait until the addresses of the listeners are known.
	Register func(ctx context.Context) (metadata.Broker, error)
	// Reconcile puts an image in force: when it returns, every partition the image
	// has this node lead serves. It is called from one goroutine, once at the start
	// with from nil, then after every batch of changes. What it could not open it
	// returns as *PartitionError, joined; any other error ends the controller.
	Reconcile func(ctx context.Context, from, to *metadata.Image) error
	// SnapshotEntries is how many entries may follow a snapshot before the next is
	// taken, 1,000 if zero.
	SnapshotEntries int
}

// Controller is the metadata of one node. Its methods may be called from any
// goroutine.
type Controller struct {
	o         Options
	published atomic.Pointer[metadata.Image]
	node      *raft.Raft // set before ready is closed
	ready     chan struct{}
	stopped   chan struct{}
	snapshot  chan struct{} // a snapshot is due
	entries   atomic.Int64  // applied since the last snapshot
	bytes     atomic.Int64

	mu       sync.Mutex
	draining bool           // no proposal begins any more
	inflight sync.WaitGroup // proposals that raft has to answer
}

// New returns a controller that Run starts.
func New(o Options) *Controller {
	if o.SnapshotEntries == 0 {
		o.SnapshotEntries = 1000
	}
	c := &Controller{o: o, ready: make(chan struct{}), stopped: make(chan struct{}), snapshot: make(chan struct{}, 1)}
	c.published.Store(metadata.Empty())
	return c
}

// Ready is closed once this node is registered and everything it leads serves.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// Image returns the metadata in force; before Ready it is empty.
func (c *Controller) Image() *metadata.Image { return c.published.Load() }

// Propose commits a command and waits until the change is in force and Image
// shows it. It waits for Ready first. The error says that the command was not
// taken or its outcome is not known; what the command itself was refused for
// stands in the result.
func (c *Controller) Propose(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	select {
	case <-c.ready:
	case <-c.stopped:
		return metadata.Result{}, ErrStopped
	case <-ctx.Done():
		return metadata.Result{}, timedOut(ctx)
	}
	return c.submit(ctx, c.node, cmd)
}

// outcome is what became of a proposal.
type outcome struct {
	result metadata.Result
	err    error
}

// submit hands one command to raft and waits for it in a goroutine of its own, as
// raft's futures know no context.
func (c *Controller) submit(ctx context.Context, node *raft.Raft, cmd metadata.Command) (metadata.Result, error) {
	entry, err := metadata.Encode(cmd)
	if err != nil {
		return metadata.Result{}, err
	}
	if len(entry) > maxCommandBytes {
		return metadata.Result{}, metadata.Refuse(kerr.PolicyViolation,
			"the change takes %d bytes of metadata, at most %d are allowed; split it", len(entry), maxCommandBytes)
	}
	if !c.enter() {
		return metadata.Result{}, ErrStopped
	}
	done := make(chan outcome, 1)
	go func() {
		defer c.inflight.Done()
		done <- await(node.Apply(entry, 0))
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return metadata.Result{}, timedOut(ctx)
	}
}

func await(f raft.ApplyFuture) outcome {
	if err := f.Error(); err != nil {
		return outcome{err: proposalError(err)}
	}
	r, ok := f.Response().(metadata.Result)
	if !ok {
		return outcome{err: ErrStopped}
	}
	return outcome{result: r}
}

// enter counts a proposal in, and says whether it may begin.
func (c *Controller) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining {
		c.inflight.Add(1)
	}
	return !c.draining
}

// drain lets no proposal begin and waits until raft has answered the others: a
// raft node that shuts down forgets some of them.
func (c *Controller) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	c.inflight.Wait()
}

func timedOut(ctx context.Context) error {
	return fmt.Errorf("metadata change: %w: %w", kerr.RequestTimedOut, context.Cause(ctx))
}

// proposalError tells what certainly did not happen, which a client may repeat,
// from what may have.
func proposalError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("metadata change: %w: %w", kerr.NotController, err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrStopped
	}
	return fmt.Errorf("metadata change: %w: %w", kerr.RequestTimedOut, err)
}

// Run recovers the metadata, leads, registers this node, and serves proposals
// until ctx ends. It returns nil when ctx ended, and an error when the metadata
// could not be opened or can no longer be stored.
func (c *Controller) Run(ctx context.Context) (err error) {
	defer close(c.stopped)
	failed := make(chan error, 1)
	s, err := openStores(&c.o, failed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	g, ctx := errgroup.WithContext(ctx)
	machine := newFSM(ctx.Done())
	transport := newSolo(s.id, s.addr)
	node, err := c.start(s, machine, transport)
	if err != nil {
		return err
	}
	a := &applier{
		fsm: machine, logger: c.o.Logger, reconcile: c.o.Reconcile, publish: c.published.Store, grown: c.grown,
		live: make(chan chan<- error), down: map[metadata.TopicPartition]metadata.ID{},
	}
	g.Go(func() error { return a.run(ctx) })
	g.Go(func() error { return c.lead(ctx, node, transport, a) })
	g.Go(func() error {
		select {
		case err := <-failed:
			return fmt.Errorf("metadata storage: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		<-ctx.Done()
		c.drain()
		return node.Shutdown().Error()
	})
	return g.Wait()
}

// start makes the raft node, bootstrapping an empty directory.
func (c *Controller) start(s *stores, machine raft.FSM, transport raft.Transport) (*raft.Raft, error) {
	conf := raft.DefaultConfig()
	conf.LocalID = s.id
	conf.Logger = &raftLogger{to: c.o.Logger, name: "raft"}
	conf.MaxAppendEntries = 1024
	conf.NoLegacyTelemetry = true
	conf.TrailingLogs = 0                  // the log store keeps what an older snapshot needs
	conf.SnapshotInterval = 24 * time.Hour // snapshots are asked for
	conf.SnapshotThreshold = 1 << 62
	if s.fresh {
		self := raft.Configuration{Servers: []raft.Server{{ID: s.id, Address: s.addr}}}
		if err := raft.BootstrapCluster(conf, s.log, s.stable, s.snapshots, transport, self); err != nil {
			return nil, fmt.Errorf("begin metadata log: %w", err)
		}
	}
	node, err := raft.NewRaft(conf, machine, s.log, s.stable, s.snapshots, transport)
	if err != nil {
		return nil, fmt.Errorf("start metadata log: %w", err)
	}
	return node, nil
}

// lead makes this node leader, registers it, puts the metadata in force, and then
// takes snapshots when they are due.
func (c *Controller) lead(ctx context.Context, node *raft.Raft, transport *solo, a *applier) error {
	if err := c.elect(ctx, node, transport); err != nil {
		return unlessDone(ctx, err)
	}
	if err := c.register(ctx, node); err != nil {
		return unlessDone(ctx, err)
	}
	done := make(chan error, 1)
	select {
	case a.live <- done:
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-done:
		if err != nil || ctx.Err() != nil {
			return unlessDone(ctx, err)
		}
	case <-ctx.Done():
		return nil
	}
	c.node = node
	close(c.ready)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.snapshot:
			c.takeSnapshot(node)
		}
	}
}

// unlessDone is err, or nil where err comes from the end of ctx.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// elect makes a sole voter leader without waiting for a timeout.
func (c *Controller) elect(ctx context.Context, node *raft.Raft, transport *solo) error {
	members := node.GetConfiguration()
	if err := members.Error(); err != nil {
		return fmt.Errorf("metadata voters: %w", err)
	}
	voters := members.Configuration().Servers
	if len(voters) != 1 || voters[0].ID != transport.id {
		return fmt.Errorf("the metadata log has other voters than node.id=%d: %v", c.o.NodeID, voters)
	}
	if err := transport.elect(ctx); err != nil {
		return fmt.Errorf("metadata election: %w", err)
	}
	for {
		select {
		case leads := <-node.LeaderCh():
			if leads {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// register begins this life of the node in the metadata.
func (c *Controller) register(ctx context.Context, node *raft.Raft) error {
	self, err := c.o.Register(ctx)
	if err != nil {
		return fmt.Errorf("registration of node %d: %w", c.o.NodeID, err)
	}
	self.ID = c.o.NodeID
	r, err := c.submit(ctx, node, metadata.RegisterBroker{ClusterID: c.o.ClusterID, Broker: self})
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return fmt.Errorf("register node %d: %w", c.o.NodeID, err)
	}
	return nil
}

// The next snapshot is due after so many bytes of entries.
const snapshotBytes = 1 << 20

func (c *Controller) grown(entries, bytes int) {
	n, size := c.entries.Add(int64(entries)), c.bytes.Add(int64(bytes))
	if n < int64(c.o.SnapshotEntries) && size < snapshotBytes {
		return
	}
	select {
	case c.snapshot <- struct{}{}:
	default: // one is due already
	}
}

func (c *Controller) takeSnapshot(node *raft.Raft) {
	c.entries.Store(0)
	c.bytes.Store(0)
	err := node.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
		c.o.Logger.Warn("metadata snapshot was not taken", slog.Any("error", err))
	}
}

// split takes the partitions out of a tree of errors; the rest is other.
func split(err error) (failed []*PartitionError, other error) {
	switch e := err.(type) { //nolint:errorlint // this walks the tree itself
	case nil:
		return nil, nil
	case *PartitionError:
		return []*PartitionError{e}, nil
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			f, o := split(part)
			failed, other = append(failed, f...), errors.Join(other, o)
		}
		return failed, other
	case interface{ Unwrap() error }:
		if f, o := split(e.Unwrap()); len(f) > 0 && o == nil {
			return f, nil
		}
	}
	return nil, err
}
