package txn

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/txn"
)

// AddPartitionsToTxn answers AddPartitionsToTxn (24): partitions become part of the ongoing transaction,
// all of them or none.
//
// Versions: 2 PRODUCER_FENCED (KIP-588); 3 flexible; 4 several transactions, for brokers, that may only
// ask whether partitions are part of them; 5 partitions that are added as they are produced to (KIP-890).
func AddPartitionsToTxn(d Deps) route.Route {
	return route.New(0, 5, func(_ context.Context, s *route.Session, req *kmsg.AddPartitionsToTxnRequest, resp *kmsg.AddPartitionsToTxnResponse) *route.Pending {
		if req.Version >= 4 {
			return d.addForBroker(s, req, resp)
		}
		a := addition{event: txn.AddPartitions{
			TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, Explicit: true,
		}}
		for i := range req.Topics {
			a.lay(req.Topics[i].Topic, req.Topics[i].Partitions)
		}
		p := route.NewPending()
		d.add(s, &a, req.Version, func() {
			resp.Topics = a.topics
			p.Complete()
		})
		return p
	})
}

// addForBroker adds to several transactions, or verifies them, in the name of another broker.
func (d *Deps) addForBroker(s *route.Session, req *kmsg.AddPartitionsToTxnRequest, resp *kmsg.AddPartitionsToTxnResponse) *route.Pending {
	if err := route.AuthorizeCluster(d.Authorizer, s, route.ClusterAction); err != nil {
		resp.ErrorCode = route.Code(err)
		return nil
	}
	resp.Transactions = make([]kmsg.AddPartitionsToTxnResponseTransaction, len(req.Transactions))
	p := route.NewPending()
	all := newParts(len(req.Transactions), p.Complete)
	for i := range req.Transactions {
		in, out := &req.Transactions[i], &resp.Transactions[i]
		*out = kmsg.NewAddPartitionsToTxnResponseTransaction()
		out.TransactionalID = in.TransactionalID
		a := addition{event: txn.AddPartitions{
			TransactionalID: in.TransactionalID, ProducerID: in.ProducerID, ProducerEpoch: in.ProducerEpoch,
			Verify: in.VerifyOnly, Explicit: req.Version < 5,
		}}
		for j := range in.Topics {
			a.lay(in.Topics[j].Topic, in.Topics[j].Partitions)
		}
		d.add(s, &a, req.Version, func() {
			for _, t := range a.topics {
				r := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
				r.Topic = t.Topic
				for _, p := range t.Partitions {
					q := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
					q.Partition, q.ErrorCode = p.Partition, p.ErrorCode
					r.Partitions = append(r.Partitions, q)
				}
				out.Topics = append(out.Topics, r)
			}
			all.done()
		})
	}
	return p
}

// addition is one transaction and its answer, laid out like the request.
type addition struct {
	event  txn.AddPartitions
	topics []kmsg.AddPartitionsToTxnResponseTopic
}

func (a *addition) lay(topic string, partitions []int32) {
	r := kmsg.NewAddPartitionsToTxnResponseTopic()
	r.Topic = topic
	for _, partition := range partitions {
		p := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
		p.Partition = partition
		r.Partitions = append(r.Partitions, p)
		a.event.Partitions = append(a.event.Partitions, txn.TopicPartition{Topic: topic, Partition: partition})
	}
	a.topics = append(a.topics, r)
}

// each visits the partitions in the order of the event.
func (a *addition) each(f func(i int, topic string, p *kmsg.AddPartitionsToTxnResponseTopicPartition)) {
	i := 0
	for t := range a.topics {
		for p := range a.topics[t].Partitions {
			f(i, a.topics[t].Topic, &a.topics[t].Partitions[p])
			i++
		}
	}
}

// add has the coordinator add partitions, unless one of them may not or cannot be added: then none is.
func (d *Deps) add(s *route.Session, a *addition, version int16, then func()) {
	if err := d.mayAdd(s, a, version); err != nil {
		a.each(func(_ int, _ string, p *kmsg.AddPartitionsToTxnResponseTopicPartition) {
			if p.ErrorCode == 0 {
				p.ErrorCode = route.Code(err)
			}
		})
		then()
		return
	}
	submit(d, a.event.TransactionalID, &a.event, func(errs []error, err error) {
		a.each(func(i int, _ string, p *kmsg.AddPartitionsToTxnResponseTopicPartition) {
			switch {
			case err != nil:
				p.ErrorCode = d.code(err, version, 2)
			case i < len(errs):
				p.ErrorCode = d.code(errs[i], version, 2)
			}
		})
		then()
	})
}

// mayAdd marks the partitions that may not be added. The error is for all others. What a client may do
// is not asked of a broker, which has asked already.
func (d *Deps) mayAdd(s *route.Session, a *addition, version int16) error {
	client := version < 4
	if client {
		if err := d.admit(s, a.event.TransactionalID); err != nil {
			return err
		}
	}
	image := d.Image()
	var refused error
	a.each(func(_ int, topic string, p *kmsg.AddPartitionsToTxnResponseTopicPartition) {
		var err error
		if client {
			err = d.mayWrite(s, topic)
		}
		if t, ok := image.Topic(topic); err == nil && (!ok || p.Partition < 0 || int(p.Partition) >= len(t.Partitions)) {
			err = kerr.UnknownTopicOrPartition
		}
		if err != nil {
			p.ErrorCode, refused = route.Code(err), kerr.OperationNotAttempted
		}
	})
	return refused
}

// mayWrite keeps clients out of the topics that the cluster keeps for itself: a marker there would be
// in the way of its own records.
func (d *Deps) mayWrite(s *route.Session, topic string) error {
	if metadata.IsInternal(topic) {
		return kerr.TopicAuthorizationFailed
	}
	return route.AuthorizeTopic(d.Authorizer, s, route.Write, topic)
}
