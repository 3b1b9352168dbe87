package txn

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/field"
)

// The records of __transaction_state, in the formats that Kafka 4.3.1 writes and reads.
//
//	key 0     transactional id string
//	value     version int16; producer id int64; epoch int16; timeout int32; state int8;
//	          partitions, null while Empty, [topic string, [int32]]; updated int64; started int64
//
// Version 0 has int16 and int32 lengths. Version 1 is flexible and has the fields of KIP-890 as tags.
// Version 1 is what is written.
const (
	keyTransaction = 0
	valueVersion   = 1

	tagPrevious = 0 // int64
	tagNext     = 1 // int64
	tagVersion  = 2 // int16
)

func encodeKey(id string) []byte {
	return field.AppendString(binary.BigEndian.AppendUint16(nil, keyTransaction), id)
}

func (x *transaction) encode() []byte {
	b := make([]byte, 0, 64+32*len(x.partitions))
	b = binary.BigEndian.AppendUint16(b, valueVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(x.producerID))
	b = binary.BigEndian.AppendUint16(b, uint16(x.epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(x.timeout))
	b = append(b, byte(x.state))
	if x.state == Empty {
		b = append(b, 0)
	} else {
		b = appendPartitions(b, x.partitions)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(x.updated))
	b = binary.BigEndian.AppendUint64(b, uint64(x.started))
	return x.appendTags(b)
}

// appendPartitions groups sorted partitions by topic.
func appendPartitions(b []byte, partitions []TopicPartition) []byte {
	topics := topicsOf(partitions)
	b = binary.AppendUvarint(b, uint64(len(topics)+1))
	for _, topic := range topics {
		b = field.AppendCompactString(b, topic[0].Topic)
		b = binary.AppendUvarint(b, uint64(len(topic)+1))
		for _, p := range topic {
			b = binary.BigEndian.AppendUint32(b, uint32(p.Partition))
		}
		b = append(b, 0)
	}
	return b
}

// topicsOf cuts sorted partitions into runs of one topic.
func topicsOf(partitions []TopicPartition) [][]TopicPartition {
	var topics [][]TopicPartition
	for len(partitions) > 0 {
		n := 1
		for n < len(partitions) && partitions[n].Topic == partitions[0].Topic {
			n++
		}
		topics = append(topics, partitions[:n])
		partitions = partitions[n:]
	}
	return topics
}

func (x *transaction) appendTags(b []byte) []byte {
	count := len(b)
	b = append(b, 0)
	for tag, id := range [...]int64{tagPrevious: x.previousID, tagNext: x.nextID} {
		if id != noProducer {
			b[count]++
			b = append(b, byte(tag), 8)
			b = binary.BigEndian.AppendUint64(b, uint64(id))
		}
	}
	if x.version != version1 {
		b[count]++
		b = append(b, tagVersion, 2)
		b = binary.BigEndian.AppendUint16(b, uint16(x.version))
	}
	return b
}

func readTransaction(b []byte) (*transaction, error) {
	r := field.NewReader(b)
	version := r.Int16()
	if version < 0 || version > valueVersion {
		return nil, fmt.Errorf("%w: transaction version %d", field.ErrMalformed, version)
	}
	x := &transaction{previousID: noProducer, nextID: noProducer}
	x.producerID, x.epoch, x.timeout = r.Int64(), r.Int16(), r.Int32()
	x.state = State(r.Int8())
	if x.state < Empty || x.state > CompleteAbort {
		r.Fail("bad state")
	}
	x.partitions = readPartitions(r, version >= 1)
	x.updated, x.started = r.Int64(), r.Int64()
	if version >= 1 {
		r.Tags(func(tag int, value []byte) { x.readTag(r, tag, value) })
	}
	return x, r.End()
}

func readPartitions(r *field.Reader, flexible bool) []TopicPartition {
	count := func() int { return int(r.Int32()) }
	text, tags := r.String, func() {}
	if flexible {
		count = func() int { return r.Uvarint() - 1 }
		text, tags = r.CompactString, func() { r.Tags(nil) }
	}
	var all []TopicPartition
	for n := count(); n > 0 && r.Err() == nil; n-- {
		topic := text()
		for m := count(); m > 0 && r.Err() == nil; m-- {
			all = append(all, TopicPartition{topic, r.Int32()})
		}
		tags()
	}
	slices.SortFunc(all, comparePartitions)
	return slices.Compact(all)
}

func (x *transaction) readTag(r *field.Reader, tag int, value []byte) {
	v := field.NewReader(value)
	switch tag {
	case tagPrevious:
		x.previousID = v.Int64()
	case tagNext:
		x.nextID = v.Int64()
	case tagVersion:
		x.version = v.Int16()
	default:
		return
	}
	if v.End() != nil {
		r.Fail("bad tagged field")
	}
}

// parse reads a record: a nil transaction deletes the id. A type of key that is not known is no error,
// so that a log may be read by a broker that is older than its writer.
func parse(rec machine.Record) (id string, x *transaction, known bool, err error) {
	r := field.NewReader(rec.Key)
	if kind := r.Int16(); kind != keyTransaction {
		return "", nil, false, r.Err()
	}
	id = r.String()
	if err := r.End(); err != nil {
		return "", nil, false, err
	}
	if rec.Value == nil {
		return id, nil, true, nil
	}
	x, err = readTransaction(rec.Value)
	return id, x, true, err
}
