package group

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/field"
)

// The records of __consumer_offsets, in the formats that Kafka 4.3.1 writes and reads. A key begins
// with an int16 that names its type.
//
//	key 0, 1  group, topic string; partition int32     the offset of a partition
//	key 2     group string                             a group of the classic protocol
//
// A value begins with its version. Versions up to 3 have int16 and int32 lengths, version 4 is
// flexible. Offsets are written in version 4 (KAFKA-19141: with the topic id as tagged field 0), or
// in version 1 when the client asked for a retention of its own; groups in version 3.
const (
	keyOffset0  = 0
	keyOffset   = 1
	keyMetadata = 2

	offsetVersion       = 4
	offsetVersionExpiry = 1
	metadataVersion     = 3
	maxVersion          = 4

	topicIDTag = 0
)

// offsetKey names one committed offset.
type offsetKey struct {
	group, topic string
	partition    int32
}

// Offset is one committed offset. Times are milliseconds since 1970; -1 is no leader epoch and no
// expiry of its own. A zero TopicID is an unknown one.
type Offset struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	CommitTime  int64
	ExpireTime  int64
	TopicID     [16]byte

	order uint64 // of its record among all that were replayed
}

// metadata is what the log says about a group. It is never changed once it was made.
type metadata struct {
	ProtocolType string
	Generation   int32
	Protocol     *string // nil while the group has no members
	Leader       *string
	Since        int64 // when the group came into its state, ms; -1 unknown
	Members      []memberRecord
}

// memberRecord is a member of a group as the log has it. Timeouts are milliseconds.
type memberRecord struct {
	ID, ClientID, ClientHost string
	InstanceID               *string
	RebalanceTimeout         int32
	SessionTimeout           int32
	Subscription, Assignment []byte
}

func encodeOffsetKey(k offsetKey) []byte {
	b := binary.BigEndian.AppendUint16(nil, keyOffset)
	b = field.AppendString(b, k.group)
	b = field.AppendString(b, k.topic)
	return binary.BigEndian.AppendUint32(b, uint32(k.partition))
}

func encodeMetadataKey(group string) []byte {
	return field.AppendString(binary.BigEndian.AppendUint16(nil, keyMetadata), group)
}

func encodeOffset(o *Offset) []byte {
	if o.ExpireTime >= 0 {
		b := binary.BigEndian.AppendUint16(nil, offsetVersionExpiry)
		b = binary.BigEndian.AppendUint64(b, uint64(o.Offset))
		b = field.AppendString(b, o.Metadata)
		b = binary.BigEndian.AppendUint64(b, uint64(o.CommitTime))
		return binary.BigEndian.AppendUint64(b, uint64(o.ExpireTime))
	}
	b := binary.BigEndian.AppendUint16(nil, offsetVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(o.Offset))
	b = binary.BigEndian.AppendUint32(b, uint32(o.LeaderEpoch))
	b = field.AppendCompactString(b, o.Metadata)
	b = binary.BigEndian.AppendUint64(b, uint64(o.CommitTime))
	if o.TopicID == [16]byte{} {
		return append(b, 0)
	}
	b = append(b, 1, topicIDTag, byte(len(o.TopicID)))
	return append(b, o.TopicID[:]...)
}

func readOffset(b []byte) (*Offset, error) {
	r := field.NewReader(b)
	version := r.Int16()
	if version < 0 || version > maxVersion {
		return nil, fmt.Errorf("%w: offset version %d", field.ErrMalformed, version)
	}
	o := &Offset{LeaderEpoch: -1, ExpireTime: -1}
	o.Offset = r.Int64()
	if version >= 3 {
		o.LeaderEpoch = r.Int32()
	}
	if version >= 4 {
		o.Metadata = r.CompactString()
	} else {
		o.Metadata = r.String()
	}
	o.CommitTime = r.Int64()
	if version == 1 {
		o.ExpireTime = r.Int64()
	}
	if version >= 4 {
		r.Tags(func(tag int, value []byte) {
			switch {
			case tag != topicIDTag:
			case len(value) == len(o.TopicID):
				copy(o.TopicID[:], value)
			default:
				r.Fail("bad topic id")
			}
		})
	}
	return o, r.End()
}

func encodeMetadata(g *metadata) []byte {
	b := binary.BigEndian.AppendUint16(nil, metadataVersion)
	b = field.AppendString(b, g.ProtocolType)
	b = binary.BigEndian.AppendUint32(b, uint32(g.Generation))
	b = field.AppendNullableString(b, g.Protocol)
	b = field.AppendNullableString(b, g.Leader)
	b = binary.BigEndian.AppendUint64(b, uint64(g.Since))
	b = binary.BigEndian.AppendUint32(b, uint32(len(g.Members)))
	for i := range g.Members {
		m := &g.Members[i]
		b = field.AppendString(b, m.ID)
		b = field.AppendNullableString(b, m.InstanceID)
		b = field.AppendString(b, m.ClientID)
		b = field.AppendString(b, m.ClientHost)
		b = binary.BigEndian.AppendUint32(b, uint32(m.RebalanceTimeout))
		b = binary.BigEndian.AppendUint32(b, uint32(m.SessionTimeout))
		b = field.AppendBytes(b, m.Subscription)
		b = field.AppendBytes(b, m.Assignment)
	}
	return b
}

// readMetadata reads any version. The fields of a version differ only in how lengths are written and
// in which fields there are.
func readMetadata(b []byte) (*metadata, error) {
	r := field.NewReader(b)
	version := r.Int16()
	if version < 0 || version > maxVersion {
		return nil, fmt.Errorf("%w: group version %d", field.ErrMalformed, version)
	}
	f := fieldsOf(r, version)
	g := &metadata{Since: -1}
	g.ProtocolType = f.string()
	g.Generation = r.Int32()
	g.Protocol = f.nullableString()
	g.Leader = f.nullableString()
	if version >= 2 {
		g.Since = r.Int64()
	}
	for n := f.count(); n > 0 && r.Err() == nil; n-- {
		g.Members = append(g.Members, readMember(r, f, version))
	}
	f.tags()
	return g, r.End()
}

func readMember(r *field.Reader, f fields, version int16) memberRecord {
	m := memberRecord{ID: f.string()}
	if version >= 3 {
		m.InstanceID = f.nullableString()
	}
	m.ClientID = f.string()
	m.ClientHost = f.string()
	if version >= 1 {
		m.RebalanceTimeout = r.Int32()
	}
	m.SessionTimeout = r.Int32()
	if version == 0 {
		m.RebalanceTimeout = m.SessionTimeout
	}
	m.Subscription = slices.Clone(f.bytes())
	m.Assignment = slices.Clone(f.bytes())
	f.tags()
	return m
}

// fields reads what is written differently in flexible versions.
type fields struct {
	string         func() string
	nullableString func() *string
	bytes          func() []byte
	count          func() int
	tags           func()
}

func fieldsOf(r *field.Reader, version int16) fields {
	if version >= 4 {
		return fields{
			string: r.CompactString, nullableString: r.CompactNullableString, bytes: r.CompactBytes,
			count: func() int { return r.Uvarint() - 1 },
			tags:  func() { r.Tags(nil) },
		}
	}
	return fields{
		string: r.String, nullableString: r.NullableString, bytes: r.Bytes,
		count: func() int { return int(r.Int32()) },
		tags:  func() {},
	}
}

// parsed is one record of the log, as far as this room understands it.
type parsed struct {
	kind     int16 // keyOffset or keyMetadata; -1 for what later Kafkas and other protocols write
	key      offsetKey
	offset   *Offset   // nil deletes
	metadata *metadata // nil deletes
}

// parse reads a record. A type that is not known is no error, as in Kafka, so that a log may be
// read by a broker that is older than its writer.
func parse(rec machine.Record) (parsed, error) {
	r := field.NewReader(rec.Key)
	p := parsed{kind: r.Int16()}
	var err error
	switch p.kind {
	case keyOffset0, keyOffset:
		p.kind = keyOffset
		p.key = offsetKey{group: r.String(), topic: r.String(), partition: r.Int32()}
		if rec.Value != nil {
			p.offset, err = readOffset(rec.Value)
		}
	case keyMetadata:
		p.key.group = r.String()
		if rec.Value != nil {
			p.metadata, err = readMetadata(rec.Value)
		}
	default:
		if r.Err() != nil {
			return parsed{}, r.Err()
		}
		return parsed{kind: -1}, nil
	}
	if keyErr := r.End(); keyErr != nil {
		return parsed{}, keyErr
	}
	return p, err
}
