package txn

import (
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
)

// completion is a transaction whose outcome is decided and whose markers are on their way.
type completion struct {
	left    []TopicPartition // without a marker yet
	sent    bool             // a Send is under way
	waiting []waiter
}

// waiter is a request of the next transaction.
type waiter struct {
	token machine.Token
	event any
}

// complete begins to write the markers of a transaction in a Prepare state.
func (t *turn) complete(id string, x *transaction) {
	if len(x.partitions) == 0 {
		t.finish(id, x)
		return
	}
	t.completing[id] = &completion{left: x.partitions}
	t.sendMarkers(id)
}

// sendMarkers sends the markers that are not written yet.
func (t *turn) sendMarkers(id string) {
	c, x := t.completing[id], t.find(id)
	if c == nil || c.sent || x == nil {
		return
	}
	c.sent = true
	t.effects.Sends = append(t.effects.Sends, machine.Send{Broker: anyBroker, Request: &WriteMarkers{
		TransactionalID: id, ProducerID: x.producerID, ProducerEpoch: x.epoch, CoordinatorEpoch: t.epoch,
		Commit: x.state == PrepareCommit, Bumped: x.version >= version2, Partitions: c.left,
	}})
}

// anyBroker leaves it to the sender who leads which partition.
const anyBroker = -1

// answered takes the outcome of a WriteMarkers. What is not delivered is sent again after a while.
func (t *turn) answered(a machine.Answered) {
	w, ok := a.Send.Request.(*WriteMarkers)
	if !ok {
		return
	}
	c, x := t.completing[w.TransactionalID], t.find(w.TransactionalID)
	if c == nil || x == nil || !c.sent || x.producerID != w.ProducerID || x.epoch != w.ProducerEpoch {
		return
	}
	c.sent = false
	errs, ok := a.Value.([]error)
	if a.Err == nil && ok && len(errs) == len(w.Partitions) {
		c.left = undelivered(w.Partitions, errs)
	}
	if len(c.left) > 0 {
		t.timer(timerMarkers, w.TransactionalID, t.now.Add(t.options.MarkerRetry))
		return
	}
	t.finish(w.TransactionalID, x)
}

// undelivered are the partitions that still need a marker. A deleted partition needs none, and neither
// does one that knows a later epoch of the producer: its transaction ended without us.
func undelivered(partitions []TopicPartition, errs []error) []TopicPartition {
	var left []TopicPartition
	for i, err := range errs {
		if err == nil || errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.InvalidProducerEpoch) {
			continue
		}
		left = append(left, partitions[i])
	}
	return left
}

// finish writes down that every marker is written, and lets the requests of the next transaction go on.
func (t *turn) finish(id string, x *transaction) {
	state := CompleteAbort
	if x.state == PrepareCommit {
		state = CompleteCommit
	}
	next := x.to(state, t.now.UnixMilli())
	next.partitions = nil
	if x.nextID != noProducer {
		next.producerID, next.epoch, next.nextID = x.nextID, 0, noProducer
	}
	t.set(id, next)
	c := t.completing[id]
	delete(t.completing, id)
	if c == nil || c.waiting == nil {
		return
	}
	t.timer(timerHold, id, noTime())
	token := t.token
	for _, w := range c.waiting {
		t.token = w.token
		t.decide(w.event)
	}
	t.token = token
}

// hold lets a request wait for the completion of the transaction before its own, so that a client that
// goes on at once is not sent away to come back later.
func (t *turn) hold(id string, event any) {
	c := t.completing[id]
	if c.waiting == nil {
		t.timer(timerHold, id, t.now.Add(t.options.MaxHold))
	}
	c.waiting = append(c.waiting, waiter{t.token, event})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
