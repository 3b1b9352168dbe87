package metadata

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The topics that the cluster keeps for itself.
const (
	ConsumerOffsets  = "__consumer_offsets"
	TransactionState = "__transaction_state"
	// ClusterMetadata is the folder of the metadata log; no image has it as a topic.
	ClusterMetadata = "__cluster_metadata"
)

const maxNameLength = 249

// IsInternal says whether a topic of that name belongs to the cluster.
func IsInternal(name string) bool { return name == ConsumerOffsets || name == TransactionState }

// CheckName returns a *RefusalError with INVALID_TOPIC_EXCEPTION where no topic may be
// called name.
func CheckName(name string) error {
	switch {
	case name == "":
		return Refuse(kerr.InvalidTopicException, "a topic name must not be empty")
	case name == "." || name == "..":
		return Refuse(kerr.InvalidTopicException, "a topic must not be called %q", name)
	case len(name) > maxNameLength:
		return Refuse(kerr.InvalidTopicException, "topic name has %d characters, at most %d are allowed", len(name), maxNameLength)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return Refuse(kerr.InvalidTopicException, "topic name %q has a character other than ASCII letters, digits, '.', '_' and '-'", name)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// looseName is the name under which two topics would share a metric: Kafka's
// meters write '.' as '_'.
func looseName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// checkFree refuses a name that is taken, or that differs from a taken one only
// in '.' and '_'.
func (i *Image) checkFree(name string) error {
	if _, ok := i.topics.Get(name); ok {
		return Refuse(kerr.TopicAlreadyExists, "topic %q already exists", name)
	}
	if other, ok := i.looseNames.Get(looseName(name)); ok {
		return Refuse(kerr.InvalidTopicException, "topic name %q collides with topic %q", name, other)
	}
	return nil
}

// CheckNew returns the *RefusalError a topic of that name would get from the image,
// before anything is proposed.
func (i *Image) CheckNew(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return i.checkFree(name)
}
