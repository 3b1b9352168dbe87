package txn

import (
	"context"
	"fmt"
	"sync"

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
