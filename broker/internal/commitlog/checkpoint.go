package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weirstream/weir/internal/env"
)

// Checkpoint files are text: a line with the version, 0; a line with the number of entries; one
// line for each, of fields between single spaces.

// encodeLines writes a checkpoint of the given entries.
func encodeLines(lines []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(lines))
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// parseLines reads a checkpoint whose entries have the given number of fields. Errors wrap
// ErrCorrupt.
func parseLines(data []byte, fields int) ([][]string, error) {
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 || lines[0] != "0" || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("%w: no checkpoint of version 0", ErrCorrupt)
	}
	if n, err := strconv.Atoi(lines[1]); err != nil || n != len(lines)-3 {
		return nil, fmt.Errorf("%w: %d entries, said to be %q", ErrCorrupt, len(lines)-3, lines[1])
	}
	var out [][]string
	for _, line := range lines[2 : len(lines)-1] {
		f := strings.Fields(line)
		if len(f) != fields {
			return nil, fmt.Errorf("%w: entry %q", ErrCorrupt, line)
		}
		out = append(out, f)
	}
	return out, nil
}

func encodeOffsets(offsets map[tp]int64) []byte {
	lines := make([]string, 0, len(offsets))
	for t, o := range offsets {
		lines = append(lines, fmt.Sprintf("%s %d %d", t.topic, t.partition, o))
	}
	slices.Sort(lines)
	return encodeLines(lines)
}

func parseOffsets(data []byte) (map[tp]int64, error) {
	entries, err := parseLines(data, 3)
	if err != nil {
		return nil, err
	}
	out := make(map[tp]int64, len(entries))
	for _, e := range entries {
		p, err := strconv.ParseInt(e[1], 10, 32)
		o, err2 := strconv.ParseInt(e[2], 10, 64)
		if err = errors.Join(err, err2); err != nil || p < 0 || o < 0 {
			return nil, fmt.Errorf("%w: entry %q", ErrCorrupt, strings.Join(e, " "))
		}
		out[tp{e[0], int32(p)}] = o
	}
	return out, nil
}

// checkpoint is one of the directory's offset checkpoints: what its file holds. Dir.points guards it.
type checkpoint struct {
	path string
	disk map[tp]int64 // as last read or written
}

// readCheckpoint loads a checkpoint; a missing file is empty. A file that is no checkpoint gives
// an error that wraps ErrCorrupt.
func readCheckpoint(fsys env.FS, path string) (*checkpoint, error) {
	c := &checkpoint{path: path, disk: map[tp]int64{}}
	data, err := env.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	offsets, err := parseOffsets(data)
	if err == nil {
		c.disk = offsets
	}
	return c, err
}

// write makes the offsets durable, unless the file holds them already.
func (c *checkpoint) write(fsys env.FS, offsets map[tp]int64) error {
	if maps.Equal(c.disk, offsets) {
		return nil
	}
	if err := env.WriteFileAtomic(fsys, c.path, encodeOffsets(offsets)); err != nil {
		return err
	}
	c.disk = offsets
	return nil
}

// meta is meta.properties, version 1.
type meta struct {
	cluster, directory string
	node               int32
}

func (m meta) encode() []byte {
	return fmt.Appendf(nil, "#\n#\nnode.id=%d\ndirectory.id=%s\nversion=1\ncluster.id=%s\n", m.node, m.directory, m.cluster)
}

// readMeta returns fs.ErrNotExist when the directory has none, a *FileError when it makes no sense.
func readMeta(fsys env.FS, dir string) (meta, error) {
	path := filepath.Join(dir, metaFile)
	data, err := env.ReadFile(fsys, path)
	if err != nil {
		return meta{}, err
	}
	corrupt := func(reason string) (meta, error) {
		return meta{}, &FileError{
			Path: path, Reason: reason, Err: ErrCorrupt,
			Fix: "restore the file, or name another directory in log.dirs",
		}
	}
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
		return corrupt(fmt.Sprintf("version is %q, not 1", values["version"]))
	}
	node, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || values["cluster.id"] == "" {
		return corrupt("node.id or cluster.id is missing")
	}
	return meta{cluster: values["cluster.id"], directory: values["directory.id"], node: int32(node)}, nil
}

func encodeTopicID(id [16]byte) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", formatID(id))
}

// readTopicID reads partition.metadata. known is false when the file is missing, or is what a
// power cut leaves of a file that was never synced: empty or zeroes. As it is synced before
// anything else in its directory counts as synced, nothing durable can be in there then.
func readTopicID(fsys env.FS, dir string) (id [16]byte, known bool, err error) {
	path := filepath.Join(dir, topicFile)
	data, err := env.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.Trim(data, "\x00")) == 0 {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) == 2 && strings.TrimSpace(lines[0]) == "version: 0" {
		if text, ok := strings.CutPrefix(strings.TrimSpace(lines[1]), "topic_id: "); ok {
			if id, err = parseID(text); err == nil {
				return id, true, nil
			}
		}
	}
	return id, false, &FileError{
		Path: path, Reason: "is not a partition.metadata of version 0", Err: ErrCorrupt,
		Fix: "restore the file, or move its directory away",
	}
}

// encodeClean is the marker of a clean stop, with the broker epoch (KIP-966).
func encodeClean(epoch int64) []byte {
	return fmt.Appendf(nil, `{"version":0,"brokerEpoch":%d}`, epoch)
}

// parseClean returns -1 for a marker without an epoch, which Kafka wrote before version 3.8.
func parseClean(data []byte) int64 {
	_, rest, _ := bytes.Cut(data, []byte(`"brokerEpoch":`))
	rest, _, _ = bytes.Cut(rest, []byte("}"))
	epoch, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64)
	if err != nil {
		return -1
	}
	return epoch
}
