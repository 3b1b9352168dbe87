package txn

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/txn"
)

// InitProducerID answers InitProducerId (22). Without a transactional id each call gives a new producer
// id with epoch 0, also to a producer that brings one, as Kafka does (KIP-98). With one it gives the
// epoch that fences all earlier producers of that id, once that is in the log.
//
// Versions: 2 flexible; 3 a producer may go on with its id and epoch (KIP-360); 4 PRODUCER_FENCED
// (KIP-588); 5 the client knows TRANSACTION_ABORTABLE (KIP-890).
func InitProducerID(d Deps) route.Route {
	return route.New(0, 5, func(ctx context.Context, s *route.Session, req *kmsg.InitProducerIDRequest, resp *kmsg.InitProducerIDResponse) *route.Pending {
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		if err := d.checkInit(s, req); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		if req.TransactionalID != nil {
			return d.initTransactional(ctx, s, req, resp)
		}
		if id, ok := d.ProducerIDs.take(); ok {
			resp.ProducerID, resp.ProducerEpoch = id, 0
			return nil
		}
		return route.Go(ctx, s, func(ctx context.Context) {
			id, err := d.ProducerIDs.Next(ctx)
			if err != nil {
				resp.ErrorCode = route.LogCode(d.Logger, err)
				return
			}
			resp.ProducerID, resp.ProducerEpoch = id, 0
		})
	})
}

func (d *Deps) initTransactional(ctx context.Context, s *route.Session, req *kmsg.InitProducerIDRequest, resp *kmsg.InitProducerIDResponse) *route.Pending {
	p := route.NewPending()
	event := func(newID int64) any {
		return &txn.InitProducer{
			TransactionalID: *req.TransactionalID, Timeout: time.Duration(req.TransactionTimeoutMillis) * time.Millisecond,
			ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, NewProducerID: newID,
		}
	}
	d.decide(ctx, s, *req.TransactionalID, event, func(now txn.Producer, err error) {
		if err != nil {
			resp.ErrorCode = d.code(err, req.Version, 4)
		} else {
			resp.ProducerID, resp.ProducerEpoch = now.ID, now.Epoch
		}
		p.Complete()
	})
	return p
}

// checkInit says why a request gets no id.
func (d *Deps) checkInit(s *route.Session, req *kmsg.InitProducerIDRequest) error {
	if req.Version >= 3 && (req.ProducerID == -1) != (req.ProducerEpoch == -1) {
		return kerr.InvalidRequest
	}
	if req.TransactionalID != nil {
		return d.admit(s, *req.TransactionalID)
	}
	return route.AuthorizeCluster(d.Authorizer, s, route.IdempotentWrite)
}
