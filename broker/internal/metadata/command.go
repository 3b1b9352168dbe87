package metadata

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// ErrUndecodable is the result of a log entry that is no command this version
// understands. Such an entry changes nothing but the version of the image.
var ErrUndecodable = errors.New("undecodable metadata command")

// RefusalError is a protocol error with a line of its own for people.
type RefusalError struct {
	Code   *kerr.Error
	Detail string
}

// Refuse returns a *RefusalError.
func Refuse(code *kerr.Error, format string, args ...any) *RefusalError {
	return &RefusalError{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Error returns the line for people.
func (r *RefusalError) Error() string { return r.Detail }

// Unwrap returns the protocol error.
func (r *RefusalError) Unwrap() error { return r.Code }

// Result is what one command did.
type Result struct {
	Index int64   // the command's index in the metadata log
	Err   error   // why the whole command was refused
	Items []error // one per item of the command, in order; nil where it was done
	First int64   // AllocateProducerIDs: the first id of the block
}

// Command is one change of the cluster. The commands of this package are all
// there are. They are deterministic: whatever is random or read from a clock is a
// field that the proposer filled in.
type Command interface {
	kind() string
	apply(img *Image, index int64) (*Image, Result)
}

// SetFeatures finalizes features at a level; level 0 takes a feature away.
type SetFeatures struct {
	Features map[string]int16 `json:"features"`
}

// NewTopic is one topic to create. Assignments holds the replicas of each
// partition, the preferred leader first.
type NewTopic struct {
	Name        string            `json:"name"`
	ID          ID                `json:"id"`
	Internal    bool              `json:"internal,omitempty"`
	Assignments [][]int32         `json:"assignments"`
	Configs     map[string]string `json:"configs,omitempty"`
}

// CreateTopics creates topics; each stands for itself.
type CreateTopics struct {
	Topics []NewTopic `json:"topics"`
}

// DeleteTopics deletes topics by id; each stands for itself.
type DeleteTopics struct {
	IDs []ID `json:"ids"`
}

// NewPartitions adds partitions to one topic. From is how many partitions the
// proposer saw, so that two proposals cannot both grow the topic.
type NewPartitions struct {
	Topic       string    `json:"topic"`
	From        int32     `json:"from"`
	Assignments [][]int32 `json:"assignments"`
}

// CreatePartitions adds partitions to topics; each topic stands for itself.
type CreatePartitions struct {
	Topics []NewPartitions `json:"topics"`
}

// Op is what a ConfigOp does to a key.
type Op int8

// The operations on a config key, with Kafka's numbers.
const (
	Set Op = iota
	Delete
	Append
	Subtract
)

// ConfigOp changes one key. Append and Subtract work on comma-separated lists and
// start from Base, the key's default, where there is no override.
type ConfigOp struct {
	Key   string `json:"key"`
	Op    Op     `json:"op,omitempty"`
	Value string `json:"value,omitempty"`
	Base  string `json:"base,omitempty"`
}

// ConfigChange changes the overrides of one resource. With Replace the overrides
// that no op names are dropped first.
type ConfigChange struct {
	Resource Resource   `json:"resource"`
	Replace  bool       `json:"replace,omitempty"`
	Ops      []ConfigOp `json:"ops"`
}

// SetConfigs changes overrides; each resource stands for itself.
type SetConfigs struct {
	Changes []ConfigChange `json:"changes"`
}

// RegisterBroker begins a life of a broker: it adds the broker or replaces its
// registration, and raises the leader epoch of every partition the broker leads,
// so that what a former life promised is fenced. The broker epoch is the index of
// the command. The first registration names the cluster; a broker of another
// cluster is refused with INCONSISTENT_CLUSTER_ID.
type RegisterBroker struct {
	ClusterID string `json:"cluster_id"`
	Broker    Broker `json:"broker"`
}

// AllocateProducerIDs takes the next block of ProducerIDBlock ids.
type AllocateProducerIDs struct {
	Broker int32 `json:"broker"`
}

func (SetFeatures) kind() string         { return "set_features" }
func (CreateTopics) kind() string        { return "create_topics" }
func (DeleteTopics) kind() string        { return "delete_topics" }
func (CreatePartitions) kind() string    { return "create_partitions" }
func (SetConfigs) kind() string          { return "set_configs" }
func (RegisterBroker) kind() string      { return "register_broker" }
func (AllocateProducerIDs) kind() string { return "allocate_producer_ids" }

// commandVersion is the layout of every command's data. A reader refuses a
// version it does not know rather than guess.
const commandVersion = 0

// envelope is a command in the log: JSON, so that a dump of the log can be read.
type envelope struct {
	Version int             `json:"v"`
	Kind    string          `json:"kind"`
	Data    json.RawMessage `json:"data"`
}

// Encode returns the bytes of a command for the log.
func Encode(c Command) ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.kind(), err)
	}
	return json.Marshal(envelope{Version: commandVersion, Kind: c.kind(), Data: data})
}

// Decode reads a command. Its errors wrap ErrUndecodable.
func Decode(b []byte) (Command, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if e.Version != commandVersion {
		return nil, fmt.Errorf("%w: version %d of %q", ErrUndecodable, e.Version, e.Kind)
	}
	switch e.Kind {
	case SetFeatures{}.kind():
		return decodeAs[SetFeatures](e.Data)
	case CreateTopics{}.kind():
		return decodeAs[CreateTopics](e.Data)
	case DeleteTopics{}.kind():
		return decodeAs[DeleteTopics](e.Data)
	case CreatePartitions{}.kind():
		return decodeAs[CreatePartitions](e.Data)
	case SetConfigs{}.kind():
		return decodeAs[SetConfigs](e.Data)
	case RegisterBroker{}.kind():
		return decodeAs[RegisterBroker](e.Data)
	case AllocateProducerIDs{}.kind():
		return decodeAs[AllocateProducerIDs](e.Data)
	}
	return nil, fmt.Errorf("%w: kind %q", ErrUndecodable, e.Kind)
}

func decodeAs[C Command](data []byte) (Command, error) {
	var c C
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUndecodable, c.kind(), err)
	}
	return c, nil
}
