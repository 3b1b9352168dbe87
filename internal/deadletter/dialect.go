package deadletter

import (
	"encoding/binary"
	"strconv"
)

// Dialect is a set of header names.
type Dialect int

// The dialects.
const (
	Weir    Dialect = iota // dlq.*
	Streams                // Kafka Streams, KIP-1034: __streams.errors.*
	Connect                // Kafka Connect, KIP-298: __connect.errors.*
	Share                  // share groups, KIP-1191: __dlq.errors.*
	Spring                 // Spring for Apache Kafka: kafka_dlt-*, numbers in binary
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	switch d {
	case Weir:
		return "weir"
	case Streams:
		return "streams"
	case Connect:
		return "connect"
	case Share:
		return "share"
	case Spring:
		return "spring"
	default:
		return "dialect(" + strconv.Itoa(int(d)) + ")"
	}
}

// column is one header of a dialect and the field that it holds.
type column struct {
	name   string
	field  func(*Letter) any // *string, *int32 or *int64
	absent int64             // number that is not written
	binary bool              // big endian, as wide as the field; else decimal text
}

// write returns the header value of a letter; not ok if it has none.
func (c *column) write(l *Letter) (value []byte, ok bool) {
	switch f := c.field(l).(type) {
	case *string:
		return []byte(*f), *f != ""
	case *int32:
		if c.binary {
			return binary.BigEndian.AppendUint32(nil, uint32(*f)), int64(*f) != c.absent
		}
		return strconv.AppendInt(nil, int64(*f), 10), int64(*f) != c.absent
	case *int64:
		if c.binary {
			return binary.BigEndian.AppendUint64(nil, uint64(*f)), *f != c.absent
		}
		return strconv.AppendInt(nil, *f, 10), *f != c.absent
	}
	return nil, false
}

// read sets the field to a header value, if that makes sense.
func (c *column) read(l *Letter, value []byte) {
	switch f := c.field(l).(type) {
	case *string:
		*f = string(value)
	case *int32:
		if n, ok := c.number(value, 32); ok {
			*f = int32(n)
		}
	case *int64:
		if n, ok := c.number(value, 64); ok {
			*f = n
		}
	}
}

func (c *column) number(value []byte, bits int) (int64, bool) {
	if !c.binary {
		n, err := strconv.ParseInt(string(value), 10, bits)
		return n, err == nil
	}
	switch {
	case len(value) != bits/8:
		return 0, false
	case bits == 32:
		return int64(int32(binary.BigEndian.Uint32(value))), true
	default:
		return int64(binary.BigEndian.Uint64(value)), true
	}
}

func topic(l *Letter) any         { return &l.Origin.Topic }
func partition(l *Letter) any     { return &l.Origin.Partition }
func offset(l *Letter) any        { return &l.Origin.Offset }
func timestamp(l *Letter) any     { return &l.Origin.Timestamp }
func timestampType(l *Letter) any { return &l.Origin.TimestampType }
func component(l *Letter) any     { return &l.Component }
func class(l *Letter) any         { return &l.Error.Class }
func message(l *Letter) any       { return &l.Error.Message }
func stack(l *Letter) any         { return &l.Error.Stack }
func attempts(l *Letter) any      { return &l.Attempts }
func stage(l *Letter) any         { return &l.Stage }
func task(l *Letter) any          { return &l.Task }
func operator(l *Letter) any      { return &l.Operator }

// columns returns the headers of a dialect, in the order in which they are
// written. Where two hold one field, the later one wins.
func columns(d Dialect) []column {
	switch d {
	case Streams:
		return []column{
			{name: "__streams.errors.exception", field: class},
			{name: "__streams.errors.stacktrace", field: stack},
			{name: "__streams.errors.message", field: message},
			{name: "__streams.errors.topic", field: topic},
			{name: "__streams.errors.partition", field: partition, absent: -1},
			{name: "__streams.errors.offset", field: offset, absent: -1},
		}
	case Connect:
		return []column{
			{name: "__connect.errors.topic", field: topic},
			{name: "__connect.errors.partition", field: partition, absent: -1},
			{name: "__connect.errors.offset", field: offset, absent: -1},
			{name: "__connect.errors.connector.name", field: component},
			{name: "__connect.errors.task.id", field: task},
			{name: "__connect.errors.stage", field: stage},
			{name: "__connect.errors.class.name", field: operator},
			{name: "__connect.errors.exception.class.name", field: class},
			{name: "__connect.errors.exception.message", field: message},
			{name: "__connect.errors.exception.stacktrace", field: stack},
		}
	case Share:
		return []column{
			{name: "__dlq.errors.topic", field: topic},
			{name: "__dlq.errors.partition", field: partition, absent: -1},
			{name: "__dlq.errors.offset", field: offset, absent: -1},
			{name: "__dlq.errors.group", field: component},
			{name: "__dlq.errors.delivery.count", field: attempts},
			{name: "__dlq.errors.message", field: message},
		}
	case Spring:
		return springColumns()
	case Weir:
		return weirColumns()
	}
	return nil
}

func weirColumns() []column {
	return []column{
		{name: "dlq.id", field: func(l *Letter) any { return &l.ID }},
		{name: "dlq.origin.topic", field: topic},
		{name: "dlq.origin.partition", field: partition, absent: -1},
		{name: "dlq.origin.offset", field: offset, absent: -1},
		{name: "dlq.origin.timestamp", field: timestamp, absent: -1},
		{name: "dlq.origin.timestamp.type", field: timestampType},
		{name: "dlq.component", field: component},
		{name: "dlq.task", field: task},
		{name: "dlq.stage", field: stage},
		{name: "dlq.operator", field: operator},
		{name: "dlq.error.class", field: class},
		{name: "dlq.error.message", field: message},
		{name: "dlq.error.stack", field: stack},
		{name: "dlq.error.code", field: func(l *Letter) any { return &l.Error.Code }},
		{name: "dlq.error.fingerprint", field: func(l *Letter) any { return &l.Fingerprint }},
		{name: "dlq.attempts", field: attempts},
		{name: "dlq.first.failed.at", field: func(l *Letter) any { return &l.FirstFailedAt }},
		{name: "dlq.last.failed.at", field: func(l *Letter) any { return &l.LastFailedAt }},
		{name: "dlq.schema.id", field: func(l *Letter) any { return &l.SchemaID }},
		{name: "dlq.replays", field: func(l *Letter) any { return &l.Replays }},
		{name: "dlq.replayed.from", field: func(l *Letter) any { return &l.ReplayedFrom }},
	}
}

// springColumns has the failure of a value behind that of a key, and the error
// behind its cause.
func springColumns() []column {
	return []column{
		{name: "kafka_dlt-original-topic", field: topic},
		{name: "kafka_dlt-original-partition", field: partition, absent: -1, binary: true},
		{name: "kafka_dlt-original-offset", field: offset, absent: -1, binary: true},
		{name: "kafka_dlt-original-timestamp", field: timestamp, absent: -1, binary: true},
		{name: "kafka_dlt-original-timestamp-type", field: timestampType},
		{name: "kafka_dlt-original-consumer-group", field: component},
		{name: "kafka_dlt-key-exception-fqcn", field: class},
		{name: "kafka_dlt-key-exception-message", field: message},
		{name: "kafka_dlt-key-exception-stacktrace", field: stack},
		{name: "kafka_dlt-exception-fqcn", field: class},
		{name: "kafka_dlt-exception-cause-fqcn", field: class},
		{name: "kafka_dlt-exception-message", field: message},
		{name: "kafka_dlt-exception-stacktrace", field: stack},
		{name: "retry_topic-attempts", field: attempts, binary: true},
	}
}

// dialectOf returns whose header a name is.
func dialectOf(name string) (Dialect, bool) {
	for d := Weir; d <= Spring; d++ {
		for _, c := range columns(d) {
			if c.name == name {
				return d, true
			}
		}
	}
	return 0, false
}
