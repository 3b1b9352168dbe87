package broker

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/txn"
	"github.com/weirstream/weir/internal/env"
)

// transactions brings the two sides of a transaction together: partitions ask its
// coordinator whether they are part of it, and the coordinator has its end written
// to them. On one node both are calls.
type transactions struct {
	clock        env.Clock
	image        func() *metadata.Image
	partitions   *replicas
	groups       *groupCoordinators
	coordinators *coordinators // of transactions, on the partitions of __transaction_state
}

func newTransactionCoordinators(n *Node, sender coordinator.Sender) *coordinators {
	limits := txn.DefaultOptions()
	s := n.settings.transaction
	limits.MaxTimeout, limits.AbortCheck = s.maxTimeout, s.abortCheck
	limits.Expiration, limits.ExpireCheck = s.expiration, s.expireCheck
	return newCoordinators(metadata.TransactionState, coordinator.Options{
		Env: n.env, Logger: n.logger, Partitions: s.partitions, Sender: sender,
		Machine: func(_, epoch int32) machine.Machine { return txn.New(limits, epoch) },
	})
}

// AddPartitions asks the coordinator of a transactional id.
func (t *transactions) AddPartitions(e *txn.AddPartitions, done func(errs []error, err error)) {
	t.coordinators.Submit(t.coordinators.Partition(e.TransactionalID), e, func(value any, err error) {
		errs, ok := value.([]error)
		if err == nil && (!ok || len(errs) != len(e.Partitions)) {
			err = fmt.Errorf("bug: the coordinator answers %d partitions with %T", len(e.Partitions), value)
		}
		done(errs, err)
	})
}

// Send does what a coordinator asks for.
func (t *transactions) Send(s machine.Send, done func(value any, err error)) {
	switch r := s.Request.(type) {
	case *txn.WriteMarkers:
		t.WriteMarkers(r, func(errs []error) { done(errs, nil) })
	case *group.JoinTransaction:
		e := &txn.AddPartitions{
			TransactionalID: r.TransactionalID, ProducerID: r.ProducerID, ProducerEpoch: r.ProducerEpoch, Verify: !r.Add,
			Partitions: []txn.TopicPartition{{Topic: metadata.ConsumerOffsets, Partition: t.groups.Partition(r.Group)}},
		}
		t.AddPartitions(e, func(errs []error, err error) {
			if err == nil {
				err = errs[0]
			}
			done(nil, err)
		})
	default:
		done(nil, fmt.Errorf("bug: %T sent to another broker", s.Request))
	}
}

// WriteMarkers ends a transaction on partitions of this node, on all of them at
// once, and answers when every marker is durable or refused.
func (t *transactions) WriteMarkers(w *txn.WriteMarkers, done func(errs []error)) {
	all := &marking{errs: make([]error, len(w.Partitions)), done: done}
	all.left.Store(int32(len(w.Partitions)) + 1)
	control := record.Control{Type: record.Abort, CoordinatorEpoch: w.CoordinatorEpoch}
	if w.Commit {
		control.Type = record.Commit
	}
	now := t.clock.Now().UnixMilli()
	for i, tp := range w.Partitions {
		p, err := t.find(tp)
		switch {
		case err != nil:
			all.end(i, err)
		case tp.Topic == metadata.ConsumerOffsets:
			m := machine.Marker{ProducerID: w.ProducerID, ProducerEpoch: w.ProducerEpoch, CoordinatorEpoch: w.CoordinatorEpoch, Commit: w.Commit, Bumped: w.Bumped}
			t.groups.runtime.Mark(tp.Partition, m, func(_ any, err error) { all.end(i, err) })
		default:
			request := partition.AppendRequest{Acks: partition.AcksAll, Timeout: appendTimeout, Internal: true, Bumped: w.Bumped, CurrentEpoch: -1, Token: i}
			p.Append(record.NewEndTxn(w.ProducerID, w.ProducerEpoch, control, now), request, all)
		}
	}
	all.finish()
}

// find returns a partition of this node. UNKNOWN_TOPIC_OR_PARTITION says that it is
// deleted for good; one that is not served at the moment has another error, so that
// its marker is not forgotten.
func (t *transactions) find(tp txn.TopicPartition) (*partition.Partition, error) {
	p, err := t.partitions.Partition(tp.Topic, tp.Partition)
	if err == nil {
		return p, nil
	}
	image := t.image()
	topic, known := image.Topic(tp.Topic)
	if image.ClusterID() == "" || known && tp.Partition >= 0 && int(tp.Partition) < len(topic.Partitions) {
		return nil, kerr.NotLeaderForPartition
	}
	return nil, err
}

// marking is a WriteMarkers under way.
type marking struct {
	errs []error // one place for each partition, written before left counts it
	left atomic.Int32
	done func(errs []error)
}

// Appended takes the outcome of one partition.
func (m *marking) Appended(token int, _ partition.AppendResult, err error) { m.end(token, err) }

// end takes the outcome of one partition. Who coordinates groups is not the
// business of whoever ends transactions.
func (m *marking) end(i int, err error) {
	if errors.Is(err, kerr.NotCoordinator) {
		err = kerr.NotLeaderForPartition
	}
	m.errs[i] = err
	m.finish()
}

func (m *marking) finish() {
	if m.left.Add(-1) == 0 {
		m.done(m.errs)
	}
}
