package group

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// The TxnOffsetCommit versions of clients that know TRANSACTION_ABORTABLE, and of those that leave it
// to the broker to add the group to their transactions (KIP-890).
const (
	commitAbortable = 4
	commitAdds      = 5
)

// TxnOffsetCommit answers TxnOffsetCommit (28): it stores how far a group has read once the producer's
// transaction is committed. The answer comes when that is in the log.
//
// Versions: 2 leader epoch (KIP-320); 3 flexible, member and generation (KIP-447); 4
// TRANSACTION_ABORTABLE and 5 groups that join the transaction by being committed to (KIP-890).
func TxnOffsetCommit(c Coordinator, images Images, a route.Authorizer) route.Route {
	return route.New(0, 5, func(_ context.Context, s *route.Session, req *kmsg.TxnOffsetCommitRequest, resp *kmsg.TxnOffsetCommitResponse) *route.Pending {
		e := &group.CommitInTransaction{
			TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, Add: req.Version >= commitAdds,
			Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		}
		codes := prepareTxnCommit(e, images(), s, a, req, resp)
		if len(codes) == 0 {
			return nil
		}
		p := route.NewPending()
		submit(c, req.Group, e, func(errs []error, err error) {
			if errors.Is(err, kerr.TransactionAbortable) && req.Version < commitAbortable {
				err = kerr.InvalidTxnState
			}
			answerCommit(codes, errs, err)
			p.Complete()
		})
		return p
	})
}

// admitTxn checks the right to the transactional id and to the group.
func admitTxn(a route.Authorizer, s *route.Session, req *kmsg.TxnOffsetCommitRequest) error {
	if !a.Authorize(s, route.Write, route.TransactionalID, req.TransactionalID) {
		return kerr.TransactionalIDAuthorizationFailed
	}
	return admit(a, s, req.Group)
}

// prepareTxnCommit lays the response out like the request and moves what may be committed into the
// event. For each offset there it returns where its error code goes.
func prepareTxnCommit(e *group.CommitInTransaction, image *metadata.Image, s *route.Session, a route.Authorizer, req *kmsg.TxnOffsetCommitRequest, resp *kmsg.TxnOffsetCommitResponse) []*int16 {
	var codes []*int16
	refused := admitTxn(a, s, req)
	resp.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		in, out := &req.Topics[i], &resp.Topics[i]
		*out = kmsg.NewTxnOffsetCommitResponseTopic()
		out.Topic = in.Topic
		out.Partitions = make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(in.Partitions))
		var topic *metadata.Topic
		err := refused
		if err == nil {
			topic, err = resolve(a, s, route.Read, image, in.Topic, metadata.ID{}, false)
		}
		for j := range in.Partitions {
			from, to := &in.Partitions[j], &out.Partitions[j]
			*to = kmsg.NewTxnOffsetCommitResponseTopicPartition()
			to.Partition = from.Partition
			if to.ErrorCode = commitCode(topic, from.Partition, err); to.ErrorCode == 0 {
				e.Offsets = append(e.Offsets, commitOf(topic, from.Partition, from.Offset, from.LeaderEpoch, from.Metadata))
				codes = append(codes, &to.ErrorCode)
			}
		}
	}
	return codes
}
