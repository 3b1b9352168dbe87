// Package partition is one partition on this broker: it holds the log, the rules that a batch
// must pass, the producers, and everyone who waits for data to become durable or readable.
//
// Three offsets rule it. The log end is where the next batch goes. The high watermark follows
// what is durable: in fsync mode it never passes what is synced, and only below it do consumers
// read and acks=all answer. The last stable offset is the high watermark held back by open
// transactions. One mutex orders appends; reads take none.
package partition

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// Options are what a partition is made of. Log must have been opened with Producers as its
// follower, and from then on only the partition uses either.
type Options struct {
	Topic     string
	Index     int32
	TopicID   [16]byte
	Log       *commitlog.Log
	Producers *producer.State
	Env       env.Env
	Config    Config
	Logger    *slog.Logger   // nil logs nothing
	Coders    *record.Coders // shared by partitions; nil pools for this one alone
	Meter     Meter          // nil counts nothing
	Faults    Faults         // planted bugs, for tests of the tests
}

// Config is what the topic's configuration says about a partition.
type Config struct {
	Durability      commitlog.Durability
	MinISR          int
	MaxMessageBytes int // of a batch as it is sent; 0 is unlimited
	LogAppendTime   bool
	// BeforeMax and AfterMax bound how far a record's timestamp may lie before and after the
	// broker's clock, in whole milliseconds; 0 or less is unlimited, and less than a millisecond a bound
	// of 0. Only create time is held to them. A bound on the past costs a walk over every record.
	BeforeMax, AfterMax time.Duration
	Compact, Delete     bool // cleanup.policy
	Deep                bool // walk every record of every batch
	// Recompress stores batches under Codec, whatever the producer chose.
	Recompress bool
	Codec      record.Codec
	// MaxDecompressed bounds what a batch may decompress to where records are walked; 0 is
	// DefaultMaxDecompressed.
	MaxDecompressed int
}

// DefaultMaxDecompressed bounds the decompressed size of one batch unless Config says otherwise.
const DefaultMaxDecompressed = 256 << 20

func (c *Config) maxDecompressed() int {
	if c.MaxDecompressed > 0 {
		return c.MaxDecompressed
	}
	return DefaultMaxDecompressed
}

// Meter counts what the partition takes in. Its methods are called on the append path from any
// goroutine and must neither block nor allocate.
type Meter interface {
	Appended(bytes, records int)
	Refused()
	Fetched(bytes int)
}

type noMeter struct{}

func (noMeter) Appended(int, int) {}
func (noMeter) Refused()          {}
func (noMeter) Fetched(int)       {}

// Faults are bugs to plant: with one of them set the crash tests must fail.
type Faults struct {
	AnswerBeforeSync    bool // acks=all answers as soon as the batch is written
	WatermarkBeforeSync bool // the high watermark follows the log end
	MarkerBeforeSync    bool // markers answer as soon as they are written
	StableAtWatermark   bool // open transactions hold nobody back
}

// Partition is one partition of a topic. All methods are safe for concurrent use.
type Partition struct {
	// What a read looks at lies together.
	log   *commitlog.Log
	role  atomic.Uint64 // see packRole
	hw    atomic.Int64
	lso   atomic.Int64
	id    [16]byte
	meter Meter

	topic   string
	index   int32
	env     env.Env
	logger  *slog.Logger
	coders  *record.Coders
	faults  Faults
	scratch sync.Pool // *[]byte, bodies of compressed batches
	config  atomic.Pointer[Config]

	mu        sync.Mutex // orders appends; guards what follows and the producers
	producers *producer.State
	verifying map[author]*Verification // nil until the first
	queue     queue
	settling  bool // somebody answers the waiters that are due
	timer     env.Timer
	timerAt   time.Time // when timer fires; zero when it is not armed
	closed    error     // why the partition was closed
	failed    error     // why what is written may never be durable

	watch watchers
}

// New returns a partition that leads and follows nobody yet. Its high watermark is the synced
// end of the log in fsync mode, else the checkpointed one. It subscribes to the log's syncs.
func New(o Options) *Partition {
	p := &Partition{
		topic: o.Topic, index: o.Index, id: o.TopicID, log: o.Log, env: o.Env,
		coders: o.Coders, meter: o.Meter, faults: o.Faults, producers: o.Producers,
	}
	p.logger = slog.New(slog.DiscardHandler)
	if o.Logger != nil {
		p.logger = o.Logger.With(slog.String("topic", o.Topic), slog.Int("partition", int(o.Index)))
	}
	if p.coders == nil {
		p.coders = new(record.Coders)
	}
	if p.meter == nil {
		p.meter = noMeter{}
	}
	p.config.Store(&o.Config)
	hw := o.Log.CheckpointedHighWatermark()
	if o.Config.Durability == commitlog.Fsync {
		hw = o.Log.SyncedOffset()
	}
	hw = max(o.Log.StartOffset(), min(hw, o.Log.EndOffset()))
	p.hw.Store(hw)
	p.producers.Passed(hw)
	p.lso.Store(p.stable(hw))
	p.indexAborted()
	p.role.Store(packRole(0, false))
	o.Log.OnSync(p.synced)
	o.Log.SetKeeper(p)
	return p
}

// Topic is the topic's name.
func (p *Partition) Topic() string { return p.topic }

// Index is the partition's number within its topic.
func (p *Partition) Index() int32 { return p.index }

// TopicID is the id of the topic.
func (p *Partition) TopicID() [16]byte { return p.id }

// SetConfig puts a new topic configuration in force for the appends and reads that follow. The
// durability of the log itself is the log's to change.
func (p *Partition) SetConfig(c Config) {
	p.config.Store(&c)
	p.mu.Lock()
	p.advance(p.durableEnd())
	p.mu.Unlock()
	p.settle()
}

// Lead makes this broker the leader in the given epoch, as the sole replica: everything that is
// durable becomes readable. A lower epoch than the present one is ignored.
func (p *Partition) Lead(epoch int32) {
	p.mu.Lock()
	if now, _ := p.leadership(); epoch < now || p.closed != nil {
		p.mu.Unlock()
		return
	}
	p.log.AssignEpoch(epoch)
	p.role.Store(packRole(epoch, true))
	p.advance(p.durableEnd())
	if p.hw.Load() < p.log.EndOffset() {
		p.log.RequestSync()
	}
	p.mu.Unlock()
	p.settle()
	p.watch.notify(p)
}

// Follow makes this broker a follower in the given epoch. Whoever waits for an append is
// answered NOT_LEADER_OR_FOLLOWER: its outcome is the new leader's to tell.
func (p *Partition) Follow(epoch int32) {
	p.mu.Lock()
	if now, _ := p.leadership(); epoch < now || p.closed != nil {
		p.mu.Unlock()
		return
	}
	p.role.Store(packRole(epoch, false))
	p.queue.fail(kerr.NotLeaderForPartition)
	p.mu.Unlock()
	p.settle()
	p.watch.notify(p)
}

// Close ends the partition's service: every waiter, and every later call, is answered with the
// cause, which must not claim that an append failed for good. The log is not closed.
func (p *Partition) Close(cause error) {
	p.mu.Lock()
	if p.closed != nil {
		p.mu.Unlock()
		return
	}
	p.closed = cause
	epoch, _ := p.leadership()
	p.role.Store(packRole(epoch, false))
	p.queue.fail(cause)
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.settle()
	p.watch.notify(p)
}

// Status is a glance at a partition; the offsets were not all true at the same instant.
type Status struct {
	Leader                                bool
	Epoch                                 int32
	Start, End, HighWatermark, LastStable int64
	Size                                  int64 // bytes of the log
	Waiting                               int   // appends and others that wait for the high watermark
}

// Status returns the partition's present offsets and role.
func (p *Partition) Status() Status {
	p.mu.Lock()
	waiting := p.queue.len()
	p.mu.Unlock()
	epoch, leader := p.leadership()
	return Status{
		Leader: leader, Epoch: epoch, Start: p.log.StartOffset(), End: p.log.EndOffset(),
		HighWatermark: p.hw.Load(), LastStable: p.LastStable(), Size: p.log.Size(), Waiting: waiting,
	}
}

// HighWatermark is the offset below which consumers may read.
func (p *Partition) HighWatermark() int64 { return p.hw.Load() }

// LastStable is the offset below which consumers that ask for committed data may read. It is never below
// the log start, where the records of an open transaction may be deleted.
func (p *Partition) LastStable() int64 { return max(p.lso.Load(), p.log.StartOffset()) }

// Producers lists the producers with state on this partition.
func (p *Partition) Producers() []producer.Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.producers.Producers()
}

// LastBatches tells compaction what it has to leave of the producers that may write again.
func (p *Partition) LastBatches() map[int64]commitlog.ProducerLast {
	last := map[int64]commitlog.ProducerLast{}
	for _, i := range p.Producers() {
		last[i.ID] = commitlog.ProducerLast{Offset: i.LastOffset, Epoch: i.Epoch}
	}
	return last
}

// ExpireProducers forgets producers that have been idle for the given time and have no open
// transaction, and returns how many.
func (p *Partition) ExpireProducers(idle time.Duration) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return 0 // the log may be writing its last snapshot
	}
	p.forgetFailed()
	return p.producers.Expire(p.env.Clock.Now().UnixMilli(), idle.Milliseconds())
}

func packRole(epoch int32, leader bool) uint64 {
	role := uint64(uint32(epoch)) << 1
	if leader {
		role |= 1
	}
	return role
}

func (p *Partition) leadership() (epoch int32, leader bool) {
	role := p.role.Load()
	return int32(role >> 1), role&1 != 0
}

// fence holds a request's idea of the leader epoch, -1 for none, against ours (KIP-320), and
// demands that this broker leads.
func (p *Partition) fence(epoch int32) error {
	current, leader := p.leadership()
	switch {
	case epoch >= 0 && epoch < current:
		return kerr.FencedLeaderEpoch
	case epoch > current:
		return kerr.UnknownLeaderEpoch
	case !leader:
		return p.notLeading()
	}
	return nil
}

func (p *Partition) notLeading() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return p.closed
	}
	return kerr.NotLeaderForPartition
}
