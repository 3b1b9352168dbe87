package txn

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/txn"
)

// AddOffsetsToTxn answers AddOffsetsToTxn (25): the offsets of a group become part of the ongoing
// transaction, as the partition of __consumer_offsets that they are kept on.
//
// Versions: 2 PRODUCER_FENCED (KIP-588); 3 flexible; 4 the client knows TRANSACTION_ABORTABLE (KIP-890).
func AddOffsetsToTxn(d Deps) route.Route {
	return route.New(0, 4, func(_ context.Context, s *route.Session, req *kmsg.AddOffsetsToTxnRequest, resp *kmsg.AddOffsetsToTxnResponse) *route.Pending {
		err := d.admit(s, req.TransactionalID)
		if err == nil {
			err = route.AuthorizeGroup(d.Authorizer, s, route.Read, req.Group)
		}
		if err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		p := route.NewPending()
		submit(&d, req.TransactionalID, &txn.AddPartitions{
			TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, Explicit: true,
			Partitions: []txn.TopicPartition{{Topic: metadata.ConsumerOffsets, Partition: d.GroupPartition(req.Group)}},
		}, func(_ []error, err error) {
			resp.ErrorCode = d.code(err, req.Version, 2)
			p.Complete()
		})
		return p
	})
}
