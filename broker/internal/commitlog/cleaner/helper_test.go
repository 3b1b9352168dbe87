package cleaner

import (
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/record"
)

// Logs are written one batch a line. The records of a batch are key=value; the key - and the value
// ~ are null. In front of them stands who wrote them: nothing, "p7:" for the idempotent producer 7,
// "t7:" for its transaction, and "t7 commit" or "t7 abort" for the end of that. What a round leaves
// is shown with the offsets of the batch in front, its delete horizon, and those of the records.

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// parse makes the batches of a log that begins at an offset, and what its transaction index tells.
func parse(t tester, text string, at int64, codec record.Codec) (log []record.Batch, aborted []layout.AbortedTxn) {
	t.Helper()
	first := map[int64]int64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		b := parseBatch(t, line, at, codec)
		id := b.ProducerID()
		if _, open := first[id]; b.IsTransactional() && !open {
			first[id] = at
		}
		if b.IsControl() {
			if strings.HasSuffix(line, "abort") {
				aborted = append(aborted, layout.AbortedTxn{ProducerID: id, First: first[id], Last: at})
			}
			delete(first, id)
		}
		log, at = append(log, b), b.NextOffset()
	}
	return log, aborted
}

func parseBatch(t tester, line string, at int64, codec record.Codec) record.Batch {
	t.Helper()
	o := record.Options{BaseOffset: at, Codec: codec, LeaderEpoch: 3}
	who, records, has := strings.Cut(line, ":")
	if !has {
		who, records = "", line
	}
	if head, end, ok := strings.Cut(line, " "); ok && (end == "commit" || end == "abort") {
		id, err := strconv.ParseInt(head[1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		c := record.Control{Type: record.Commit, CoordinatorEpoch: 1}
		if end == "abort" {
			c.Type = record.Abort
		}
		b := record.NewEndTxn(id, 0, c, at)
		b.SetBaseOffset(at)
		return b
	}
	if who != "" {
		id, err := strconv.ParseInt(who[1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		o.Producer, o.Transactional = &record.Producer{ID: id, Sequence: int32(at)}, who[0] == 't'
	}
	b := record.NewBuilder(o)
	for i, r := range strings.Fields(records) {
		key, value, _ := strings.Cut(r, "=")
		k, v := []byte(key), []byte(value)
		if key == "-" {
			k = nil
		}
		if value == "~" {
			v = nil
		}
		b.Append(at+int64(i), k, v, []record.Header{{Key: "h", Value: []byte(key)}}) // timestamps are offsets
	}
	return b.Build()
}

// show renders batches.
func show(t tester, log []record.Batch) string {
	t.Helper()
	var out strings.Builder
	for _, b := range log {
		if err := b.Intact(); err != nil {
			t.Errorf("batch at %d: %v", b.BaseOffset(), err)
		}
		fmt.Fprintf(&out, "%d-%d", b.BaseOffset(), b.LastOffset())
		switch {
		case b.IsTransactional():
			fmt.Fprintf(&out, " t%d", b.ProducerID())
		case b.HasProducer():
			fmt.Fprintf(&out, " p%d", b.ProducerID())
		}
		if b.HasDeleteHorizon() {
			fmt.Fprintf(&out, " horizon %d", b.BaseTimestamp())
		}
		if b.IsControl() {
			c, err := b.Control()
			if err != nil {
				t.Errorf("marker at %d: %v", b.BaseOffset(), err)
			}
			fmt.Fprintf(&out, " %s\n", map[record.ControlType]string{record.Commit: "commit", record.Abort: "abort"}[c.Type])
			continue
		}
		newest := record.NoTimestamp
		for r, err := range b.Records(1 << 20) {
			if err != nil {
				t.Fatalf("batch at %d: %v", b.BaseOffset(), err)
			}
			if r.Timestamp != r.Offset || len(r.Headers) != 1 || r.Headers[0].Key != "h" {
				t.Errorf("record %d: timestamp %d, headers %v", r.Offset, r.Timestamp, r.Headers)
			}
			newest = max(newest, r.Timestamp)
			fmt.Fprintf(&out, " %d:%s=%s", r.Offset, null(r.Key, "-"), null(r.Value, "~"))
		}
		if b.Count() > 0 && b.MaxTimestamp() != newest {
			t.Errorf("batch at %d: max timestamp %d, not %d", b.BaseOffset(), b.MaxTimestamp(), newest)
		}
		if b.HasProducer() && b.BaseSequence() != int32(b.BaseOffset()) || b.LeaderEpoch() != 3 {
			t.Errorf("batch at %d: sequence %d, leader epoch %d", b.BaseOffset(), b.BaseSequence(), b.LeaderEpoch())
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func null(b []byte, as string) string {
	if b == nil {
		return as
	}
	return string(b)
}

func seeds() [2]maphash.Seed { return [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()} }

// clean does one round and returns what it leaves, the aborted transactions among it, and its end.
func clean(t tester, log []record.Batch, o Options) (left []record.Batch, aborted []layout.AbortedTxn, end int64) {
	t.Helper()
	if o.Map == nil {
		o.Map = NewOffsetMap(1<<16, 0.9, 1000, seeds())
	}
	o.MaxDecompressed = 1 << 20
	r := New(o)
	for _, b := range log {
		full, err := r.Index(b)
		if err != nil {
			t.Fatal(err)
		}
		if full {
			break
		}
	}
	r.Rewind(o.Aborted)
	for i, b := range log {
		kept, err := r.Filter(b)
		if err != nil {
			t.Fatal(err)
		}
		if kept == nil && i == len(log)-1 {
			kept = Rest(b)
		}
		if kept != nil {
			left = append(left, append(record.Batch(nil), kept...))
		}
	}
	return left, r.TakeAborted(), r.End()
}
