package layout

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Checkpoint files are text: a line with the version, 0; a line with the number of entries; one
// line for each, of fields between single spaces.

func encodeLines(lines []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(lines))
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// parseLines reads a checkpoint whose entries have the given number of fields.
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

// EncodeOffsets writes an offset checkpoint of partitions.
func EncodeOffsets(offsets map[TP]int64) []byte {
	lines := make([]string, 0, len(offsets))
	for t, o := range offsets {
		lines = append(lines, fmt.Sprintf("%s %d %d", t.Topic, t.Partition, o))
	}
	slices.Sort(lines)
	return encodeLines(lines)
}

// ParseOffsets reads what EncodeOffsets made, or the empty file that Kafka begins with. Errors wrap
// ErrCorrupt.
func ParseOffsets(data []byte) (map[TP]int64, error) {
	if len(data) == 0 {
		return map[TP]int64{}, nil
	}
	entries, err := parseLines(data, 3)
	if err != nil {
		return nil, err
	}
	out := make(map[TP]int64, len(entries))
	for _, e := range entries {
		p, err := strconv.ParseInt(e[1], 10, 32)
		o, err2 := strconv.ParseInt(e[2], 10, 64)
		if err = errors.Join(err, err2); err != nil || p < 0 || o < 0 {
			return nil, fmt.Errorf("%w: entry %q", ErrCorrupt, strings.Join(e, " "))
		}
		out[TP{e[0], int32(p)}] = o
	}
	return out, nil
}

// EpochStart is a leader epoch with the offset of its first batch (KIP-101).
type EpochStart struct {
	Epoch int32
	Start int64
}

// EncodeEpochs writes a leader epoch checkpoint.
func EncodeEpochs(list []EpochStart) []byte {
	lines := make([]string, len(list))
	for i, s := range list {
		lines[i] = fmt.Sprintf("%d %d", s.Epoch, s.Start)
	}
	return encodeLines(lines)
}

// ParseEpochs reads what EncodeEpochs made: both fields ascend. Errors wrap ErrCorrupt.
func ParseEpochs(data []byte) ([]EpochStart, error) {
	entries, err := parseLines(data, 2)
	if err != nil {
		return nil, err
	}
	var list []EpochStart
	for _, f := range entries {
		epoch, err := strconv.ParseInt(f[0], 10, 32)
		start, err2 := strconv.ParseInt(f[1], 10, 64)
		s := EpochStart{int32(epoch), start}
		if n := len(list); errors.Join(err, err2) != nil || epoch < 0 || start < 0 ||
			n > 0 && (s.Epoch <= list[n-1].Epoch || s.Start <= list[n-1].Start) {
			return nil, fmt.Errorf("%w: epoch %q", ErrCorrupt, strings.Join(f, " "))
		}
		list = append(list, s)
	}
	return list, nil
}
