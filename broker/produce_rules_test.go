package broker_test

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
)

// changed returns the batch with a field overwritten and the CRC made right again.
func changed(b record.Batch, change func(b record.Batch)) record.Batch {
	change(b)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func put32(at int, v uint32) func(record.Batch) {
	return func(b record.Batch) { binary.BigEndian.PutUint32(b[at:], v) }
}

func flag(bits byte) func(record.Batch) { return func(b record.Batch) { b[22] |= bits } }

// TestProduceHoldsABatchToTheRules: each row is a batch and what the node says to it. Nothing of a
// refused batch is appended.
func TestProduceHoldsABatchToTheRules(t *testing.T) {
	r := startRaw(t, nil)
	now := time.Now().UnixMilli()
	keyed := rec{now, []byte("k"), []byte("v")}
	rows := []struct {
		rule    string
		configs []string
		version int16
		batch   []byte
		want    error
	}{
		{rule: "a sound batch", batch: plain("a", "b")},
		{rule: "crc does not match", batch: func() []byte { b := plain("a"); b[len(b)-1] ^= 1; return b }(), want: kerr.CorruptMessage},
		{rule: "magic 1", batch: func() []byte { b := plain("a"); b[16] = 1; return b }(), want: kerr.InvalidRecord},
		{rule: "magic 3", batch: func() []byte { b := plain("a"); b[16] = 3; return b }(), want: kerr.CorruptMessage},
		{rule: "shorter than a header", batch: plain("a")[:40], want: kerr.InvalidRecord},
		{rule: "length field too large", batch: func() []byte { b := plain("a"); put32(8, 1<<30)(b); return b }(), want: kerr.InvalidRecord},
		{rule: "length field negative", batch: func() []byte { b := plain("a"); put32(8, 1<<31)(b); return b }(), want: kerr.CorruptMessage},
		{rule: "two batches", batch: append(plain("a"), plain("b")...), want: kerr.InvalidRecord},
		{rule: "no batch", batch: []byte{}, want: kerr.InvalidRecord},
		{rule: "no records", batch: changed(plain("a"), func(b record.Batch) { put32(57, 0)(b) }), want: kerr.InvalidRecord},
		{rule: "last offset delta beyond the count", batch: changed(plain("a", "b"), put32(23, 5)), want: kerr.InvalidRecord},
		{rule: "count beyond the bytes", batch: changed(changed(plain("a"), put32(57, 1<<20)), put32(23, 1<<20-1)), want: kerr.InvalidRecord},
		{rule: "control batch", batch: changed(plain("a"), flag(1<<5)), want: kerr.InvalidRecord},
		{rule: "log append time set by the client", batch: changed(plain("a"), flag(1<<3)), want: kerr.InvalidTimestamp},
		{rule: "transactional without a producer", batch: changed(plain("a"), flag(1<<4)), want: kerr.TransactionalIDAuthorizationFailed},
		{rule: "producer without a sequence", batch: batchFrom(record.Options{Producer: &record.Producer{ID: 7, Epoch: 0, Sequence: -1}}, keyed), want: kerr.InvalidRecord},
		{rule: "unknown codec", batch: changed(plain("a"), flag(5)), want: kerr.InvalidRecord},
		{rule: "garbage under gzip, walked", configs: []string{"cleanup.policy", "compact"}, batch: changed(plain("a"), flag(1)), want: kerr.InvalidRecord},
		{rule: "null key on a compacted topic", configs: []string{"cleanup.policy", "compact"}, batch: batchFrom(record.Options{}, keyed, rec{now, nil, []byte("x")}), want: kerr.InvalidRecord},
		{rule: "null value on a compacted topic", configs: []string{"cleanup.policy", "compact"}, batch: batchFrom(record.Options{}, rec{now, []byte("k"), nil})},
		{rule: "larger than max.message.bytes", configs: []string{"max.message.bytes", "200"}, batch: plain(strings.Repeat("x", 200)), want: kerr.MessageTooLarge},
		{rule: "small once compressed", configs: []string{"max.message.bytes", "200"}, batch: packed(compress.Zstd, strings.Repeat("x", 2000))},
		{rule: "too large once recompressed", configs: []string{"max.message.bytes", "200", "compression.type", "uncompressed"}, batch: packed(compress.Zstd, strings.Repeat("x", 2000)), want: kerr.MessageTooLarge},
		{rule: "larger than segment.bytes", configs: []string{"segment.bytes", "1024", "max.message.bytes", "10000"}, batch: plain(strings.Repeat("x", 2000)), want: kerr.RecordListTooLarge},
		{rule: "stamped two hours ahead", batch: batchFrom(record.Options{}, rec{now + 7_200_000, nil, nil}), want: kerr.InvalidTimestamp},
		{rule: "stamped half an hour ahead", batch: batchFrom(record.Options{}, rec{now + 1_800_000, nil, nil})},
		{rule: "one record stamped too far back", configs: []string{"message.timestamp.before.max.ms", "1000"}, batch: batchFrom(record.Options{}, keyed, rec{now - 60_000, nil, nil}), want: kerr.InvalidTimestamp},
		{rule: "stamped ahead under log append time", configs: []string{"message.timestamp.type", "LogAppendTime"}, batch: batchFrom(record.Options{}, rec{now + 1<<40, nil, nil})},
		{rule: "zstd before version 7", version: 6, batch: packed(compress.Zstd, "a"), want: kerr.UnsupportedCompressionType},
		{rule: "zstd in version 7", version: 7, batch: packed(compress.Zstd, "a")},
		{rule: "fewer replicas than acks=all wants", configs: []string{"min.insync.replicas", "2"}, batch: plain("a"), want: kerr.NotEnoughReplicas},
		{rule: "sequence that starts in the middle, producer not known", batch: batchFrom(record.Options{Producer: &record.Producer{ID: 7, Epoch: 0, Sequence: 9}}, keyed)},
	}
	for i, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			r := &raw{t: t, conn: r.conn, format: r.format, next: int32(i * 100)}
			topic := "rule-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			r.create(topic, 1, row.configs...)
			if row.version == 0 {
				row.version = 11
			}
			p := call[*kmsg.ProduceResponse](r, produceTo(topic, 0, row.version, row.batch)).Topics[0].Partitions[0]
			wantCode(t, "produce", p.ErrorCode, row.want)
			if end := r.list(topic, -1).Offset; (row.want == nil) != (end > 0) || (row.want != nil) != (p.BaseOffset < 0) {
				t.Errorf("base offset %d, log end %d", p.BaseOffset, end)
			}
		})
	}
}

func TestARefusedRecordIsNamed(t *testing.T) {
	r := startRaw(t, nil)
	r.create("compacted", 1, "cleanup.policy", "compact")
	now := time.Now().UnixMilli()
	p := r.produce("compacted", batchFrom(record.Options{}, rec{now, []byte("k"), nil}, rec{now, nil, []byte("v")}))
	if len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 1 || p.ErrorMessage == nil {
		t.Errorf("record errors %+v, message %v", p.ErrorRecords, p.ErrorMessage)
	}
}

// TestATopicDecidesHowRecordsAreStored: compression.type says the codec on disk, from the next
// batch on when it is altered.
func TestATopicDecidesHowRecordsAreStored(t *testing.T) {
	r := startRaw(t, nil)
	rows := []struct {
		kind string
		want compress.Codec
	}{{"producer", compress.Snappy}, {"uncompressed", compress.None}, {"gzip", compress.Gzip}, {"snappy", compress.Snappy}, {"lz4", compress.LZ4}, {"zstd", compress.Zstd}}
	for _, row := range rows {
		t.Run(row.kind, func(t *testing.T) {
			r.create("as-"+row.kind, 1, "compression.type", row.kind)
			sent := packed(compress.Snappy, "one", "two", "three")
			r.mustProduce("as-"+row.kind, append([]byte(nil), sent...))
			got := batches(t, r.fetch("as-"+row.kind, 0).RecordBatches)
			if len(got) != 1 || got[0].Codec() != row.want {
				t.Fatalf("stored as %v", got[0].Codec())
			}
			if diff := cmp.Diff([]string{"one", "two", "three"}, values(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	alterTopic(r, "as-producer", "compression.type", "lz4")
	r.mustProduce("as-producer", plain("later"))
	if got := batches(t, r.fetch("as-producer", 3).RecordBatches); got[0].Codec() != compress.LZ4 {
		t.Errorf("after the change: %v", got[0].Codec())
	}
	old := call[*kmsg.FetchResponse](r, fetchOf("as-zstd", 9, 0, 1<<20)).Topics[0].Partitions[0]
	wantCode(t, "fetch of a zstd topic in version 9", old.ErrorCode, kerr.UnsupportedCompressionType)
	if len(old.RecordBatches) != 0 {
		t.Error("records came with the error")
	}
	wantCode(t, "fetch in version 10", call[*kmsg.FetchResponse](r, fetchOf("as-zstd", 10, 0, 1<<20)).Topics[0].Partitions[0].ErrorCode, nil)
}

func alterTopic(r *raw, topic, key, value string) {
	r.t.Helper()
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = key, &value
	wantCode(r.t, "alter "+key, r.alter(kmsg.ConfigResourceTypeTopic, topic, c).ErrorCode, nil)
}

// alter changes the keys of one resource.
func (r *raw) alter(kind kmsg.ConfigResourceType, name string, steps ...kmsg.IncrementalAlterConfigsRequestResourceConfig) kmsg.IncrementalAlterConfigsResponseResource {
	r.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.Configs = kind, name, steps
	req.Resources = append(req.Resources, res)
	return call[*kmsg.IncrementalAlterConfigsResponse](r, req).Resources[0]
}

func TestLogAppendTimeIsToldAndStored(t *testing.T) {
	r := startRaw(t, nil)
	r.create("stamped", 1, "message.timestamp.type", "LogAppendTime")
	r.create("created", 1)
	before := time.Now().UnixMilli()
	p := r.produce("stamped", batchFrom(record.Options{Codec: compress.LZ4}, rec{5, []byte("k"), nil}, rec{3, []byte("k"), nil}))
	if p.LogAppendTime < before || p.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("append time %d", p.LogAppendTime)
	}
	b := batches(t, r.fetch("stamped", 0).RecordBatches)[0]
	if !b.IsLogAppendTime() || b.MaxTimestamp() != p.LogAppendTime {
		t.Errorf("stored with log append time %t, max timestamp %d", b.IsLogAppendTime(), b.MaxTimestamp())
	}
	if found := r.list("stamped", before); found.Offset != 0 || found.Timestamp != p.LogAppendTime {
		t.Errorf("looked up by time: offset %d at %d", found.Offset, found.Timestamp)
	}
	if p := r.produce("created", plain("x")); p.LogAppendTime != -1 {
		t.Errorf("create time answers %d", p.LogAppendTime)
	}
}

// TestPartitionsOfAProduceStandForThemselves: one bad partition fails alone.
func TestPartitionsOfAProduceStandForThemselves(t *testing.T) {
	r := startRaw(t, nil)
	r.create("three", 3)
	req := produceTo("three", 0, 11, plain("a"))
	bad := plain("b")
	bad[len(bad)-1] ^= 1
	for i, b := range [][]byte{bad, plain("c"), plain("d")} {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i+1), b
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	none := produceTo("no-such-topic", 0, 11, plain("e"))
	req.Topics = append(req.Topics, none.Topics[0])
	resp := call[*kmsg.ProduceResponse](r, req)
	for i, want := range []error{nil, kerr.CorruptMessage, nil, kerr.UnknownTopicOrPartition} {
		wantCode(t, "partition", resp.Topics[0].Partitions[i].ErrorCode, want)
	}
	wantCode(t, "unknown topic", resp.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	byID := produceTo("", 0, 13, plain("f"))
	byID.Topics[0].TopicID = [16]byte{1: 1}
	wantCode(t, "unknown id", call[*kmsg.ProduceResponse](r, byID).Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicID)
	if meta := r.metadata("no-such-topic", false); !is(meta.ErrorCode, kerr.UnknownTopicOrPartition) {
		t.Error("a produce created its topic")
	}
}

func is(code int16, want error) bool { return kerr.ErrorForCode(code) == want } //nolint:errorlint // identity is meant

// metadata asks for one topic.
func (r *raw) metadata(topic string, create bool) kmsg.MetadataResponseTopic {
	r.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = 12, create
	ask := kmsg.NewMetadataRequestTopic()
	ask.Topic = &topic
	req.Topics = append(req.Topics, ask)
	return call[*kmsg.MetadataResponse](r, req).Topics[0]
}

// TestAcksDecideWhatIsAnswered: acks=0 has no answer and closes on an error; other numbers are refused.
func TestAcksDecideWhatIsAnswered(t *testing.T) {
	r := startRaw(t, nil)
	r.create("acked", 1)
	quiet := produceTo("acked", 0, 9, plain("a"))
	quiet.Acks = 0
	r.send(quiet)
	if end := r.list("acked", -1).Offset; end > 1 {
		t.Errorf("log end %d", end) // the next answer on the connection is that of the next request
	}
	leader := produceTo("acked", 0, 9, plain("b"))
	leader.Acks = 1
	wantCode(t, "acks=1", call[*kmsg.ProduceResponse](r, leader).Topics[0].Partitions[0].ErrorCode, nil)
	odd := produceTo("acked", 0, 9, plain("c"))
	odd.Acks = 2
	wantCode(t, "acks=2", call[*kmsg.ProduceResponse](r, odd).Topics[0].Partitions[0].ErrorCode, kerr.InvalidRequiredAcks)
	quiet = produceTo("no-such-topic", 0, 9, plain("d"))
	quiet.Acks = 0
	r.send(quiet)
	r.closed()
}

// TestIdempotence: duplicates are answered with the first offset, gaps and old epochs are refused,
// and all of that holds after a restart too.
func TestIdempotence(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	r := dialRaw(t, addr)
	r.create("idem", 1)
	of := func(epoch int16, sequence int32, n int) []byte {
		var recs []rec
		for range n {
			recs = append(recs, rec{time.Now().UnixMilli(), nil, []byte("v")})
		}
		return batchFrom(record.Options{Producer: &record.Producer{ID: 42, Epoch: epoch, Sequence: sequence}}, recs...)
	}
	rows := []struct {
		rule     string
		epoch    int16
		sequence int32
		n        int
		want     error
		offset   int64
	}{
		{"first", 0, 0, 2, nil, 0},
		{"next", 0, 2, 1, nil, 2},
		{"duplicate of the last", 0, 2, 1, nil, 2},
		{"duplicate of an earlier one", 0, 0, 2, nil, 0},
		{"gap", 0, 9, 1, kerr.OutOfOrderSequenceNumber, -1},
		{"overlap", 0, 1, 2, kerr.OutOfOrderSequenceNumber, -1},
		{"new epoch that does not start at 0", 1, 3, 1, kerr.OutOfOrderSequenceNumber, -1},
		{"RESTART", 0, 0, 0, nil, 0},
		{"duplicate after a restart", 0, 2, 1, nil, 2},
		{"earlier duplicate after a restart", 0, 0, 2, nil, 0},
		{"next after a restart", 0, 3, 1, nil, 3},
		{"new epoch", 1, 0, 1, nil, 4},
		{"old epoch", 0, 4, 1, kerr.InvalidProducerEpoch, -1},
		{"RESTART", 0, 0, 0, nil, 0},
		{"old epoch after a restart", 0, 4, 1, kerr.InvalidProducerEpoch, -1},
		{"next", 1, 1, 1, nil, 5},
	}
	for _, row := range rows {
		if row.rule == "RESTART" {
			stop()
			addr, _, stop = start(t, broker.Config{Dir: dir})
			r = dialRaw(t, addr)
			continue
		}
		p := r.produce("idem", of(row.epoch, row.sequence, row.n))
		wantCode(t, row.rule, p.ErrorCode, row.want)
		if p.BaseOffset != row.offset {
			t.Errorf("%s: offset %d, want %d", row.rule, p.BaseOffset, row.offset)
		}
	}
}
