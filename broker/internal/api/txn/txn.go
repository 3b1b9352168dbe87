// Package txn answers the API keys of idempotent and transactional producers. One file is one key.
// Handlers check and translate; what happens to a transaction is decided by package txn of the broker,
// on the partition of __transaction_state that the transactional id belongs to.
package txn

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/txn"
)

// Coordinator is where transactions are decided on; coordinator.Runtime is one.
type Coordinator interface {
	Partition(key string) int32
	Partitions() int32
	Submit(partition int32, event any, done coordinator.Done)
}

// Deps is what the handlers of this package need.
type Deps struct {
	Coordinator    Coordinator
	GroupPartition func(group string) int32 // of __consumer_offsets
	ProducerIDs    *ProducerIDs
	Image          func() *metadata.Image
	Authorizer     route.Authorizer
	Logger         *slog.Logger
}

// submit has the coordinator of a transactional id decide on an event and calls then with the reply's
// value, which is V's zero value where there is none.
func submit[V any](d *Deps, id string, event any, then func(v V, err error)) {
	submitTo(d, d.Coordinator.Partition(id), event, then)
}

func submitTo[V any](d *Deps, partition int32, event any, then func(v V, err error)) {
	d.Coordinator.Submit(partition, event, func(value any, err error) {
		v, _ := value.(V)
		then(v, err)
	})
}

// decide submits an event that may turn out to need a producer id, and then again with one.
func (d *Deps) decide(ctx context.Context, s *route.Session, id string, event func(newID int64) any, then func(p txn.Producer, err error)) {
	again := func(newID int64) { submit(d, id, event(newID), then) }
	submit(d, id, event(-1), func(p txn.Producer, err error) {
		if !errors.Is(err, txn.ErrProducerIDNeeded) {
			then(p, err)
			return
		}
		if newID, ok := d.ProducerIDs.take(); ok {
			again(newID)
			return
		}
		route.Go(ctx, s, func(ctx context.Context) {
			newID, err := d.ProducerIDs.Next(ctx)
			if err != nil {
				then(txn.Producer{}, err)
				return
			}
			again(newID)
		})
	})
}

// admit checks what requests of a transactional producer need: the right to the id, and that it is one.
func (d *Deps) admit(s *route.Session, id string) error {
	if !d.Authorizer.Authorize(s, route.Write, route.TransactionalID, id) {
		return kerr.TransactionalIDAuthorizationFailed
	}
	if id == "" || !utf8.ValidString(id) {
		return kerr.InvalidRequest
	}
	return nil
}

// code is the code of an error in an answer of some version. Versions before PRODUCER_FENCED was
// introduced (KIP-588) tell a fenced producer that its epoch is invalid.
func (d *Deps) code(err error, version, fencedSince int16) int16 {
	if errors.Is(err, kerr.ProducerFenced) && version < fencedSince {
		return kerr.InvalidProducerEpoch.Code
	}
	return route.LogCode(d.Logger, err)
}

// parts is one Pending that several coordinators complete together.
type parts struct {
	left atomic.Int64
	last func()
}

func newParts(n int, last func()) *parts {
	p := &parts{last: last}
	if p.left.Store(int64(n)); n == 0 {
		last()
	}
	return p
}

// done is called once for each part.
func (p *parts) done() {
	if p.left.Add(-1) == 0 {
		p.last()
	}
}
