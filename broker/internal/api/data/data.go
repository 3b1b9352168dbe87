// Package data answers the API keys that move data: Produce, Fetch and what goes
// with them. Produce and Fetch read and write their own bytes, so that no record
// is copied on its way between a connection and a log.
package data

import (
	"encoding/binary"
	"errors"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

// Partitions are the partitions that this broker serves. The error tells why it
// does not serve one, as a *kerr.Error or a sentinel of the storage. Safe for
// concurrent use; it does not block.
type Partitions interface {
	Partition(topic string, index int32) (*partition.Partition, error)
}

// Deps are what the handlers of this package need. All but the limits are required.
type Deps struct {
	Image         func() *metadata.Image
	Partitions    Partitions
	Transactions  Transactions
	Authorizer    route.Authorizer
	Quota         route.Quota
	Clock         env.Clock
	Logger        *slog.Logger
	Random        func() int32 // ids of fetch sessions; safe for concurrent use
	FetchMaxBytes int          // fetch.max.bytes; 0 is Kafka's 55 MiB
	FetchSessions int          // max.incremental.fetch.session.cache.slots; 0 is Kafka's 1000, below there are none
}

// byID is the version from which Produce and Fetch name topics by id (KIP-516).
const byID = 13

// maxPartitions bounds the topics and partitions of one Produce or Fetch, because
// each takes many times its bytes in memory.
const maxPartitions = 1 << 17

// topicRef is how a request names a topic, and the topic it was resolved to.
type topicRef struct {
	name string // "" where the id named nothing
	id   [16]byte
	meta *metadata.Topic // nil where there is no such topic
	err  error           // why no partition of it is served
}

// readTopic reads the name or id of a topic, as the version has it. The name of a topic that
// there is costs no memory.
func readTopic(r *wire.Reader, version int16, img *metadata.Image) (t topicRef) {
	if version >= byID {
		t.id = r.UUID()
		return t
	}
	name := r.String()
	if meta, ok := img.Topic(string(name)); ok {
		t.name = meta.Name
	} else {
		t.name = string(name)
	}
	return t
}

// appendTopic appends what readTopic read.
func appendTopic(dst []byte, t *topicRef, version int16, flexible bool) []byte {
	if version >= byID {
		return append(dst, t.id[:]...)
	}
	return wire.AppendString(dst, t.name, flexible)
}

// resolve finds the topic in the image and asks for permission.
func (d *Deps) resolve(img *metadata.Image, s *route.Session, op route.Operation, t *topicRef, version int16) {
	unknown := error(kerr.UnknownTopicOrPartition)
	if version >= byID {
		unknown = kerr.UnknownTopicID
		if meta, ok := img.TopicByID(t.id); ok {
			t.meta, t.name = meta, meta.Name
		}
	} else if meta, ok := img.Topic(t.name); ok {
		t.meta = meta
	}
	switch {
	case version >= byID && t.meta == nil:
		t.err = unknown
	case !d.Authorizer.Authorize(s, op, route.Topic, t.name):
		t.err = kerr.TopicAuthorizationFailed
	case t.meta == nil:
		t.err = unknown
	}
}

// find returns a partition of a resolved topic.
func (d *Deps) find(t *topicRef, index int32) (*partition.Partition, error) {
	if t.err != nil {
		return nil, t.err
	}
	if index < 0 || int(index) >= len(t.meta.Partitions) {
		return nil, kerr.UnknownTopicOrPartition
	}
	p, err := d.Partitions.Partition(t.name, index)
	if err != nil {
		return nil, err
	}
	if p.TopicID() != t.meta.ID { // the topic was deleted and made again since the image
		return nil, kerr.NotLeaderForPartition
	}
	return p, nil
}

// hint is the leader that a client should turn to (KIP-951).
type hint struct{ leader, epoch int32 }

// hintFor returns the leader of a partition when err says that the client has the wrong one.
func hintFor(t *topicRef, index int32, err error) (hint, bool) {
	if t.meta == nil || index < 0 || int(index) >= len(t.meta.Partitions) ||
		!errors.Is(err, kerr.NotLeaderForPartition) && !errors.Is(err, kerr.FencedLeaderEpoch) {
		return hint{}, false
	}
	p := &t.meta.Partitions[index]
	return hint{p.Leader, p.LeaderEpoch}, p.Leader >= 0
}

// append appends the CurrentLeader field: leader, epoch, no tags.
func (h hint) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.leader))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.epoch))
	return append(dst, 0)
}

// appendNodes appends the tagged fields at the end of a response: where the
// leaders that were hinted at are reached, tag 0, or none.
func appendNodes(dst []byte, img *metadata.Image, listener string, hints []hint) []byte {
	var nodes []byte
	count := 0
	for i, h := range hints {
		broker, ok := img.Broker(h.leader)
		if !ok || hinted(hints[:i], h.leader) {
			continue
		}
		at, ok := broker.Endpoint(listener)
		if !ok {
			continue
		}
		count++
		nodes = binary.BigEndian.AppendUint32(nodes, uint32(h.leader))
		nodes = wire.AppendString(nodes, at.Host, true)
		nodes = binary.BigEndian.AppendUint32(nodes, uint32(at.Port))
		nodes = wire.AppendNullString(nodes, broker.Rack, true)
		nodes = append(nodes, 0)
	}
	if count == 0 {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	return wire.AppendTagged(dst, 0, append(wire.AppendArrayLen(nil, count, true), nodes...))
}

func hinted(hints []hint, leader int32) bool {
	for _, h := range hints {
		if h.leader == leader {
			return true
		}
	}
	return false
}

// appendThrottle appends how long the client should be silent.
func appendThrottle(dst []byte, millis int32) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(millis))
}
