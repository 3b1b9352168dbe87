// Package client is a Kafka as the streams runtime sees it, over franz-go: a
// [Worker] is one group member and producer, an [Admin] manages topics.
//
// Without a transactional id nothing begins, a commit waits for every record that
// was sent and then commits the offsets, and an abort drops what is not sent. With
// one, records and offsets are a transaction, and only what is committed is read.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/internal/runtime"
)

// Options is what a worker's client needs. All fields but Instance and Extra are
// required.
type Options struct {
	Brokers        []string
	Group          string
	ClientID       string
	Instance       string // name under which the member comes back after a restart; empty for none
	Process        string // of the worker, shared by workers with one state directory
	Layout         *runtime.Layout
	Topics         []string // to read, at first
	Noticed        func()   // members read different topics, or one was deleted; called from any goroutine, does not wait
	Assign         assign.Options
	Changelogs     []string // topics whose acknowledged offsets count
	ResetToEnd     bool     // start a partition without a commit at its end
	SessionTimeout time.Duration
	Logger         *slog.Logger
	Extra          []kgo.Opt // after all others

	TransactionalID    string // of the worker, the same after a restart; empty for at least once
	TransactionTimeout time.Duration
}

// Worker is a [runtime.Log].
type Worker struct {
	*reader
	o        Options
	cl       *kgo.Client // the group member
	kill     context.CancelFunc
	log      *slog.Logger
	kgoLog   logger
	polled   polled
	tracked  map[string]bool
	sender   *sender // over cl; with transactions over another client, nil before Begin
	open     bool    // a transaction has begun
	refused  refusals
	implicit bool          // offsets need not be announced to the transaction
	restore  *restorer     // nil while nothing restores
	dialled  chan struct{} // closed once cl and reader are there: the group begins before
}

// rebalanceTimeout is how long a member may take to give up its tasks, the
// commit included; as in the Java client.
const rebalanceTimeout = 5 * time.Minute

// fetchWait bounds how long a partition that is resumed waits for a fetch that
// began without it; as in the Java client.
const fetchWait = 500 * time.Millisecond

// Dial makes the client and lets it join the group in the background. ctx
// carries values only: Close and Kill end the client.
func Dial(ctx context.Context, o Options, r runtime.Rebalancer) (*Worker, error) {
	ctx, kill := context.WithCancel(context.WithoutCancel(ctx))
	w := &Worker{
		o: o, kill: kill, log: o.Logger, kgoLog: newLogger(ctx, o.Logger),
		tracked: map[string]bool{}, dialled: make(chan struct{}),
	}
	for _, topic := range o.Changelogs {
		w.tracked[topic] = true
	}
	cl, err := kgo.NewClient(append(w.options(ctx, r), o.Extra...)...)
	if err != nil {
		kill()
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	w.cl = cl
	w.reader = &reader{adm: kadm.NewClient(cl), group: o.Group}
	close(w.dialled)
	w.polled.committed = w.transactional()
	if !w.transactional() {
		w.sender = newSender(cl, w.tracked, &w.refused)
	}
	return w, nil
}

// options are those of the group member.
func (w *Worker) options(ctx context.Context, r runtime.Rebalancer) []kgo.Opt {
	o := &w.o
	reset := kgo.NewOffset().AtStart()
	if o.ResetToEnd {
		reset = kgo.NewOffset().AtEnd()
	}
	opts := []kgo.Opt{
		kgo.WithContext(ctx),
		kgo.SeedBrokers(o.Brokers...),
		kgo.ClientID(o.ClientID),
		kgo.WithLogger(w.kgoLog),
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeTopics(o.Topics...),
		kgo.Balancers(&balancer{layout: o.Layout, process: o.Process, wishes: o.Assign, worker: r, ends: w.ends, noticed: o.Noticed, log: o.Logger}),
		kgo.SessionTimeout(o.SessionTimeout),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(reset),
		kgo.FetchMaxWait(fetchWait),
		kgo.KeepControlRecords(),
		kgo.OnPartitionsAssigned(func(ctx context.Context, _ *kgo.Client, tps map[string][]int32) {
			r.Assigned(ctx, list(tps))
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, tps map[string][]int32) {
			r.Revoked(ctx, list(tps))
		}),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, tps map[string][]int32) {
			r.Lost(ctx, list(tps))
		}),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitioner)),
	}
	if o.Instance != "" {
		opts = append(opts, kgo.InstanceID(o.Instance))
	}
	if w.transactional() {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	return opts
}

// Commit implements runtime.Log. Where nothing was sent, the offsets alone are
// as good as a transaction: the group fences them just as well.
func (w *Worker) Commit(ctx context.Context, offsets []runtime.Offset) error {
	err := w.commit(ctx, offsets)
	if err == nil {
		w.refused.forget()
	}
	return err
}

func (w *Worker) commit(ctx context.Context, offsets []runtime.Offset) error {
	if w.open {
		return w.commitTxn(offsets) //nolint:contextcheck // an answer that nobody awaits is not known: only Kill ends it
	}
	if !w.transactional() {
		if err := w.sender.flush(ctx); err != nil {
			return err
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	return w.persist(ctx, func() error { return w.commitOnce(ctx, offsets) })
}

func (w *Worker) commitOnce(ctx context.Context, offsets []runtime.Offset) error {
	uncommitted := map[string]map[int32]kgo.EpochOffset{}
	metadata := map[runtime.TP]string{}
	for _, o := range offsets {
		if uncommitted[o.Topic] == nil {
			uncommitted[o.Topic] = map[int32]kgo.EpochOffset{}
		}
		uncommitted[o.Topic][o.Partition] = kgo.EpochOffset{Epoch: -1, Offset: o.Offset}
		metadata[o.TP] = o.Metadata
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				text := metadata[runtime.TP{Topic: t.Topic, Partition: t.Partitions[j].Partition}]
				t.Partitions[j].Metadata = &text
			}
		}
		return nil
	})
	var failed error
	w.cl.CommitOffsetsSync(ctx, uncommitted, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil && failed == nil {
					failed = fmt.Errorf("offset of %s-%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	})
	return failed
}

// leaveWait is how long Close waits for a rebalance to end. One may wait for
// members that stop as well; those who come back take their places over.
const leaveWait = time.Second

// Close implements runtime.Log.
func (w *Worker) Close(ctx context.Context, leave bool) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	w.closeRestore()
	if w.transactional() {
		w.retire(ctx)
	}
	w.cl.AllowRebalance()
	member, _ := w.cl.GroupMetadata()
	err := w.cl.LeaveGroupContext(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		w.log.Debug("stopped in the middle of a rebalance")
		err = nil
	}
	if leave && w.o.Instance != "" && member != "" {
		err = errors.Join(err, w.leave(context.WithoutCancel(ctx), member))
	}
	w.kill()
	w.cl.CloseAllowingRebalance()
	if err != nil {
		return fmt.Errorf("leave group: %w", err)
	}
	return nil
}

// leave takes a static member out of its group, which the client does not do.
func (w *Worker) leave(ctx context.Context, member string) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = w.o.Group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = member, &w.o.Instance
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(ctx, w.cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// Subscribe implements runtime.Log.
func (w *Worker) Subscribe(topics []string) {
	have := w.cl.GetConsumeTopics()
	w.cl.AddConsumeTopics(slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return slices.Contains(have, t) })...)
	w.cl.PurgeTopicsFromConsuming(slices.DeleteFunc(have, func(t string) bool { return slices.Contains(topics, t) })...)
}

// Rejoin implements runtime.Log.
func (w *Worker) Rejoin() { w.cl.ForceRebalance() }

// endsWait bounds how long the leader of the group waits for the ends of changelogs.
const endsWait = 5 * time.Second

// ends asks for the ends of changelogs while the group waits.
func (w *Worker) ends(tps []runtime.TP) (map[runtime.TP]int64, error) {
	<-w.dialled
	ctx, cancel := context.WithTimeout(w.cl.Context(), endsWait)
	defer cancel()
	return w.Ends(ctx, tps)
}

// Kill implements runtime.Log.
func (w *Worker) Kill() { w.kill() }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func list(tps map[string][]int32) []runtime.TP {
	var all []runtime.TP
	for topic, partitions := range tps {
		for _, p := range partitions {
			all = append(all, runtime.TP{Topic: topic, Partition: p})
		}
	}
	return all
}

func group(tps []runtime.TP) map[string][]int32 {
	by := map[string][]int32{}
	for _, tp := range tps {
		by[tp.Topic] = append(by[tp.Topic], tp.Partition)
	}
	return by
}

var _ runtime.Log = (*Worker)(nil)
