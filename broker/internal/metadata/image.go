// Package metadata is the cluster as an immutable value: topics, brokers,
// configs, features and producer ids. A change is a Command; Apply turns an
// image and a command into the next image and never touches the old one, so an
// image may be read from any goroutine without a lock. The package is pure: it
// decides what a command changes and acts on nothing.
package metadata

import (
	"encoding/base64"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/tidwall/btree"
)

// ID is a topic id, directory id or incarnation id. Its text is Kafka's: 22
// characters of unpadded URL-safe base64.
type ID [16]byte

// String returns Kafka's text of the id.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// MarshalText writes Kafka's text of the id.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads Kafka's text of an id.
func (id *ID) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("id %q: %w", text, err)
	}
	if len(raw) != len(id) {
		return fmt.Errorf("id %q: %d bytes, want %d", text, len(raw), len(id))
	}
	copy(id[:], raw)
	return nil
}

// ProducerIDBlock is how many producer ids one allocation hands out, as in Kafka.
const ProducerIDBlock = 1000

// Partition is one partition of a topic. Its slices are shared between images
// and must not be modified.
type Partition struct {
	Leader         int32   `json:"leader"` // -1 while nobody serves it
	LeaderEpoch    int32   `json:"leader_epoch"`
	PartitionEpoch int32   `json:"partition_epoch"`
	Replicas       []int32 `json:"replicas"`
	ISR            []int32 `json:"isr"`
}

// Topic is one topic. It is shared between images and must not be modified.
type Topic struct {
	Name       string            `json:"name"`
	ID         ID                `json:"id"`
	Internal   bool              `json:"internal,omitempty"`
	Partitions []Partition       `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"` // overrides only
}

// Endpoint is an address at which a broker can be reached through one listener.
type Endpoint struct {
	Listener string `json:"listener"`
	Protocol string `json:"protocol"`
	Host     string `json:"host"`
	Port     int32  `json:"port"`
}

// Broker is one registered broker. Epoch grows with every registration.
type Broker struct {
	ID          int32      `json:"id"`
	Rack        string     `json:"rack,omitempty"`
	Epoch       int64      `json:"epoch"`
	Incarnation ID         `json:"incarnation"`
	Directory   ID         `json:"directory"`
	Endpoints   []Endpoint `json:"endpoints"`
}

// Endpoint returns the address of a listener, and false where the broker has none
// of that name.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	i := slices.IndexFunc(b.Endpoints, func(e Endpoint) bool { return e.Listener == listener })
	if i < 0 {
		return Endpoint{}, false
	}
	return b.Endpoints[i], true
}

// ResourceType says what a config override belongs to, with Kafka's numbers.
type ResourceType int8

// The types of resources that have configs.
const (
	TopicResource  ResourceType = 2
	BrokerResource ResourceType = 4
)

// Resource names what a config override belongs to: a topic by its name, a broker
// by its decimal id, all brokers by the empty name.
type Resource struct {
	Type ResourceType `json:"type"`
	Name string       `json:"name"`
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Image is the cluster after one entry of the metadata log. It is immutable and
// shares what did not change with the image it came from.
type Image struct {
	clusterID    string
	version      int64
	nextProducer int64
	features     map[string]int16
	brokers      []Broker // sorted by id
	configs      map[Resource]map[string]string
	topics       *btree.Map[string, *Topic]
	ids          *btree.Map[string, *Topic]
	looseNames   *btree.Map[string, string] // name with every '.' as '_', to the name
	partitions   int
}

// Empty returns the image of a cluster that knows nothing yet.
func Empty() *Image {
	return &Image{
		topics:     &btree.Map[string, *Topic]{},
		ids:        &btree.Map[string, *Topic]{},
		looseNames: &btree.Map[string, string]{},
	}
}

// ClusterID returns the id of the cluster, "" before it has one.
func (i *Image) ClusterID() string { return i.clusterID }

// Version returns the index in the metadata log of the last entry applied.
func (i *Image) Version() int64 { return i.version }

// Brokers returns the registered brokers sorted by id; the caller must not modify them.
func (i *Image) Brokers() []Broker { return i.brokers }

// Broker returns one registered broker.
func (i *Image) Broker(id int32) (*Broker, bool) {
	at, ok := slices.BinarySearchFunc(i.brokers, id, func(b Broker, id int32) int { return int(b.ID) - int(id) })
	if !ok {
		return nil, false
	}
	return &i.brokers[at], true
}

// Topic returns the topic of that name.
func (i *Image) Topic(name string) (*Topic, bool) { return i.topics.Get(name) }

// TopicByID returns the topic of that id.
func (i *Image) TopicByID(id ID) (*Topic, bool) { return i.ids.Get(string(id[:])) }

// Topics returns every topic sorted by name, in a slice of the caller's own.
func (i *Image) Topics() []*Topic { return i.topics.Values() }

// TopicsFrom walks the topics in order of name, from the first that is not before
// name.
func (i *Image) TopicsFrom(name string) iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		i.topics.Ascend(name, func(_ string, t *Topic) bool { return yield(t) })
	}
}

// TopicCount returns how many topics there are.
func (i *Image) TopicCount() int { return i.topics.Len() }

// PartitionCount returns how many partitions all topics have together.
func (i *Image) PartitionCount() int { return i.partitions }

// Features returns the finalized features; the caller must not modify them.
func (i *Image) Features() map[string]int16 { return i.features }

// NextProducerID returns the first producer id that no block holds yet.
func (i *Image) NextProducerID() int64 { return i.nextProducer }

// Config returns the overrides of a resource, never the defaults; nil where there
// are none. The caller must not modify them.
func (i *Image) Config(r Resource) map[string]string {
	if r.Type == TopicResource {
		if t, ok := i.topics.Get(r.Name); ok {
			return t.Configs
		}
		return nil
	}
	return i.configs[r]
}

// Offline returns the image in which nobody leads the given partitions: how a
// node shows partitions that it could not open. It is a view for readers; no
// command may be applied to it.
func (i *Image) Offline(down map[TopicPartition]bool) *Image {
	if len(down) == 0 {
		return i
	}
	next := i.edit()
	for _, tp := range slices.SortedFunc(maps.Keys(down), compareTopicPartition) {
		t, ok := next.topics.Get(tp.Topic)
		if !ok || tp.Partition < 0 || int(tp.Partition) >= len(t.Partitions) {
			continue
		}
		changed := *t
		changed.Partitions = slices.Clone(t.Partitions)
		changed.Partitions[tp.Partition].Leader = -1
		next.put(&changed)
	}
	return next
}

func compareTopicPartition(a, b TopicPartition) int {
	if a.Topic != b.Topic {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	}
	return int(a.Partition) - int(b.Partition)
}

// edit returns a copy of the image whose topics can be changed with put and drop.
// Copying is cheap: the trees share their nodes until one side writes.
func (i *Image) edit() *Image {
	next := *i
	next.topics, next.ids, next.looseNames = i.topics.Copy(), i.ids.Copy(), i.looseNames.Copy()
	return &next
}

// put adds or replaces a topic of an image made by edit.
func (i *Image) put(t *Topic) {
	if old, ok := i.topics.Get(t.Name); ok {
		i.drop(old)
	}
	i.topics.Set(t.Name, t)
	i.ids.Set(string(t.ID[:]), t)
	i.looseNames.Set(looseName(t.Name), t.Name)
	i.partitions += len(t.Partitions)
}

// drop removes a topic of an image made by edit.
func (i *Image) drop(t *Topic) {
	i.topics.Delete(t.Name)
	i.ids.Delete(string(t.ID[:]))
	i.looseNames.Delete(looseName(t.Name))
	i.partitions -= len(t.Partitions)
}
