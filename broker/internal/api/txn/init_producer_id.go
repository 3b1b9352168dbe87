// Package txn answers the API keys of idempotent and transactional producers. One
// file is one key.
package txn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// ProducerIDs hands out producer ids from blocks that the metadata log allocates.
// A block is durable before its first id leaves, and a new life of the node begins
// a new block, so that no id is ever handed out twice. It is safe for concurrent
// use.
type ProducerIDs struct {
	node    int32
	propose func(ctx context.Context, c metadata.Command) (metadata.Result, error)

	mu        sync.Mutex
	next, end int64
	refill    chan struct{} // closed when the proposal under way is over; nil without one
}

// NewProducerIDs returns a source of ids without a block.
func NewProducerIDs(node int32, propose func(ctx context.Context, c metadata.Command) (metadata.Result, error)) *ProducerIDs {
	return &ProducerIDs{node: node, propose: propose}
}

// take returns the next id of the block, and false where a block is needed first.
func (p *ProducerIDs) take() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		return 0, false
	}
	p.next++
	return p.next - 1, true
}

// Next returns an id. It waits for a new block where the old one is used up; one
// caller proposes, the others wait for it.
func (p *ProducerIDs) Next(ctx context.Context) (int64, error) {
	for {
		if id, ok := p.take(); ok {
			return id, nil
		}
		if err := p.fill(ctx); err != nil {
			return 0, err
		}
	}
}

func (p *ProducerIDs) fill(ctx context.Context) error {
	p.mu.Lock()
	wait := p.refill
	if wait == nil && p.next == p.end {
		p.refill = make(chan struct{})
		p.mu.Unlock()
		return p.allocate(ctx)
	}
	p.mu.Unlock()
	if wait == nil {
		return nil // somebody was faster
	}
	select {
	case <-wait:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("producer ids: %w", context.Cause(ctx))
	}
}

func (p *ProducerIDs) allocate(ctx context.Context) error {
	r, err := p.propose(ctx, metadata.AllocateProducerIDs{Broker: p.node})
	if err == nil {
		err = r.Err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.refill)
	p.refill = nil
	if err != nil {
		return fmt.Errorf("producer ids: %w", err)
	}
	p.next, p.end = r.First, r.First+metadata.ProducerIDBlock
	return nil
}

// Deps is what the handlers of this package need.
type Deps struct {
	ProducerIDs *ProducerIDs
	Authorizer  route.Authorizer
	Logger      *slog.Logger
}

// InitProducerID answers key 22, versions 0 to 5, for idempotent producers
// (KIP-98): each call gives a new id with epoch 0, also to a producer that brings
// one, as Kafka does outside of transactions (KIP-360).
//
// A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED: it is
// the one code that Java, librdkafka, franz-go and sarama all take as final.
// Coordinator codes are asked again for ever, and librdkafka repeats the unknown.
func InitProducerID(d Deps) route.Route {
	return route.New(0, 5, func(ctx context.Context, s *route.Session, req *kmsg.InitProducerIDRequest, resp *kmsg.InitProducerIDResponse) *route.Pending {
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		if err := d.check(s, req); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
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

// check says why a request gets no id.
func (d *Deps) check(s *route.Session, req *kmsg.InitProducerIDRequest) error {
	switch {
	case req.TransactionalID != nil && *req.TransactionalID == "":
		return kerr.InvalidRequest
	case req.TransactionalID != nil:
		return kerr.TransactionalIDAuthorizationFailed
	case req.Version >= 3 && (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		return kerr.InvalidRequest
	}
	return route.AuthorizeCluster(d.Authorizer, s, route.IdempotentWrite)
}
