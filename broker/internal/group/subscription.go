package group

// consumerProtocol is the protocol type whose members subscribe to topics.
const consumerProtocol = "consumer"

// subscribedTopics reads the topics out of the metadata that a member of the consumer protocol sends
// with JoinGroup: version int16, topics [string], then fields that do not matter here. It reports
// false for bytes that are no such metadata. The broker never depends on it for assignments, only
// for which offsets are in use.
func subscribedTopics(b []byte) ([]string, bool) {
	r := reader{b: b}
	if version := r.int16(); r.err != nil || version < 0 {
		return nil, false
	}
	n := int(r.int32())
	if n < 0 || n > len(r.b)/2 { // a topic takes at least its length field
		return nil, false
	}
	topics := make([]string, 0, n)
	for ; n > 0; n-- {
		topics = append(topics, r.string())
	}
	return topics, r.err == nil
}
