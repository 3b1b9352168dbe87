package broker

import (
	"context"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
)

// appendTimeout is how long the coordinator waits for its own records to be durable.
const appendTimeout = 30 * time.Second

// groupCoordinators hosts a group machine on every partition of the offsets
// topic. Until the metadata is known it answers that it is loading.
type groupCoordinators struct {
	options coordinator.Options
	begun   chan struct{}
	runtime *coordinator.Runtime // set before begun is closed
}

func newGroupCoordinators(n *Node) *groupCoordinators {
	limits := group.DefaultOptions()
	s := n.settings.group
	limits.MinSessionTimeout, limits.MaxSessionTimeout, limits.InitialDelay = s.minSession, s.maxSession, s.initialDelay
	limits.MaxSize, limits.MaxMetadata = int(s.maxSize), int(s.metadataBytes)
	limits.OffsetsRetention, limits.OffsetsCheck = s.retention, s.retentionCheck
	return &groupCoordinators{begun: make(chan struct{}), options: coordinator.Options{
		Env: n.env, Logger: n.logger, Partitions: s.partitions,
		Machine: func(int32, int32) machine.Machine { return group.New(limits) },
	}}
}

// begin makes the runtime for as many partitions as the offsets topic has, or is
// to have. It is called once, before any partition is led.
func (g *groupCoordinators) begin(image *metadata.Image) {
	if t, ok := image.Topic(metadata.ConsumerOffsets); ok {
		g.options.Partitions = int32(len(t.Partitions))
	}
	g.runtime = coordinator.New(g.options)
	close(g.begun)
}

// run hosts machines until ctx ends.
func (g *groupCoordinators) run(ctx context.Context) error {
	select {
	case <-g.begun:
		return g.runtime.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

func (g *groupCoordinators) lead(index, epoch int32, p *partition.Partition) {
	g.runtime.Load(index, epoch, internalLog{p})
}

func (g *groupCoordinators) resign(index int32) { g.runtime.Unload(index, -1) }

// deleted lets groups forget the offsets of topics that are gone.
func (g *groupCoordinators) deleted(topics []*metadata.Topic) {
	if len(topics) == 0 {
		return
	}
	event := group.TopicsDeleted{}
	for _, t := range topics {
		event.Topics = append(event.Topics, group.DeletedTopic{Name: t.Name, ID: t.ID})
	}
	g.runtime.Broadcast(&event)
}

// The server lets nobody in before begin, so the methods that handlers call find
// a runtime.

// Partition is where a group is kept.
func (g *groupCoordinators) Partition(key string) int32 { return g.runtime.Partition(key) }

// Partitions is how many partitions groups are spread over.
func (g *groupCoordinators) Partitions() int32 { return g.runtime.Partitions() }

// Submit lets a machine decide.
func (g *groupCoordinators) Submit(index int32, event any, done coordinator.Done) {
	g.runtime.Submit(index, event, done)
}

// Query reads committed state.
func (g *groupCoordinators) Query(index int32, event any) (any, error) {
	return g.runtime.Query(index, event)
}

// internalLog is a partition of an internal topic as its coordinator sees it.
type internalLog struct{ p *partition.Partition }

// Append writes batches; done is called when they are committed.
func (l internalLog) Append(batches []byte, done func(err error)) {
	l.p.Append(batches, partition.AppendRequest{Acks: -1, Timeout: appendTimeout, Internal: true, CurrentEpoch: -1}, appended(done))
}

// Check tells whether the log would take a batch or marker.
func (l internalLog) Check(batch record.Batch, bumped bool) error { return l.p.Check(batch, bumped) }

// appended turns a function into a completion.
type appended func(err error)

// Appended passes the outcome on.
func (f appended) Appended(_ int, _ partition.AppendResult, err error) { f(err) }

// Read returns whole batches, committed or not.
func (l internalLog) Read(from int64, maxBytes int) (batches []byte, next int64, err error) {
	r, err := l.p.Read(partition.ReadRequest{Offset: from, MaxBytes: maxBytes, MinOne: true, Replica: true, CurrentEpoch: -1, LastFetchedEpoch: -1})
	if err != nil {
		return nil, 0, err
	}
	defer r.Range.Release()
	return copyRange(r.Range, from)
}

// copyRange copies a range out of the log and finds the offset behind it.
func copyRange(r commitlog.Range, from int64) (batches []byte, next int64, err error) {
	batches = make([]byte, r.Len())
	if _, err := r.ReadAt(batches, 0); err != nil {
		return nil, 0, err
	}
	next = from
	for rest := batches; len(rest) > 0; {
		b, tail, err := record.Split(rest)
		if err != nil {
			return nil, 0, err
		}
		next, rest = b.NextOffset(), tail
	}
	return batches, next, nil
}

// StartOffset is the first offset of the log.
func (l internalLog) StartOffset() int64 { return l.p.Status().Start }

// EndOffset is the offset of the next record.
func (l internalLog) EndOffset() int64 { return l.p.Status().End }
