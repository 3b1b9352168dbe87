package broker

import (
	"context"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
)

// appendTimeout is how long a coordinator waits for its own records to be durable.
const appendTimeout = 30 * time.Second

// coordinators host a machine on every partition of an internal topic. Until the
// metadata is known they answer that they are loading.
type coordinators struct {
	topic   string
	options coordinator.Options
	begun   chan struct{}
	runtime *coordinator.Runtime // set before begun is closed
}

func newCoordinators(topic string, o coordinator.Options) *coordinators {
	return &coordinators{topic: topic, options: o, begun: make(chan struct{})}
}

// begin makes the runtime for as many partitions as the topic has, or is to have. It
// is called once, before any partition is led.
func (c *coordinators) begin(image *metadata.Image) {
	if t, ok := image.Topic(c.topic); ok {
		c.options.Partitions = int32(len(t.Partitions))
	}
	c.runtime = coordinator.New(c.options)
	close(c.begun)
}

// run hosts machines until ctx ends.
func (c *coordinators) run(ctx context.Context) error {
	select {
	case <-c.begun:
		return c.runtime.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

func (c *coordinators) lead(index, epoch int32, p *partition.Partition) {
	c.runtime.Load(index, epoch, internalLog{p})
}

func (c *coordinators) resign(index int32) { c.runtime.Unload(index, -1) }

// The server lets nobody in before begin, so the methods that handlers call find
// a runtime.

// Partition is where a key is kept.
func (c *coordinators) Partition(key string) int32 { return c.runtime.Partition(key) }

// Partitions is how many partitions keys are spread over.
func (c *coordinators) Partitions() int32 { return c.runtime.Partitions() }

// Submit lets a machine decide.
func (c *coordinators) Submit(index int32, event any, done coordinator.Done) {
	c.runtime.Submit(index, event, done)
}

// Query reads committed state.
func (c *coordinators) Query(index int32, event any) (any, error) {
	return c.runtime.Query(index, event)
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
