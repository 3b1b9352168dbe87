package controller

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/weirstream/weir/broker/internal/metadata"
)

// fsm is raft's side of the image. Raft calls it from one goroutine; it hands
// committed entries to the applier and waits, so that raft answers a proposal
// only after the change is in force.
type fsm struct {
	image atomic.Pointer[metadata.Image] // after the last entry applied, in force or not
	work  chan applying
	stop  <-chan struct{} // the applier is gone
}

var _ raft.BatchingFSM = (*fsm)(nil)

// applying is a run of committed entries and where to put what they did.
type applying struct {
	entries []*raft.Log
	done    chan []any
}

func newFSM(stop <-chan struct{}) *fsm {
	f := &fsm{work: make(chan applying), stop: stop}
	f.image.Store(metadata.Empty())
	return f
}

// ApplyBatch applies entries in order; each answer is a metadata.Result, or nil
// where the node stops before the change is in force.
func (f *fsm) ApplyBatch(entries []*raft.Log) []any {
	a := applying{entries: entries, done: make(chan []any, 1)}
	select {
	case f.work <- a:
	case <-f.stop:
		return make([]any, len(entries))
	}
	select {
	case results := <-a.done:
		return results
	case <-f.stop:
		return make([]any, len(entries))
	}
}

// Apply is ApplyBatch of one entry.
func (f *fsm) Apply(entry *raft.Log) any { return f.ApplyBatch([]*raft.Log{entry})[0] }

// Snapshot holds on to the image, which never changes.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return frozen{f.image.Load()}, nil }

// Restore replaces the image with a snapshot. Raft calls it before it applies
// anything.
func (f *fsm) Restore(r io.ReadCloser) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	img, err := metadata.Restore(data)
	if err != nil {
		return err
	}
	f.image.Store(img)
	return nil
}

type frozen struct{ image *metadata.Image }

// Persist writes the image and makes it durable.
func (f frozen) Persist(sink raft.SnapshotSink) error {
	data, err := metadata.Snapshot(f.image)
	if err != nil {
		return err
	}
	if _, err := sink.Write(data); err != nil {
		return err
	}
	return sink.Close()
}

func (f frozen) Release() {}

// applier turns committed entries into images and puts them in force. Until the
// node has caught up it only applies; then one reconciliation covers everything.
type applier struct {
	fsm       *fsm
	logger    *slog.Logger
	reconcile func(ctx context.Context, from, to *metadata.Image) error
	publish   func(*metadata.Image)
	grown     func(entries, bytes int) // told how much was applied

	live    chan chan<- error
	serving bool
	inForce *metadata.Image // nil before the first reconciliation
	down    map[metadata.TopicPartition]metadata.ID
}

// run applies until ctx ends or a change cannot be put in force.
func (a *applier) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case w := <-a.fsm.work:
			results := a.apply(w.entries)
			if a.serving {
				if err := a.enforce(ctx); err != nil {
					return err
				}
			}
			w.done <- results
		case done := <-a.live:
			a.serving = true
			err := a.enforce(ctx)
			done <- err
			if err != nil {
				return err
			}
		}
	}
}

// apply moves the image over the entries.
func (a *applier) apply(entries []*raft.Log) []any {
	img := a.fsm.image.Load()
	results := make([]any, len(entries))
	bytes := 0
	for n, e := range entries {
		if e.Type != raft.LogCommand {
			continue
		}
		var r metadata.Result
		img, r = metadata.Apply(img, int64(e.Index), e.Data)
		if r.Err != nil {
			a.logger.Warn("metadata entry was refused", slog.Uint64("index", e.Index), slog.Any("error", r.Err))
		}
		results[n] = r
		bytes += len(e.Data)
	}
	a.fsm.image.Store(img)
	a.grown(len(entries), bytes)
	return results
}

// enforce opens, leads and closes partitions as the image says, then publishes
// it. Partitions that could not be opened are published without a leader.
func (a *applier) enforce(ctx context.Context) error {
	img := a.fsm.image.Load()
	err := a.reconcile(ctx, a.inForce, img)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the node stops; nothing is published any more
	}
	failed, other := split(err)
	if other != nil {
		return fmt.Errorf("put metadata in force: %w", other)
	}
	for _, f := range failed {
		a.logger.Error("partition is offline", slog.String("topic", f.Topic), slog.Int("partition", int(f.Partition)), slog.Any("error", f.Err))
		if t, ok := img.Topic(f.Topic); ok {
			a.down[metadata.TopicPartition{Topic: f.Topic, Partition: f.Partition}] = t.ID
		}
	}
	a.inForce = img
	a.publish(img.Offline(a.offline(img)))
	return nil
}

// offline forgets partitions of topics that are gone and returns the rest.
func (a *applier) offline(img *metadata.Image) map[metadata.TopicPartition]bool {
	down := make(map[metadata.TopicPartition]bool, len(a.down))
	for tp, id := range a.down {
		if t, ok := img.Topic(tp.Topic); !ok || t.ID != id {
			delete(a.down, tp)
			continue
		}
		down[tp] = true
	}
	return down
}
