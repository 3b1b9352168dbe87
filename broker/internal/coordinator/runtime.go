// Package coordinator hosts machines on the partitions of a compacted internal topic: it loads a
// machine from the log of a partition that this broker leads, lets it decide, appends what it
// decided, and answers when that is committed.
//
// Decisions are taken under a lock per partition, on state that includes records not yet committed,
// so that nobody waits for a disk before deciding. One append per partition is under way at a time;
// what is decided meanwhile goes into the next one, so that a burst shares batches and a lone
// request waits for nobody. Every answer waits for the commit of all that was decided before it.
// When an append fails, everybody who waits is told so and the partition is loaded again.
//
// Package broker adapts partitions and drives the runtime from metadata: Load when this broker
// becomes the leader of a partition, Unload when it no longer is. An adapter is a few lines:
//
//	type offsetsLog struct {
//		p     *partition.Partition
//		epoch int32
//	}
//
//	type commit func(error) // a partition.Completion
//
//	func (c commit) Appended(_ int, _ partition.AppendResult, err error) { c(err) }
//
//	func (l offsetsLog) Append(batches []byte, done func(error)) {
//		l.p.Append(batches, partition.AppendRequest{Acks: -1, Timeout: 5 * time.Second, Internal: true, CurrentEpoch: l.epoch}, commit(done))
//	}
//
// Read uses partition.ReadRequest with Replica set, so that it reaches the log end.
package coordinator

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/internal/env"
)

// Options say what a runtime hosts. Env, Logger, Partitions and Machine are required; a zero limit
// takes its default.
type Options struct {
	Env        env.Env
	Logger     *slog.Logger
	Partitions int32                                        // of the internal topic
	Machine    func(partition, epoch int32) machine.Machine // an empty machine for a partition led since a leader epoch
	Sender     Sender                                       // for machines that send; may be nil
	Observe    func(partition int32, d time.Duration)       // told how long each load took; may be nil

	Loaders         int           // partitions loaded at a time; default 4
	MaxBatchBytes   int           // bytes of a batch, unless one record is larger; default 512 KiB
	MaxPendingBytes int           // bytes decided and not yet appended, per partition; default 16 MiB
	MaxWaiting      int           // requests without an answer, per partition; default 65536
	ReloadDelay     time.Duration // between a failed append or load and the next load; default 100 ms
}

func (o Options) withDefaults() Options {
	setDefault(&o.Loaders, 4)
	setDefault(&o.MaxBatchBytes, 512<<10)
	setDefault(&o.MaxPendingBytes, 16<<20)
	setDefault(&o.MaxWaiting, 1<<16)
	setDefault(&o.ReloadDelay, 100*time.Millisecond)
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Runtime hosts one machine per partition. All methods are safe for concurrent use.
type Runtime struct {
	options Options
	shards  []*shard
	loads   chan *shard // each shard at most once
}

// New returns a runtime that hosts nothing. It starts no goroutine; loads begin with Run.
func New(o Options) *Runtime {
	o = o.withDefaults()
	r := &Runtime{options: o, shards: make([]*shard, o.Partitions), loads: make(chan *shard, o.Partitions)}
	for i := range r.shards {
		r.shards[i] = &shard{runtime: r, partition: int32(i)}
	}
	return r
}

// Run loads partitions until ctx ends. Then it unloads all of them, answers whoever still waits
// with NOT_COORDINATOR, and hosts nothing any more.
func (r *Runtime) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range r.options.Loaders {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case s := <-r.loads:
					s.load(ctx)
				}
			}
		})
	}
	err := g.Wait()
	for _, s := range r.shards {
		s.close()
	}
	return err
}

// Load starts to host a partition that this broker leads since the given leader epoch. It returns
// at once; until the log has been read, requests are answered COORDINATOR_LOAD_IN_PROGRESS. A load
// of an older epoch than the hosted one is ignored, one of the same epoch too.
func (r *Runtime) Load(partition, epoch int32, log Log) {
	if s := r.shard(partition); s != nil {
		s.host(epoch, log)
	}
}

// Unload stops hosting a partition and answers everybody who waits for it with NOT_COORDINATOR. It
// is ignored when the partition is hosted in a newer epoch; -1 means any epoch.
func (r *Runtime) Unload(partition, epoch int32) {
	if s := r.shard(partition); s != nil {
		s.unhost(epoch)
	}
}

// Submit lets the machine of a partition decide on an event. done gets the machine's reply, or
// NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS or COORDINATOR_NOT_AVAILABLE. It may be called before
// Submit returns. Submit does not wait.
func (r *Runtime) Submit(partition int32, event any, done Done) {
	s := r.shard(partition)
	if s == nil {
		done(nil, errNotHosted())
		return
	}
	s.submit(event, done)
}

// Mark ends the transaction of a producer in a partition's machine and log. done gets nil once the
// marker is committed, TRANSACTION_COORDINATOR_FENCED or INVALID_PRODUCER_EPOCH when it comes from the
// past, or what Submit may answer. It may be called before Mark returns. Mark does not wait.
func (r *Runtime) Mark(partition int32, m machine.Marker, done Done) {
	s := r.shard(partition)
	if s == nil {
		done(nil, errNotHosted())
		return
	}
	s.mark(m, done)
}

// Query reads committed state of the machine of a partition. Errors are as in Submit.
func (r *Runtime) Query(partition int32, event any) (any, error) {
	s := r.shard(partition)
	if s == nil {
		return nil, errNotHosted()
	}
	return s.query(event)
}

// Broadcast lets every hosted machine decide on an event that nobody waits for. Partitions that are
// being loaded get it after their load.
func (r *Runtime) Broadcast(event any) {
	for _, s := range r.shards {
		s.tell(event)
	}
}

// Partitions is how many partitions the internal topic has.
func (r *Runtime) Partitions() int32 { return r.options.Partitions }

// Partition is the partition whose machine keeps a key, as Kafka's clients and tools compute it: the
// hash of a Java string (over UTF-16 code units), without its sign, modulo the partitions.
func (r *Runtime) Partition(key string) int32 {
	return int32(uint32(javaHash(key)) & 0x7fffffff % uint32(r.options.Partitions))
}

func javaHash(s string) int32 {
	var h int32
	for _, c := range s {
		if c >= 0x10000 {
			c -= 0x10000
			h = 31*h + 0xd800 + c>>10
			c = 0xdc00 + c&0x3ff
		}
		h = 31*h + c
	}
	return h
}

func (r *Runtime) shard(partition int32) *shard {
	if partition < 0 || int(partition) >= len(r.shards) {
		return nil
	}
	return r.shards[partition]
}
