// Package group answers the requests of consumer groups, one file per API key. Handlers check and
// translate; what happens to a group is decided by package group, on the partition of
// __consumer_offsets that the group's id belongs to.
package group

import (
	"sync/atomic"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// Coordinator is where groups are decided on; coordinator.Runtime is one.
type Coordinator interface {
	Partition(key string) int32
	Partitions() int32
	Submit(partition int32, event any, done coordinator.Done)
	Query(partition int32, event any) (any, error)
}

// Images returns the cluster as it is now. It does not block.
type Images func() *metadata.Image

// submit has a group's coordinator decide on an event and calls then with the reply's value, which is
// V's zero value where the reply has none.
func submit[V any](c Coordinator, group string, event any, then func(v V, err error)) {
	submitTo(c, c.Partition(group), event, then)
}

func submitTo[V any](c Coordinator, partition int32, event any, then func(v V, err error)) {
	c.Submit(partition, event, func(value any, err error) { then(as[V](value), err) })
}

func as[V any](value any) V {
	if v, ok := value.(V); ok {
		return v
	}
	var none V
	return none
}

// parts is one Pending that several coordinators complete together.
type parts struct {
	pending *route.Pending
	left    atomic.Int64
}

func newParts(n int) *parts {
	p := &parts{pending: route.NewPending()}
	if p.left.Store(int64(n)); n == 0 {
		p.pending.Complete()
	}
	return p
}

// done is called once for each part.
func (p *parts) done() {
	if p.left.Add(-1) == 0 {
		p.pending.Complete()
	}
}

// admit checks what most requests of a member need: a group id, and the right to use the group.
func admit(a route.Authorizer, s *route.Session, group string) error {
	if err := route.AuthorizeGroup(a, s, route.Read, group); err != nil {
		return err
	}
	if group == "" {
		return kerr.InvalidGroupID
	}
	return legible(group)
}

// legible refuses a group id that is not text: it would be stored and shown.
func legible(group string) error {
	if !utf8.ValidString(group) {
		return kerr.InvalidGroupID
	}
	return nil
}

// resolve finds the topic that a request names, by id since the version that has ids, and checks that
// it may be used.
func resolve(a route.Authorizer, s *route.Session, op route.Operation, i *metadata.Image, name string, id metadata.ID, byID bool) (*metadata.Topic, error) {
	if byID {
		t, ok := i.TopicByID(id)
		if !ok {
			return nil, kerr.UnknownTopicID
		}
		return t, route.AuthorizeTopic(a, s, op, t.Name)
	}
	if err := route.AuthorizeTopic(a, s, op, name); err != nil {
		return nil, err
	}
	t, ok := i.Topic(name)
	if !ok {
		return nil, kerr.UnknownTopicOrPartition
	}
	return t, nil
}

func hasPartition(t *metadata.Topic, partition int32) bool {
	return partition >= 0 && int(partition) < len(t.Partitions)
}
