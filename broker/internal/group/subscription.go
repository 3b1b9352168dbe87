package group

import "github.com/weirstream/weir/broker/internal/machine/field"

// consumerProtocol is the protocol type whose members subscribe to topics.
const consumerProtocol = "consumer"

// subscribedTopics reads the topics out of the metadata that a member of the consumer protocol sends
// with JoinGroup: version int16, topics [string], then fields that do not matter here. It reports
// false for bytes that are no such metadata. The broker never depends on it for assignments, only
// for which offsets are in use.
func subscribedTopics(b []byte) ([]string, bool) {
	r := field.NewReader(b)
	if version := r.Int16(); r.Err() != nil || version < 0 {
		return nil, false
	}
	n := int(r.Int32())
	if n < 0 || n > r.Len()/2 { // a topic takes at least its length field
		return nil, false
	}
	topics := make([]string, 0, n)
	for ; n > 0; n-- {
		topics = append(topics, r.String())
	}
	return topics, r.Err() == nil
}
