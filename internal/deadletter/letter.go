// Package deadletter is what a record carries that could not be handled: the
// headers that say where it came from, what failed and how often it was tried.
//
// A dead letter is the record that failed, key, value and headers as they came,
// with the headers of a [Letter] behind its own. Weir's own names begin with
// "dlq."; those of the system whose part the writer plays are written beside them,
// and [Read] knows the names of Kafka Connect, Kafka Streams, share groups and
// Spring too. Where a name comes twice the last one counts: a record that failed
// again was given a second set.
package deadletter

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The most bytes that the texts of a letter have when they are written.
const (
	MaxMessage = 1 << 10
	MaxStack   = 8 << 10
)

// MaxReplays is how often a record may be replayed before it is left alone.
const MaxReplays = 3

// ErrLoop means that a record failed after every replay that it may have.
var ErrLoop = errors.New("replayed too often")

// Header is one record header. A nil value is a null header value.
type Header struct {
	Key   string
	Value []byte
}

// Letter says why a record is a dead letter. What is not known is empty, or -1
// in the place and time of the origin.
type Letter struct {
	ID     string // a UUID of version 7, see [NewID]
	Origin Origin

	Component string // the connector, application or group that failed
	Task      string // its task
	Stage     string // what it was doing
	Operator  string // the node, converter or transformation that did it

	Error       Error
	Fingerprint string // the same for failures of the same kind, see [Fingerprint]
	SchemaID    string

	Attempts      int32 // how often the record was tried
	FirstFailedAt int64 // milliseconds since the epoch
	LastFailedAt  int64

	Replays      int32  // how often it came back from a dead-letter topic
	ReplayedFrom string // the ID of the letter that it last came back from
}

// Origin is the place of a record that failed.
type Origin struct {
	Topic         string
	Partition     int32
	Offset        int64
	Timestamp     int64  // milliseconds since the epoch
	TimestampType string // CreateTime or LogAppendTime
}

// Error is what failed.
type Error struct {
	Class   string // type of the error, see [Class]
	Message string
	Stack   string
	Code    int32 // of the Kafka protocol; 0 is none
}

// Nowhere is the origin of a record that was read from no topic.
func Nowhere() Origin { return Origin{Partition: -1, Offset: -1, Timestamp: -1} }

// Append adds the headers of the letter to dst, which has those of the record:
// the names of also first, Weir's own last. Texts are cut to their limits.
func (l *Letter) Append(dst []Header, also Dialect) []Header {
	short := *l
	short.Error.Message, short.Error.Stack = clip(l.Error.Message, MaxMessage), clip(l.Error.Stack, MaxStack)
	if also != Weir {
		dst = short.appendAs(dst, also)
	}
	return short.appendAs(dst, Weir)
}

func (l *Letter) appendAs(dst []Header, d Dialect) []Header {
	for _, c := range columns(d) {
		if value, ok := c.write(l); ok {
			dst = append(dst, Header{Key: c.name, Value: value})
		}
	}
	return dst
}

// Read finds the letter among the headers of a record, and in whose words it is:
// those of the header that was added last. It is not ok if there is none. A header
// that makes no sense counts as absent.
func Read(headers []Header) (l Letter, d Dialect, ok bool) {
	for _, h := range slices.Backward(headers) {
		if d, ok = dialectOf(h.Key); ok {
			break
		}
	}
	l.Origin = Nowhere()
	if !ok {
		return l, 0, false
	}
	for _, c := range columns(d) {
		for _, h := range slices.Backward(headers) {
			if h.Key == c.name {
				c.read(&l, h.Value)
				break
			}
		}
	}
	return l, d, true
}

// Original returns the headers that the record had before it failed, in order;
// the values are shared.
func Original(headers []Header) []Header {
	var kept []Header
	for _, h := range headers {
		if _, ours := dialectOf(h.Key); !ours {
			kept = append(kept, h)
		}
	}
	return kept
}

// Replay returns the headers under which a dead letter goes back to where it came
// from: the original ones, and those that let a letter of the same record know
// how often it came back. A record that failed after MaxReplays of them is an
// [ErrLoop].
func Replay(headers []Header) ([]Header, error) {
	l, _, ok := Read(headers)
	if !ok {
		return nil, errors.New("not a dead letter")
	}
	if l.Replays >= MaxReplays {
		return nil, fmt.Errorf("%w: %d times, last from letter %s", ErrLoop, l.Replays, l.ReplayedFrom)
	}
	next := Letter{Origin: Nowhere(), Replays: l.Replays + 1, ReplayedFrom: l.ID}
	return next.Append(Original(headers), Weir), nil
}

// Lineage takes over from the headers of a record how often it was replayed, and
// from which letter.
func (l *Letter) Lineage(headers []Header) {
	before, _, _ := Read(headers)
	l.Replays, l.ReplayedFrom = before.Replays, before.ReplayedFrom
}

// NewID returns a UUID of version 7: ids sort by time. random should be new for
// each id.
func NewID(ms int64, random [10]byte) string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(ms)<<16)
	copy(id[6:], random[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// cut marks a text that was longer.
const cut = "..."

// clip makes a text valid UTF-8 of at most limit bytes.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	end := limit - len(cut)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut
}
