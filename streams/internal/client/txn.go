package client

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// With transactions, a worker sends over a client of its own beside that of the
// group member: a producer that was fenced, or that cannot know how its last
// transaction ended, can only be replaced. The broker ends whatever is open
// under a transactional id before it lets the next producer have it, so the
// replacement is the abort, and what is committed after it is the truth.

// transactional says that the worker sends in transactions.
func (w *Worker) transactional() bool { return w.o.TransactionalID != "" }

// newProducer makes the client of a transactional producer, and waits until it
// has its id: from then on nothing of an earlier one can be committed.
func (w *Worker) newProducer(ctx context.Context) (*sender, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), namesLast)
	opts := []kgo.Opt{
		kgo.WithContext(w.cl.Context()), //nolint:contextcheck // the client outlives the call; Kill ends it
		kgo.SeedBrokers(w.o.Brokers...),
		kgo.ClientID(w.o.ClientID),
		kgo.WithLogger(w.kgoLog),
		kgo.MaxVersions(versions),
		kgo.TransactionalID(w.o.TransactionalID),
		kgo.TransactionTimeout(w.o.TransactionTimeout),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitioner)),
	}
	cl, err := kgo.NewClient(append(opts, w.o.Extra...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	_, _, err = cl.ProducerID(ctx)
	if err == nil {
		w.implicit, err = addsByItself(ctx, cl)
	}
	if err != nil {
		cl.Close()
		return nil, classify(fmt.Errorf("producer %s: %w", w.o.TransactionalID, err))
	}
	return newSender(cl, w.tracked, &w.refused), nil
}

const (
	// namesLast is the last version of TxnOffsetCommit that names topics.
	namesLast = 5
	// implicitSince is the transaction.version at which a commit of offsets adds
	// the group to the transaction (KIP-890).
	implicitSince = 2
)

// addsByItself asks whether the cluster has transactions of version 2.
func addsByItself(ctx context.Context, cl *kgo.Client) (bool, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "weir-streams", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return false, err
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			return f.MaxVersionLevel >= implicitSince, nil
		}
	}
	return false, nil
}

// Begin implements runtime.Log. With transactions it makes the producer, if
// there is none; the transaction itself begins with the first record.
func (w *Worker) Begin(ctx context.Context) error {
	if w.sender != nil {
		return nil
	}
	s, err := w.newProducer(ctx)
	w.sender = s
	return err
}

// sending returns the sender, in a transaction if there are any.
func (w *Worker) sending() (*sender, error) {
	if !w.transactional() || w.open {
		return w.sender, nil
	}
	if w.sender == nil {
		return nil, fmt.Errorf("%w: nothing has begun", runtime.ErrRetry)
	}
	if err := w.sender.cl.BeginTransaction(); err != nil {
		return nil, classify(fmt.Errorf("begin: %w", err))
	}
	w.open = true
	return w.sender, nil
}

// commitTxn commits the open transaction. After an error only the end of the
// producer tells how it ended.
func (w *Worker) commitTxn(offsets []runtime.Offset) error {
	ctx := w.cl.Context()
	if err := w.sender.flush(ctx); err != nil {
		return err
	}
	if len(offsets) > 0 {
		err := w.persist(ctx, func() error { return w.addOffsets(ctx, offsets) })
		if err != nil {
			return fmt.Errorf("offsets: %w", err)
		}
	}
	if err := w.sender.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return classify(fmt.Errorf("end: %w", err))
	}
	w.open = false
	return nil
}

// addOffsets puts offsets into the transaction, for as long as the member is
// one of the group (KIP-447). The client has no call for offsets other than
// those it polled up to.
func (w *Worker) addOffsets(ctx context.Context, offsets []runtime.Offset) error {
	cl := w.sender.cl
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	if !w.implicit {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = w.o.TransactionalID, id, epoch, w.o.Group
		resp, err := req.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return err
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = w.o.TransactionalID, id, epoch, w.o.Group
	req.MemberID, req.Generation = w.cl.GroupMetadata()
	if w.o.Instance != "" {
		req.InstanceID = &w.o.Instance
	}
	req.Topics = txnTopics(offsets)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

func txnTopics(offsets []runtime.Offset) []kmsg.TxnOffsetCommitRequestTopic {
	var topics []kmsg.TxnOffsetCommitRequestTopic
	at := map[string]int{}
	for i := range offsets {
		o := &offsets[i]
		j, ok := at[o.Topic]
		if !ok {
			j = len(topics)
			at[o.Topic] = j
			t := kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic = o.Topic
			topics = append(topics, t)
		}
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = o.Partition, o.Offset, &o.Metadata
		topics[j].Partitions = append(topics[j].Partitions, p)
	}
	return topics
}

// commitTries bounds how often a commit that a rebalance came between is tried
// again with the member's new generation. The member still has its partitions
// then: none moves between two polls.
const commitTries = 5

// persist tries again what may succeed in a moment.
func (w *Worker) persist(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == commitTries || !passing(err) {
			return classify(err)
		}
		if err := pause(ctx, time.Duration(try)*50*time.Millisecond); err != nil {
			return err
		}
	}
}

// Abort implements runtime.Log. With transactions it gives the producer up,
// and Begin makes another.
func (w *Worker) Abort(ctx context.Context) error {
	if !w.transactional() {
		return w.sender.drop(ctx)
	}
	w.discard()
	return nil
}

func (w *Worker) discard() {
	if w.sender != nil {
		w.sender.cl.Close()
	}
	w.sender, w.open = nil, false
}

// retire ends the producer for good. What it has open would keep readers of
// its topics waiting until it times out.
func (w *Worker) retire(ctx context.Context) {
	if w.open && w.sender.drop(ctx) == nil {
		if err := w.sender.cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
			w.log.Debug("the last transaction is left to its timeout", slog.Any("error", err))
		}
	}
	w.discard()
}
