package statestore

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A row of a store is under
//
//	key-value  id be32 | key
//	window     id be32 | segment be32 | escaped key | start be64 | seq be32
//	session    id be32 | segment be32 | escaped key | end be64 | start be64
//	versioned  id be32 | ffffffff | key
//	           id be32 | segment be32 | escaped key | end be64 | start be64
//
// in the DB. The id is the DB's short number for the store. A segment is a span
// of time that expires as one range; the time of a row is its start in a window
// store and its end in a session store. A versioned store has the latest
// version of a key in a segment of its own, which never expires, and those
// before it by the time at which they ended. An escaped key ends in 00 01 and has
// 00 ff for 00, so that no key is the beginning of another and the order of keys
// stays that of their bytes. Times have the sign bit flipped, for the same
// reason. A row's value is prefixed by be64 of its timestamp where the store
// keeps one.
//
// In the changelog keys are Kafka's: key; key | start | seq; key | end | start;
// key, once for each version.
// Values are plain there, and the timestamp is the record's.
const (
	idLen        = 4
	segmentLen   = 4
	windowTail   = 12
	sessionTail  = 16
	timestampLen = 8
	minSegmentMs = 60_000
	signBit      = 1 << 63
	escape       = 0x00
	escapedZero  = 0xff
	escapedEnd   = 0x01
	latest       = math.MaxUint32 // the segment of latest versions
	maxStoreID   = 0xfeffffff
	minTime      = math.MinInt64
)

// layout turns what a row is into its key in the DB and in the changelog.
type layout struct {
	kind     Kind
	id       uint32
	interval int64 // of a segment, in milliseconds
}

func newLayout(s Spec, id uint32) layout {
	interval := max(s.RetentionMs/2, minSegmentMs)
	if s.SegmentMs > 0 {
		interval = s.SegmentMs
	}
	return layout{kind: s.Kind, id: id, interval: interval}
}

// segment returns the segment of a time. Times before the epoch share the first
// one, and far ones the last, which never expires.
func (l *layout) segment(at int64) uint32 {
	last := int64(math.MaxUint32)
	if l.kind == KindVersioned {
		last = latest - 1
	}
	return uint32(min(max(at, 0)/l.interval, last))
}

// begin appends the id of the store.
func (l *layout) begin(dst []byte) []byte { return binary.BigEndian.AppendUint32(dst, l.id) }

// beginKeys appends the prefix of the rows that are in the order of plain keys.
func (l *layout) beginKeys(dst []byte) []byte {
	if l.kind == KindVersioned {
		return l.beginSegment(dst, latest)
	}
	return l.begin(dst)
}

// beginSegment appends the prefix of a segment.
func (l *layout) beginSegment(dst []byte, segment uint32) []byte {
	return binary.BigEndian.AppendUint32(l.begin(dst), segment)
}

// beginKey appends the prefix of a key in a segment.
func (l *layout) beginKey(dst []byte, segment uint32, key []byte) []byte {
	return appendEscaped(l.beginSegment(dst, segment), key)
}

func (l *layout) window(dst, key []byte, start int64, seq uint32) []byte {
	return appendWindowTail(l.beginKey(dst, l.segment(start), key), start, seq)
}

func (l *layout) session(dst, key []byte, start, end int64) []byte {
	return appendTime(appendTime(l.beginKey(dst, l.segment(end), key), end), start)
}

func appendWindowTail(dst []byte, start int64, seq uint32) []byte {
	return binary.BigEndian.AppendUint32(appendTime(dst, start), seq)
}

// segmentRange returns the keys of the segments from one to another, both
// included.
func (l *layout) segmentRange(from, to uint32) (first, end []byte) {
	return l.beginSegment(nil, from), after(l.beginSegment(nil, to))
}

// span is the time that a row is about, and what tells it from others.
type span struct {
	start, end int64 // equal in a window store
	seq        uint32
}

// parse splits the key of a row. It appends the plain key to dst.
func (l *layout) parse(dst, row []byte) (key []byte, at span, err error) {
	if len(row) < idLen {
		return dst, at, l.corrupt(row)
	}
	if l.kind == KindKeyValue {
		return append(dst, row[idLen:]...), at, nil
	}
	if l.kind == KindVersioned && len(row) >= idLen+segmentLen && binary.BigEndian.Uint32(row[idLen:]) == latest {
		return append(dst, row[idLen+segmentLen:]...), span{start: Forever, end: Forever}, nil
	}
	tail := sessionTail
	if l.kind == KindWindow {
		tail = windowTail
	}
	if len(row) < idLen+segmentLen+2+tail {
		return dst, at, l.corrupt(row)
	}
	body, rest := row[idLen+segmentLen:len(row)-tail], row[len(row)-tail:]
	key, ok := appendPlain(dst, body)
	if !ok {
		return dst, at, l.corrupt(row)
	}
	at.start, at.end = readTime(rest), readTime(rest)
	if l.kind == KindWindow {
		at.seq = binary.BigEndian.Uint32(rest[8:])
	} else {
		at.start = readTime(rest[8:])
	}
	return key, at, nil
}

func (l *layout) corrupt(row []byte) error {
	return fmt.Errorf("row key %x of a %s store: %w", row, l.kind, ErrCorrupt)
}

// appendLogTail appends what follows the plain key in the changelog.
func (l *layout) appendLogTail(dst []byte, at span) []byte {
	switch l.kind {
	case KindWindow:
		dst = binary.BigEndian.AppendUint64(dst, uint64(at.start))
		return binary.BigEndian.AppendUint32(dst, at.seq)
	case KindSession:
		dst = binary.BigEndian.AppendUint64(dst, uint64(at.end))
		return binary.BigEndian.AppendUint64(dst, uint64(at.start))
	default:
		return dst
	}
}

// fromLog appends the DB's key for a key of the changelog.
func (l *layout) fromLog(dst, logKey []byte) (row []byte, at span, err error) {
	switch l.kind {
	case KindWindow:
		n := len(logKey) - windowTail
		if n < 0 {
			break
		}
		at.start = int64(binary.BigEndian.Uint64(logKey[n:]))
		at.end, at.seq = at.start, binary.BigEndian.Uint32(logKey[n+8:])
		return l.window(dst, logKey[:n], at.start, at.seq), at, nil
	case KindSession:
		n := len(logKey) - sessionTail
		if n < 0 {
			break
		}
		at.end = int64(binary.BigEndian.Uint64(logKey[n:]))
		at.start = int64(binary.BigEndian.Uint64(logKey[n+8:]))
		return l.session(dst, logKey[:n], at.start, at.end), at, nil
	default:
		return append(l.begin(dst), logKey...), at, nil
	}
	return dst, at, fmt.Errorf("changelog key of %d bytes of a %s store: %w", len(logKey), l.kind, ErrCorrupt)
}

func appendTime(dst []byte, at int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(at)^signBit)
}

func readTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ signBit) }

func appendEscaped(dst, key []byte) []byte {
	for _, c := range key {
		if c == escape {
			dst = append(dst, escape, escapedZero)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, escape, escapedEnd)
}

// appendPlain undoes appendEscaped; b is an escaped key and nothing else.
func appendPlain(dst, b []byte) ([]byte, bool) {
	n := len(b) - 2
	if n < 0 || b[n] != escape || b[n+1] != escapedEnd {
		return dst, false
	}
	for i := 0; i < n; i++ {
		dst = append(dst, b[i])
		if b[i] != escape {
			continue
		}
		if i++; i >= n || b[i] != escapedZero {
			return dst, false
		}
	}
	return dst, true
}
