package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

const root = "/data"

// node is one life of a controller on a file system.
type node struct {
	t testing.TB
	*Controller
	stop   context.CancelFunc
	dirRun chan error
	run    chan error

	mu        sync.Mutex
	reconcile func(from, to *metadata.Image) error
	seen      []*metadata.Image // what was to be put in force, in order
	first     *metadata.Image   // the from of the first reconciliation
}

// life are the options of a node that tests change.
type life struct {
	fs        env.FS
	nodeID    int32
	clusterID string
	snapshot  int
	reconcile func(from, to *metadata.Image) error
	register  func(context.Context) (metadata.Broker, error)
	logger    *slog.Logger
	noSyncer  bool // the directory runs only to end
}

func openDir(e env.Env) (*commitlog.Dir, error) {
	return commitlog.OpenDir(e, root, commitlog.DirOptions{ClusterID: "disk", NodeID: 1, Logger: slog.New(slog.DiscardHandler)})
}

// begin opens the directory and runs a controller, without waiting for it.
func begin(t testing.TB, l life) *node {
	t.Helper()
	n := &node{t: t, dirRun: make(chan error, 1), run: make(chan error, 1), reconcile: l.reconcile}
	e := env.Real()
	e.FS = l.fs
	if l.clusterID == "" {
		l.clusterID = "cluster"
	}
	if l.nodeID == 0 {
		l.nodeID = 1
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.register == nil {
		l.register = func(context.Context) (metadata.Broker, error) {
			return metadata.Broker{Endpoints: []metadata.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092}}}, nil
		}
	}
	dir, err := openDir(e)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	n.stop = cancel
	n.Controller = New(Options{
		Env: e, Dir: dir, NodeID: l.nodeID, ClusterID: l.clusterID, Logger: l.logger, SnapshotEntries: l.snapshot,
		Register: l.register, Reconcile: n.enforce,
	})
	dirCtx, stopDir := context.WithCancel(context.WithoutCancel(t.Context()))
	if !l.noSyncer {
		go func() { n.dirRun <- dir.Run(dirCtx) }()
	}
	go func() {
		err := n.Run(ctx)
		stopDir()
		if l.noSyncer {
			n.dirRun <- dir.Run(dirCtx)
		}
		err = errors.Join(err, <-n.dirRun)
		n.run <- err
	}()
	return n
}

func (n *node) enforce(_ context.Context, from, to *metadata.Image) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.seen) == 0 {
		n.first = from
	}
	n.seen = append(n.seen, to)
	if n.reconcile != nil {
		return n.reconcile(from, to)
	}
	return nil
}

// start begins a life and waits until it is ready.
func start(t testing.TB, l life) *node {
	t.Helper()
	n := begin(t, l)
	select {
	case <-n.Ready():
	case err := <-n.run:
		t.Fatal("the controller ended: ", err)
	}
	return n
}

// end stops a life and returns what Run returned.
func (n *node) end() error {
	n.stop()
	err := <-n.run
	n.run <- err
	return err
}

// close ends a life that must end well.
func (n *node) close() {
	n.t.Helper()
	if err := n.end(); err != nil {
		n.t.Fatal(err)
	}
}

func topicNamed(name string, partitions int) metadata.CreateTopics {
	id := metadata.ID{1}
	copy(id[1:], name)
	assignments := make([][]int32, partitions)
	for i := range assignments {
		assignments[i] = []int32{1}
	}
	return metadata.CreateTopics{Topics: []metadata.NewTopic{{Name: name, ID: id, Assignments: assignments}}}
}

// create creates a topic and returns what went wrong.
func (n *node) create(name string) error {
	r, err := n.Propose(n.t.Context(), topicNamed(name, 2))
	if err != nil {
		return err
	}
	return errors.Join(append(r.Items, r.Err)...)
}

func (n *node) mustCreate(names ...string) {
	n.t.Helper()
	for _, name := range names {
		if err := n.create(name); err != nil {
			n.t.Fatalf("create %s: %v", name, err)
		}
	}
}

// topics is every topic of the image in force, with the epoch of its first partition.
func (n *node) topics() []string {
	out := []string{}
	for _, t := range n.Image().Topics() {
		out = append(out, fmt.Sprintf("%s@%d", t.Name, t.Partitions[0].LeaderEpoch))
	}
	return out
}

// retryUntil tries again, a while apart, in a bubble of synctest.
func retryUntil(t testing.TB, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Fatal("it never happened")
}

// snapshotOf is the whole image as text.
func snapshotOf(t testing.TB, img *metadata.Image) string {
	t.Helper()
	b, err := metadata.Snapshot(img)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var _ commitlog.Follower = noFollower{}
