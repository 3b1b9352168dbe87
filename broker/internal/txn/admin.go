package txn

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describe answers DescribeTransactions for one id. While markers are written, only partitions without
// one are told.
func (t *turn) describe(e *Describe) {
	x := t.find(e.TransactionalID)
	if x == nil {
		t.refuse(kerr.TransactionalIDNotFound)
		return
	}
	r := kmsg.NewDescribeTransactionsResponseTransactionState()
	r.TransactionalID, r.State, r.TimeoutMillis, r.StartTimestamp = e.TransactionalID, x.state.String(), x.timeout, x.started
	r.ProducerID, r.ProducerEpoch = x.producerID, x.epoch
	partitions := x.partitions
	if c := t.completing[e.TransactionalID]; c != nil {
		partitions = c.left
	}
	for _, topic := range topicsOf(partitions) {
		d := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
		d.Topic = topic[0].Topic
		for _, p := range topic {
			d.Partitions = append(d.Partitions, p.Partition)
		}
		r.Topics = append(r.Topics, d)
	}
	t.answer(&r)
}

// list answers ListTransactions for the ids of this partition.
func (t *turn) list(e *List) {
	out := []kmsg.ListTransactionsResponseTransactionState{}
	for _, id := range sortedKeys(t.durable) {
		x := t.durable[id]
		if !t.admits(e, id, x) {
			continue
		}
		r := kmsg.NewListTransactionsResponseTransactionState()
		r.TransactionalID, r.ProducerID, r.TransactionState = id, x.producerID, x.state.String()
		out = append(out, r)
	}
	t.answer(out)
}

func (t *turn) admits(e *List, id string, x *transaction) bool {
	switch {
	case len(e.States) > 0 && !slices.Contains(e.States, x.state.String()):
	case len(e.ProducerIDs) > 0 && !slices.Contains(e.ProducerIDs, x.producerID):
	case e.Duration >= 0 && t.now.UnixMilli()-x.started <= e.Duration.Milliseconds():
	case e.Pattern != nil && !e.Pattern.MatchString(id):
	default:
		return true
	}
	return false
}
