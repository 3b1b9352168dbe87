package layout

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Meta is meta.properties, version 1.
type Meta struct {
	Cluster, Directory string
	Node               int32
}

// Encode writes the file.
func (m Meta) Encode() []byte {
	return fmt.Appendf(nil, "#\n#\nnode.id=%d\ndirectory.id=%s\nversion=1\ncluster.id=%s\n", m.Node, m.Directory, m.Cluster)
}

// ParseMeta reads the file. Errors wrap ErrCorrupt.
func ParseMeta(data []byte) (Meta, error) {
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		values[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	if values["version"] != "1" {
		return Meta{}, fmt.Errorf("%w: version is %q, not 1", ErrCorrupt, values["version"])
	}
	node, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || values["cluster.id"] == "" {
		return Meta{}, fmt.Errorf("%w: node.id or cluster.id is missing", ErrCorrupt)
	}
	return Meta{Cluster: values["cluster.id"], Directory: values["directory.id"], Node: int32(node)}, nil
}

// EncodeTopicID writes partition.metadata.
func EncodeTopicID(id [16]byte) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", FormatID(id))
}

// ParseTopicID reads partition.metadata. known is false for what a power cut leaves of a file that
// was never synced: nothing, or zeroes. Errors wrap ErrCorrupt.
func ParseTopicID(data []byte) (id [16]byte, known bool, err error) {
	if len(bytes.Trim(data, "\x00")) == 0 {
		return id, false, nil
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) == 2 && strings.TrimSpace(lines[0]) == "version: 0" {
		if text, ok := strings.CutPrefix(strings.TrimSpace(lines[1]), "topic_id: "); ok {
			id, err = ParseID(text)
			return id, err == nil, err
		}
	}
	return id, false, fmt.Errorf("%w: not a partition.metadata of version 0", ErrCorrupt)
}

// EncodeClean is the marker of a clean stop, with the broker epoch (KIP-966).
func EncodeClean(epoch int64) []byte {
	return fmt.Appendf(nil, `{"version":0,"brokerEpoch":%d}`, epoch)
}

// ParseClean returns -1 for a marker without an epoch, which Kafka wrote before version 3.8.
func ParseClean(data []byte) int64 {
	_, rest, _ := bytes.Cut(data, []byte(`"brokerEpoch":`))
	rest, _, _ = bytes.Cut(rest, []byte("}"))
	epoch, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64)
	if err != nil {
		return -1
	}
	return epoch
}
