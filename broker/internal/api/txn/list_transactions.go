package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/txn"
)

// longestPattern bounds the expression that a client may have every id matched with, in bytes.
const longestPattern = 1 << 10

// ListTransactions answers ListTransactions (66): the transactional ids that this broker coordinates,
// sorted (KIP-664).
//
// Versions: 1 transactions that run for longer than a time (KIP-994); 2 ids that match an expression as
// a whole (KIP-1152).
func ListTransactions(d Deps) route.Route {
	return route.New(0, 2, func(_ context.Context, s *route.Session, req *kmsg.ListTransactionsRequest, resp *kmsg.ListTransactionsResponse) *route.Pending {
		event, err := listEvent(req, resp)
		if err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		if len(req.StateFilters) > 0 && len(event.States) == 0 {
			return nil // none of the states exists
		}
		n := int(d.Coordinator.Partitions())
		found := make([][]kmsg.ListTransactionsResponseTransactionState, n)
		failed := make([]error, n)
		p := route.NewPending()
		all := newParts(n, func() {
			d.fillList(resp, s, found, failed)
			p.Complete()
		})
		for i := range n {
			submitTo(&d, int32(i), event, func(v []kmsg.ListTransactionsResponseTransactionState, err error) {
				found[i], failed[i] = v, err
				all.done()
			})
		}
		return p
	})
}

// listEvent translates the filters. States that do not exist are told once each and otherwise left out.
func listEvent(req *kmsg.ListTransactionsRequest, resp *kmsg.ListTransactionsResponse) (*txn.List, error) {
	e := &txn.List{ProducerIDs: req.ProducerIDFilters, Duration: -1}
	for _, state := range req.StateFilters {
		if txn.KnownState(state) {
			e.States = append(e.States, state)
		} else if !slices.Contains(resp.UnknownStateFilters, state) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, state)
		}
	}
	if req.DurationFilterMillis >= 0 {
		e.Duration = time.Duration(min(req.DurationFilterMillis, int64(1<<63-1)/int64(time.Millisecond))) * time.Millisecond
	}
	if pattern := req.TransactionalIDPattern; pattern != nil && *pattern != "" {
		if len(*pattern) > longestPattern {
			return nil, fmt.Errorf("pattern of %d bytes: %w", len(*pattern), kerr.InvalidRegularExpression)
		}
		compiled, err := regexp.Compile(`^(?:` + *pattern + `)$`)
		if err != nil {
			return nil, errors.Join(err, kerr.InvalidRegularExpression)
		}
		e.Pattern = compiled
	}
	return e, nil
}

// fillList joins what the partitions answered. One that this broker does not coordinate has nothing to
// show.
func (d *Deps) fillList(resp *kmsg.ListTransactionsResponse, s *route.Session, found [][]kmsg.ListTransactionsResponseTransactionState, failed []error) {
	for _, err := range failed {
		if err != nil && !errors.Is(err, kerr.NotCoordinator) {
			resp.ErrorCode = route.LogCode(d.Logger, err)
			return
		}
	}
	all := slices.DeleteFunc(slices.Concat(found...), func(x kmsg.ListTransactionsResponseTransactionState) bool {
		return !d.Authorizer.Authorize(s, route.Describe, route.TransactionalID, x.TransactionalID)
	})
	slices.SortFunc(all, func(x, y kmsg.ListTransactionsResponseTransactionState) int {
		return cmp.Compare(x.TransactionalID, y.TransactionalID)
	})
	resp.TransactionStates = all
}
