package txn

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/txn"
)

// EndTxn answers EndTxn (26): it commits or aborts the ongoing transaction. The answer comes when the
// outcome is in the log; from then on nothing can change it, and markers are on their way.
//
// Versions: 2 PRODUCER_FENCED (KIP-588); 3 flexible; 4 the client knows TRANSACTION_ABORTABLE; 5 each
// transaction has an epoch of its own, told with the end of the one before (KIP-890).
func EndTxn(d Deps) route.Route {
	return route.New(0, 5, func(ctx context.Context, s *route.Session, req *kmsg.EndTxnRequest, resp *kmsg.EndTxnResponse) *route.Pending {
		if err := d.admit(s, req.TransactionalID); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		p := route.NewPending()
		event := func(newID int64) any {
			return &txn.EndTxn{
				TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch,
				Commit: req.Commit, Bump: req.Version >= 5, NewProducerID: newID,
			}
		}
		d.decide(ctx, s, req.TransactionalID, event, func(next txn.Producer, err error) {
			if err != nil {
				resp.ErrorCode = d.code(err, req.Version, 2)
			} else {
				resp.ProducerID, resp.ProducerEpoch = next.ID, next.Epoch
			}
			p.Complete()
		})
		return p
	})
}
