package admin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/config"
)

// maxPartitions bounds how many partitions one request may create, as Kafka does.
const maxPartitions = 10_000

// wanted is a topic as somebody asks for it.
type wanted struct {
	name       string
	partitions int32 // -1 for the default
	factor     int32 // -1 for the default
	replicas   [][]int32
	configs    map[string]string
}

// plan turns what was asked for into what is proposed. It does not promise that
// the proposal will be taken.
func (d *Deps) plan(img *metadata.Image, w wanted) (metadata.NewTopic, error) {
	if w.name == metadata.ClusterMetadata {
		return metadata.NewTopic{}, metadata.Refuse(kerr.InvalidRequest, "topic %q is kept for the metadata log", w.name)
	}
	if err := img.CheckNew(w.name); err != nil {
		return metadata.NewTopic{}, err
	}
	if err := checkConfigs(d.TopicKeys, w.configs); err != nil {
		return metadata.NewTopic{}, err
	}
	assignments := w.replicas
	if assignments == nil {
		var err error
		if assignments, err = d.place(img, w); err != nil {
			return metadata.NewTopic{}, err
		}
	}
	t := metadata.NewTopic{Name: w.name, Internal: metadata.IsInternal(w.name), Assignments: assignments, Configs: w.configs}
	if err := d.newID(&t.ID); err != nil {
		return metadata.NewTopic{}, err
	}
	return t, nil
}

// place puts the partitions of a topic on brokers, beginning where the partitions
// there are leave off.
func (d *Deps) place(img *metadata.Image, w wanted) ([][]int32, error) {
	if w.partitions == -1 {
		w.partitions = d.brokerInt(img, "num.partitions")
	}
	if w.factor == -1 {
		w.factor = d.brokerInt(img, "default.replication.factor")
	}
	switch {
	case w.partitions <= 0:
		return nil, metadata.Refuse(kerr.InvalidPartitions, "number of partitions %d is not above zero", w.partitions)
	case w.factor <= 0:
		return nil, metadata.Refuse(kerr.InvalidReplicationFactor, "replication factor %d is not above zero; -1 takes the default", w.factor)
	case w.partitions > maxPartitions:
		return nil, tooMany()
	}
	return img.Place(w.partitions, w.factor, uint32(img.PartitionCount()))
}

func tooMany() error {
	return metadata.Refuse(kerr.PolicyViolation, "one request may create at most %d partitions", maxPartitions)
}

// newID draws a topic id. The first ids are Kafka's own.
func (d *Deps) newID(id *metadata.ID) error {
	for binary.BigEndian.Uint64(id[:]) == 0 {
		if _, err := io.ReadFull(d.Rand, id[:]); err != nil {
			return fmt.Errorf("draw topic id: %w", err)
		}
	}
	return nil
}

// checkConfigs refuses the first value that its key does not take.
func checkConfigs(keys *config.Set, values map[string]string) error {
	for name, value := range values {
		if err := keys.Check(name, value); err != nil {
			return metadata.Refuse(kerr.InvalidConfig, "%s", err)
		}
	}
	return nil
}

// Ensure creates the topics that are missing, as a client that only names them
// wants them, in one change; it returns when they are in force. Internal topics get
// their own settings, with the replication factor clamped to the brokers there are. The map has the topics that could not be created.
func (d *Deps) Ensure(ctx context.Context, names ...string) map[string]error {
	img := d.Image()
	failed := map[string]error{}
	created := 0
	var c metadata.CreateTopics
	for _, name := range names {
		if _, ok := img.Topic(name); ok {
			continue
		}
		t, err := d.plan(img, d.unasked(img, name))
		if created += len(t.Assignments); err == nil && created > maxPartitions {
			err = tooMany()
		}
		if err != nil {
			failed[name] = err
			continue
		}
		c.Topics = append(c.Topics, t)
	}
	if len(c.Topics) == 0 {
		return failed
	}
	r, err := d.propose(ctx, 0, c)
	for i, t := range c.Topics {
		err := proposed(r, err, i)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			failed[t.Name] = err
		}
	}
	return failed
}

// EnsureTopic is Ensure for one topic.
func (d *Deps) EnsureTopic(ctx context.Context, name string) error { return d.Ensure(ctx, name)[name] }

// unasked is how a topic looks that nobody described.
func (d *Deps) unasked(img *metadata.Image, name string) wanted {
	w := wanted{name: name, partitions: -1, factor: d.brokerInt(img, "default.replication.factor")}
	switch name {
	case metadata.ConsumerOffsets:
		w.partitions = d.brokerInt(img, "offsets.topic.num.partitions")
		w.factor = d.brokerInt(img, "offsets.topic.replication.factor")
		w.configs = map[string]string{
			"cleanup.policy":   "compact",
			"compression.type": "producer",
			"segment.bytes":    d.brokerText(img, "offsets.topic.segment.bytes"),
		}
	case metadata.TransactionState:
		w.partitions = d.brokerInt(img, "transaction.state.log.num.partitions")
		w.factor = d.brokerInt(img, "transaction.state.log.replication.factor")
		w.configs = map[string]string{
			"cleanup.policy":      "compact",
			"compression.type":    "uncompressed",
			"segment.bytes":       d.brokerText(img, "transaction.state.log.segment.bytes"),
			"min.insync.replicas": d.brokerText(img, "transaction.state.log.min.isr"),
		}
	}
	w.factor = min(w.factor, int32(len(img.Brokers())))
	return w
}
