package runtime

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
)

// Metadata is what stands beside a committed offset.
type Metadata struct {
	Time  int64            // largest timestamp processed of the partition, -1 for none
	Marks map[string]int64 // what operators remember
}

// metadataVersion is that of Kafka Streams whose metadata holds both.
const metadataVersion = 2

// encode returns the metadata as Kafka Streams writes it: base64 of the version,
// the time and, if there are any, the number of marks and each of them, sorted
// here by name, as length, name and value.
func (m Metadata) encode() string {
	b := binary.BigEndian.AppendUint64([]byte{metadataVersion}, uint64(m.Time))
	if len(m.Marks) > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(m.Marks)))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Marks)) {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(name))), name...)
		b = binary.BigEndian.AppendUint64(b, uint64(m.Marks[name]))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// DecodeMetadata reads what we or Kafka Streams wrote. Of anything else nothing
// is known: a time of -1, and no marks.
func DecodeMetadata(text string) Metadata {
	m := Metadata{Time: -1, Marks: map[string]int64{}}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) < 9 || b[0] < 1 || b[0] > metadataVersion {
		return m
	}
	m.Time = max(-1, int64(binary.BigEndian.Uint64(b[1:])))
	if b = b[9:]; len(b) < 4 {
		return m
	}
	b = b[4:] // the count: the marks end with the bytes
	for len(b) >= 4 {
		n := int64(binary.BigEndian.Uint32(b))
		if b = b[4:]; int64(len(b)) < n+8 {
			return m
		}
		m.Marks[string(b[:n])] = int64(binary.BigEndian.Uint64(b[n:]))
		b = b[n+8:]
	}
	return m
}
