package logdir

import (
	"fmt"

	"github.com/weirstream/weir/broker/internal/machine/field"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// decode says what a record of an internal topic tells, "" for other topics.
func decode(topic string, key, value []byte) string {
	switch topic {
	case metadata.ConsumerOffsets:
		return decodeGroup(key, value)
	case metadata.TransactionState:
		return decodeTransaction(key, value)
	}
	return ""
}

// decodeGroup reads a record of __consumer_offsets: its key, and what of the value every version
// begins with.
func decodeGroup(key, value []byte) string {
	k := field.NewReader(key)
	version := k.Int16()
	group := k.String()
	switch version {
	case 0, 1:
		topic, partition := k.String(), k.Int32()
		if k.Err() != nil {
			return unreadable(k.Err())
		}
		text := fmt.Sprintf("offset of group %q for %s-%d", group, topic, partition)
		if value == nil {
			return text + ": forgotten"
		}
		v := field.NewReader(value)
		v.Int16()
		offset := v.Int64()
		if v.Err() != nil {
			return unreadable(v.Err())
		}
		return fmt.Sprintf("%s: %d", text, offset)
	case 2:
		if k.Err() != nil {
			return unreadable(k.Err())
		}
		text := fmt.Sprintf("group %q", group)
		if value == nil {
			return text + ": gone"
		}
		v := field.NewReader(value)
		v.Int16()
		protocolType, generation := v.String(), v.Int32()
		if v.Err() != nil {
			return unreadable(v.Err())
		}
		return fmt.Sprintf("%s: generation %d, protocol type %q", text, generation, protocolType)
	}
	return fmt.Sprintf("group %q: record of type %d", group, version)
}

// decodeTransaction reads a record of __transaction_state.
func decodeTransaction(key, value []byte) string {
	k := field.NewReader(key)
	version, id := k.Int16(), k.String()
	if k.Err() != nil || version != 0 {
		return fmt.Sprintf("record of type %d", version)
	}
	text := fmt.Sprintf("transactional id %q", id)
	if value == nil {
		return text + ": gone"
	}
	v := field.NewReader(value)
	v.Int16()
	producer, epoch, timeout, state := v.Int64(), v.Int16(), v.Int32(), v.Int8()
	if v.Err() != nil {
		return unreadable(v.Err())
	}
	states := []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}
	name := fmt.Sprint("state ", state)
	if state >= 0 && int(state) < len(states) {
		name = states[state]
	}
	return fmt.Sprintf("%s: producer %d epoch %d, %s, timeout %d ms", text, producer, epoch, name, timeout)
}

func unreadable(err error) string { return "unreadable: " + err.Error() }
