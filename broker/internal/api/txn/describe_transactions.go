package txn

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/txn"
)

// DescribeTransactions answers DescribeTransactions (65): the state of transactional ids and the
// partitions of their transactions (KIP-664). Topics that the client may not describe are left out.
func DescribeTransactions(d Deps) route.Route {
	return route.New(0, 0, func(_ context.Context, s *route.Session, req *kmsg.DescribeTransactionsRequest, resp *kmsg.DescribeTransactionsResponse) *route.Pending {
		resp.TransactionStates = make([]kmsg.DescribeTransactionsResponseTransactionState, len(req.TransactionalIDs))
		p := route.NewPending()
		all := newParts(len(req.TransactionalIDs), p.Complete)
		for i, id := range req.TransactionalIDs {
			out := &resp.TransactionStates[i]
			*out = kmsg.NewDescribeTransactionsResponseTransactionState()
			out.TransactionalID = id
			if err := d.mayDescribe(s, id); err != nil {
				out.ErrorCode = route.Code(err)
				all.done()
				continue
			}
			submit(&d, id, &txn.Describe{TransactionalID: id}, func(found *kmsg.DescribeTransactionsResponseTransactionState, err error) {
				if err != nil {
					out.ErrorCode = route.LogCode(d.Logger, err)
				} else {
					*out = *found
					out.Topics = slices.DeleteFunc(out.Topics, func(t kmsg.DescribeTransactionsResponseTransactionStateTopic) bool {
						return !d.Authorizer.Authorize(s, route.Describe, route.Topic, t.Topic)
					})
				}
				all.done()
			})
		}
		return p
	})
}

func (d *Deps) mayDescribe(s *route.Session, id string) error {
	if !d.Authorizer.Authorize(s, route.Describe, route.TransactionalID, id) {
		return kerr.TransactionalIDAuthorizationFailed
	}
	if id == "" {
		return kerr.InvalidRequest
	}
	return nil
}
