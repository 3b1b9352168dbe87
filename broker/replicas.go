package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/controller"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// replicas are the partitions that this node holds. Only reconcile changes them,
// from the controller's one goroutine; everybody reads the map without a lock.
type replicas struct {
	env          env.Env
	dir          *commitlog.Dir
	nodeID       int32
	configs      configs
	groups       *groupCoordinators
	transactions *coordinators
	meters       *meters
	logger       *slog.Logger
	coders       *record.Coders
	held         atomic.Pointer[map[string]*held] // by topic
}

// held is one topic on this node.
type held struct {
	id         metadata.ID
	partitions []replica // by index; none where this node holds none
}

// replica is a partition with its log. The zero replica is none.
type replica struct {
	*partition.Partition
	log *commitlog.Log
}

func (r replica) none() bool { return r.Partition == nil }

// Partition returns a partition that this node leads, or UNKNOWN_TOPIC_OR_PARTITION.
func (r *replicas) Partition(topic string, index int32) (*partition.Partition, error) {
	if all := r.held.Load(); all != nil {
		if h := (*all)[topic]; h != nil && index >= 0 && int(index) < len(h.partitions) && !h.partitions[index].none() {
			return h.partitions[index].Partition, nil
		}
	}
	return nil, kerr.UnknownTopicOrPartition
}

// each visits every partition held.
func (r *replicas) each(f func(p *partition.Partition)) {
	all := r.held.Load()
	if all == nil {
		return
	}
	for _, h := range *all {
		for _, p := range h.partitions {
			if !p.none() {
				f(p.Partition)
			}
		}
	}
}

// reconcile puts an image in force: it closes what was deleted and opens and
// leads what this node is to lead. What it could not open it returns as joined
// *controller.PartitionError; the rest serves.
func (r *replicas) reconcile(_ context.Context, from, to *metadata.Image) error {
	delta := metadata.Diff(from, to)
	next := map[string]*held{}
	if all := r.held.Load(); all != nil {
		maps.Copy(next, *all)
	}
	for _, t := range delta.Deleted {
		r.drop(next, t)
	}
	if from == nil {
		r.warnOfStrays(to)
	}
	err := r.hold(next, touched(delta), to)
	r.held.Store(&next)
	r.reconfigure(next, delta, to)
	r.groups.deleted(delta.Deleted)
	return err
}

// touched are the topics with a partition to open or lead, each once: two openings
// of one log would fail one another.
func touched(delta metadata.Delta) []*metadata.Topic {
	topics := slices.Clone(delta.Created)
	for _, change := range delta.Grown {
		topics = append(topics, change.New)
	}
	for _, change := range delta.Led {
		topics = append(topics, change.Topic)
	}
	slices.SortFunc(topics, func(a, b *metadata.Topic) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(topics)
}

// hold opens and leads every partition of the topics that the image has this node lead.
func (r *replicas) hold(all map[string]*held, topics []*metadata.Topic, image *metadata.Image) error {
	for _, t := range topics {
		h := &held{id: t.ID, partitions: make([]replica, len(t.Partitions))}
		if old := all[t.Name]; old != nil && old.id == t.ID {
			copy(h.partitions, old.partitions)
		}
		all[t.Name] = h
	}
	err := r.openMissing(all, topics, image)
	for _, t := range topics {
		for i, state := range t.Partitions {
			p := all[t.Name].partitions[i]
			if p.none() || state.Leader != r.nodeID {
				continue
			}
			p.Lead(state.LeaderEpoch)
			if c := r.coordinators(t.Name); c != nil {
				c.lead(int32(i), state.LeaderEpoch, p.Partition)
			}
		}
	}
	return err
}

// coordinators returns those on the partitions of a topic, nil for most topics.
func (r *replicas) coordinators(topic string) *coordinators {
	switch topic {
	case metadata.ConsumerOffsets:
		return r.groups.coordinators
	case metadata.TransactionState:
		return r.transactions
	}
	return nil
}

// openers is how many logs are opened at a time: recovery waits for the disk.
const openers = 16

// openMissing opens the partitions that this node is to lead and does not hold yet.
func (r *replicas) openMissing(all map[string]*held, topics []*metadata.Topic, image *metadata.Image) error {
	var mu sync.Mutex // guards errs
	var errs []error
	var g errgroup.Group
	g.SetLimit(openers)
	for _, t := range topics {
		partitions := all[t.Name].partitions
		for i, state := range t.Partitions {
			if state.Leader != r.nodeID || !partitions[i].none() {
				continue
			}
			g.Go(func() error {
				opened, err := r.open(t, int32(i), image)
				if err == nil {
					partitions[i] = opened
					return nil
				}
				r.logger.Error("partition does not serve", slog.String("topic", t.Name), slog.Int("partition", i), slog.Any("err", err))
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, &controller.PartitionError{Topic: t.Name, Partition: int32(i), Err: err})
				return nil
			})
		}
	}
	_ = g.Wait() // what failed is in errs
	return errors.Join(errs...)
}

// warnOfStrays names the folders of partitions that the metadata does not know:
// leftovers of a deletion that a crash cut short, or of lost metadata. They stay.
func (r *replicas) warnOfStrays(image *metadata.Image) {
	found, err := r.dir.Logs()
	if err != nil {
		r.logger.Warn("data directory cannot be listed", slog.Any("err", err))
		return
	}
	for _, f := range found {
		t, known := image.Topic(f.Topic)
		if known && (!f.HasID || t.ID == f.TopicID) || f.Topic == metadata.ClusterMetadata {
			continue
		}
		r.logger.Warn("folder belongs to no topic; it is kept and not served", slog.String("topic", f.Topic), slog.Int("partition", int(f.Partition)))
	}
}

// open recovers or creates the log of a partition.
func (r *replicas) open(t *metadata.Topic, index int32, image *metadata.Image) (replica, error) {
	values := r.configs.topic(image, t.Name)
	producers := producer.New()
	log, err := r.dir.Open(t.Name, index, t.ID, values.log(t.Internal), producers)
	if errors.Is(err, commitlog.ErrForeign) {
		log, err = r.openBesideStray(t, index, values, producers)
	}
	if err != nil {
		return replica{}, err
	}
	p := partition.New(partition.Options{
		Topic: t.Name, Index: index, TopicID: t.ID, Log: log, Producers: producers, Env: r.env,
		Config: values.partition(t.Internal), Logger: r.logger, Coders: r.coders, Meter: r.meters.topic(t.Name),
	})
	return replica{Partition: p, log: log}, nil
}

// openBesideStray sets the folder of another topic of the same name aside: the
// metadata says which id the name has now.
func (r *replicas) openBesideStray(t *metadata.Topic, index int32, values topicValues, producers *producer.State) (*commitlog.Log, error) {
	kept, err := r.dir.SetAside(t.Name, index)
	if err != nil {
		return nil, err
	}
	r.logger.Warn("folder of a former topic is set aside", slog.String("topic", t.Name), slog.Int("partition", int(index)), slog.String("kept", kept))
	return r.dir.Open(t.Name, index, t.ID, values.log(t.Internal), producers)
}

// drop closes the partitions of a deleted topic and removes their folders.
func (r *replicas) drop(all map[string]*held, t *metadata.Topic) {
	h := all[t.Name]
	if h == nil || h.id != t.ID {
		return
	}
	delete(all, t.Name)
	for i, p := range h.partitions {
		if p.none() {
			continue
		}
		if c := r.coordinators(t.Name); c != nil {
			c.resign(int32(i))
		}
		logger := r.logger.With(slog.String("topic", t.Name), slog.Int("partition", i))
		p.Close(kerr.UnknownTopicOrPartition)
		if err := r.dir.Delete(t.Name, int32(i)); err != nil {
			logger.Error("delete a partition's folder", slog.Any("err", err))
		}
	}
	r.meters.forget(t.Name)
}

// reconfigure hands changed configs to the partitions they belong to: those of
// one topic, or all of them and the cleaner when a broker's defaults changed.
func (r *replicas) reconfigure(all map[string]*held, delta metadata.Delta, image *metadata.Image) {
	for _, change := range delta.Reconfigured {
		r.apply(all, change.New, image)
	}
	if len(delta.Configs) == 0 {
		return
	}
	r.dir.SetCleaner(r.configs.cleaner(image))
	for topic := range all {
		if t, ok := image.Topic(topic); ok {
			r.apply(all, t, image)
		}
	}
}

func (r *replicas) apply(all map[string]*held, t *metadata.Topic, image *metadata.Image) {
	h := all[t.Name]
	if h == nil {
		return
	}
	values := r.configs.topic(image, t.Name)
	for _, p := range h.partitions {
		if !p.none() {
			p.log.SetConfig(values.log(t.Internal))
			p.SetConfig(values.partition(t.Internal))
		}
	}
}

// close answers everybody who waits and closes every partition; the logs are the
// directory's to sync.
func (r *replicas) close() {
	r.each(func(p *partition.Partition) { p.Close(kerr.NotLeaderForPartition) })
}
