package metadata

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Apply returns the image after the log entry at index, and what the entry did.
// It is total and deterministic: bytes that are no command give Result.Err
// ErrUndecodable and change nothing but the version.
func Apply(img *Image, index int64, entry []byte) (*Image, Result) {
	c, err := Decode(entry)
	if err != nil {
		next := *img
		next.version = index
		return &next, Result{Index: index, Err: err}
	}
	return ApplyCommand(img, index, c)
}

// ApplyCommand is Apply for a command in hand; on an image and index of the
// caller's choice it answers what a proposal would do.
func ApplyCommand(img *Image, index int64, c Command) (*Image, Result) {
	next, result := c.apply(img, index)
	next.version = index
	result.Index = index
	return next, result
}

func (c SetFeatures) apply(img *Image, _ int64) (*Image, Result) {
	next := *img
	features := maps.Clone(img.features)
	for name, level := range c.Features {
		switch {
		case level < 0:
			return &next, Result{Err: Refuse(kerr.InvalidRequest, "level %d of feature %s is negative", level, name)}
		case features == nil:
			features = map[string]int16{}
		}
		features[name] = level
		if level == 0 {
			delete(features, name)
		}
	}
	next.features = features
	return &next, Result{}
}

// each runs f on every item and collects what it says.
func each[T any](items []T, f func(T) error) Result {
	r := Result{Items: make([]error, len(items))}
	for n, item := range items {
		r.Items[n] = f(item)
	}
	return r
}

func (c CreateTopics) apply(img *Image, _ int64) (*Image, Result) {
	next := img.edit()
	return next, each(c.Topics, next.create)
}

func (i *Image) create(n NewTopic) error {
	if err := i.CheckNew(n.Name); err != nil {
		return err
	}
	if _, taken := i.TopicByID(n.ID); taken || n.ID == (ID{}) {
		return Refuse(kerr.InvalidRequest, "topic id %s is zero or taken", n.ID)
	}
	if len(n.Assignments) == 0 {
		return Refuse(kerr.InvalidPartitions, "a topic has at least one partition")
	}
	partitions, err := i.place(n.Assignments)
	if err != nil {
		return err
	}
	configs := n.Configs
	if len(configs) == 0 {
		configs = nil
	}
	i.put(&Topic{Name: n.Name, ID: n.ID, Internal: n.Internal, Partitions: partitions, Configs: configs})
	return nil
}

// place turns checked assignments into new partitions: the first replica leads,
// all are in sync.
func (i *Image) place(assignments [][]int32) ([]Partition, error) {
	partitions := make([]Partition, 0, len(assignments))
	for _, replicas := range assignments {
		if err := i.CheckReplicas(replicas); err != nil {
			return nil, err
		}
		partitions = append(partitions, Partition{Leader: replicas[0], Replicas: replicas, ISR: replicas})
	}
	return partitions, nil
}

// CheckReplicas returns a *RefusalError with INVALID_REPLICA_ASSIGNMENT where a
// partition cannot live on these brokers.
func (i *Image) CheckReplicas(replicas []int32) error {
	if len(replicas) == 0 {
		return Refuse(kerr.InvalidReplicaAssignment, "a partition has at least one replica")
	}
	for n, id := range replicas {
		if slices.Contains(replicas[:n], id) {
			return Refuse(kerr.InvalidReplicaAssignment, "broker %d stands twice in one assignment", id)
		}
		if _, ok := i.Broker(id); !ok {
			return Refuse(kerr.InvalidReplicaAssignment, "broker %d is not registered", id)
		}
	}
	return nil
}

func (c DeleteTopics) apply(img *Image, _ int64) (*Image, Result) {
	next := img.edit()
	return next, each(c.IDs, func(id ID) error {
		t, ok := next.TopicByID(id)
		if !ok {
			return Refuse(kerr.UnknownTopicID, "no topic has the id %s", id)
		}
		next.drop(t)
		return nil
	})
}

func (c CreatePartitions) apply(img *Image, _ int64) (*Image, Result) {
	next := img.edit()
	return next, each(c.Topics, next.grow)
}

func (i *Image) grow(n NewPartitions) error {
	t, ok := i.topics.Get(n.Topic)
	if !ok {
		return Refuse(kerr.UnknownTopicOrPartition, "there is no topic %q", n.Topic)
	}
	if int(n.From) != len(t.Partitions) {
		return Refuse(kerr.InvalidPartitions, "topic %q has %d partitions by now", n.Topic, len(t.Partitions))
	}
	added, err := i.place(n.Assignments)
	if err != nil {
		return err
	}
	grown := *t
	grown.Partitions = slices.Concat(t.Partitions, added)
	i.put(&grown)
	return nil
}

func (c SetConfigs) apply(img *Image, _ int64) (*Image, Result) {
	next := img.edit()
	next.configs = maps.Clone(img.configs)
	if next.configs == nil {
		next.configs = map[Resource]map[string]string{}
	}
	r := each(c.Changes, next.configure)
	return next, r
}

func (i *Image) configure(c ConfigChange) error {
	values := ApplyConfig(i.Config(c.Resource), c)
	switch c.Resource.Type {
	case TopicResource:
		t, ok := i.topics.Get(c.Resource.Name)
		if !ok {
			return Refuse(kerr.UnknownTopicOrPartition, "there is no topic %q", c.Resource.Name)
		}
		changed := *t
		changed.Configs = values
		i.put(&changed)
	case BrokerResource:
		if values == nil {
			delete(i.configs, c.Resource)
			return nil
		}
		i.configs[c.Resource] = values
	default:
		return Refuse(kerr.InvalidRequest, "resource type %d has no configs", c.Resource.Type)
	}
	return nil
}

// ApplyConfig returns the overrides after a change, nil where none is left. The
// given map stays as it is.
func ApplyConfig(overrides map[string]string, c ConfigChange) map[string]string {
	next := map[string]string{}
	if !c.Replace {
		maps.Copy(next, overrides)
	}
	for _, op := range c.Ops {
		switch op.Op {
		case Set:
			next[op.Key] = op.Value
		case Delete:
			delete(next, op.Key)
		case Append, Subtract:
			current, ok := next[op.Key]
			if !ok {
				current = op.Base
			}
			next[op.Key] = changeList(current, op)
		}
	}
	if len(next) == 0 {
		return nil
	}
	return next
}

// changeList adds the words of an Append that the list lacks, or takes away the
// words of a Subtract.
func changeList(list string, op ConfigOp) string {
	words := splitList(list)
	for _, word := range splitList(op.Value) {
		at := slices.Index(words, word)
		switch {
		case op.Op == Append && at < 0:
			words = append(words, word)
		case op.Op == Subtract && at >= 0:
			words = slices.Delete(words, at, at+1)
		}
	}
	return strings.Join(words, ",")
}

func splitList(list string) []string {
	var words []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

func (c RegisterBroker) apply(img *Image, index int64) (*Image, Result) {
	next := img.edit()
	if c.Broker.ID < 0 || c.ClusterID == "" {
		return next, Result{Err: Refuse(kerr.InvalidRequest, "broker %d of cluster %q: want an id and a cluster id", c.Broker.ID, c.ClusterID)}
	}
	if img.clusterID != "" && img.clusterID != c.ClusterID {
		return next, Result{Err: Refuse(kerr.InconsistentClusterID, "this is cluster %s, broker %d is of cluster %s", img.clusterID, c.Broker.ID, c.ClusterID)}
	}
	next.clusterID = c.ClusterID
	b := c.Broker
	b.Epoch = index
	next.brokers = slices.DeleteFunc(slices.Clone(img.brokers), func(old Broker) bool { return old.ID == b.ID })
	next.brokers = append(next.brokers, b)
	slices.SortFunc(next.brokers, func(a, b Broker) int { return int(a.ID) - int(b.ID) })
	for _, t := range img.topics.Values() {
		if bumped, ok := bump(t, b.ID); ok {
			next.put(bumped)
		}
	}
	return next, Result{}
}

// bump returns the topic with the epochs raised of what broker leads, and false
// where it leads nothing.
func bump(t *Topic, broker int32) (*Topic, bool) {
	led := func(p Partition) bool { return p.Leader == broker }
	if !slices.ContainsFunc(t.Partitions, led) {
		return nil, false
	}
	bumped := *t
	bumped.Partitions = slices.Clone(t.Partitions)
	for n := range bumped.Partitions {
		if p := &bumped.Partitions[n]; led(*p) && p.LeaderEpoch < math.MaxInt32 {
			p.LeaderEpoch++
			p.PartitionEpoch++
		}
	}
	return &bumped, true
}

func (c AllocateProducerIDs) apply(img *Image, _ int64) (*Image, Result) {
	next := *img
	if img.nextProducer > math.MaxInt64-ProducerIDBlock {
		return &next, Result{Err: Refuse(kerr.UnknownServerError, "all producer ids are taken")}
	}
	next.nextProducer += ProducerIDBlock
	return &next, Result{First: img.nextProducer}
}
