package broker_test

import (
	"fmt"
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

// TestFetchFindsItsPlace: where a fetch may begin, and what it gets there.
func TestFetchFindsItsPlace(t *testing.T) {
	r := startRaw(t, nil)
	r.create("placed", 1)
	r.mustProduce("placed", packed(compress.Gzip, "0", "1", "2"))
	r.mustProduce("placed", plain("3", "4"))
	r.mustProduce("placed", plain("5"))
	r.deleteRecords("placed", 1, nil)
	rows := []struct {
		rule     string
		offset   int64
		maxBytes int32
		epoch    int32
		want     error
		first    int64 // base offset of the first batch; -1 for none
		batches  int
	}{
		{"before the log start", 0, 1 << 20, -1, kerr.OffsetOutOfRange, -1, 0},
		{"negative", -5, 1 << 20, -1, kerr.OffsetOutOfRange, -1, 0},
		{"in the middle of a batch", 2, 1 << 20, -1, nil, 0, 3},
		{"at a batch", 3, 1 << 20, -1, nil, 3, 2},
		{"one batch, however small the limit", 1, 1, -1, nil, 0, 1},
		{"no limit at all", 1, 0, -1, nil, 0, 1},
		{"at the end", 6, 1 << 20, -1, nil, -1, 0},
		{"beyond the end", 7, 1 << 20, -1, kerr.OffsetOutOfRange, -1, 0},
		{"epoch of the future", 3, 1 << 20, 99, kerr.UnknownLeaderEpoch, -1, 0},
		{"epoch of the present", 3, 1 << 20, 0, nil, 3, 2},
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			req := fetchOf("placed", 12, row.offset, row.maxBytes)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = row.epoch
			p := call[*kmsg.FetchResponse](r, req).Topics[0].Partitions[0]
			wantCode(t, "fetch", p.ErrorCode, row.want)
			got := batches(t, p.RecordBatches)
			first := int64(-1)
			if len(got) > 0 {
				first = got[0].BaseOffset()
			}
			if first != row.first || len(got) != row.batches {
				t.Errorf("%d batches from %d on, want %d from %d on", len(got), first, row.batches, row.first)
			}
			if row.want == nil && (p.HighWatermark != 6 || p.LogStartOffset != 1) {
				t.Errorf("high watermark %d, log start %d", p.HighWatermark, p.LogStartOffset)
			}
		})
	}
}

// deleteRecords moves the log start.
func (r *raw) deleteRecords(topic string, before int64, want error) int64 {
	r.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = 2, 10_000
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = before
	top := kmsg.NewDeleteRecordsRequestTopic()
	top.Topic, top.Partitions = topic, append(top.Partitions, p)
	req.Topics = append(req.Topics, top)
	out := call[*kmsg.DeleteRecordsResponse](r, req).Topics[0].Partitions[0]
	wantCode(r.t, fmt.Sprintf("delete records of %s before %d", topic, before), out.ErrorCode, want)
	return out.LowWatermark
}

// TestListOffsetsIsExactToTheRecord, also within a compressed batch and where times go back.
func TestListOffsetsIsExactToTheRecord(t *testing.T) {
	r := startRaw(t, nil)
	r.create("timed", 1, "index.interval.bytes", "1", "retention.ms", "-1")
	r.create("empty", 1)
	of := func(codec compress.Codec, at ...int64) {
		var recs []rec
		for _, ms := range at {
			recs = append(recs, rec{ms, nil, []byte(strings.Repeat("x", 50))})
		}
		r.mustProduce("timed", batchFrom(record.Options{Codec: codec}, recs...))
	}
	of(compress.Zstd, 100, 200, 300) // offsets 0 1 2
	of(compress.LZ4, 250, 150, 400)  // 3 4 5
	of(compress.None, 500, 450)      // 6 7
	of(compress.Gzip, 460, 500)      // 8 9
	rows := []struct {
		at, offset, timestamp int64
	}{
		{-1, 10, -1},
		{-2, 0, -1},
		{-3, 6, 500},
		{0, 0, 100},
		{100, 0, 100},
		{101, 1, 200},
		{200, 1, 200},
		{299, 2, 300},
		{301, 5, 400},
		{401, 6, 500},
		{500, 6, 500},
		{501, -1, -1},
	}
	for _, row := range rows {
		p := r.list("timed", row.at)
		if p.Offset != row.offset || p.Timestamp != row.timestamp || p.ErrorCode != 0 {
			t.Errorf("at %d: offset %d at %d, code %d; want %d at %d", row.at, p.Offset, p.Timestamp, p.ErrorCode, row.offset, row.timestamp)
		}
	}
	for _, at := range []int64{-3, 5} {
		if p := r.list("empty", at); p.Offset != -1 || p.ErrorCode != 0 {
			t.Errorf("of an empty log at %d: %+v", at, p)
		}
	}
	r.deleteRecords("timed", 7, nil)
	for at, want := range map[int64]int64{-2: 7, 0: 7, 455: 8} {
		if p := r.list("timed", at); p.Offset != want {
			t.Errorf("after deletion at %d: offset %d, want %d", at, p.Offset, want)
		}
	}
	p := call[*kmsg.ListOffsetsResponse](r, listOf("timed", 6, -3)).Topics[0].Partitions[0]
	wantCode(t, "-3 in version 6", p.ErrorCode, kerr.UnsupportedVersion)
}

// TestDeletedRecordsStayDeleted over a restart, and only where the topic deletes.
func TestDeletedRecordsStayDeleted(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	r := dialRaw(t, addr)
	r.create("cut", 1)
	r.create("kept", 1, "cleanup.policy", "compact")
	r.create("both", 1, "cleanup.policy", "compact,delete")
	for _, topic := range []string{"cut", "kept", "both"} {
		r.mustProduce(topic, plain("0", "1", "2"))
	}
	r.deleteRecords("cut", 4, kerr.OffsetOutOfRange)
	r.deleteRecords("cut", -2, kerr.OffsetOutOfRange)
	r.deleteRecords("kept", 1, kerr.PolicyViolation)
	r.deleteRecords("both", 1, nil)
	if low := r.deleteRecords("cut", 2, nil); low != 2 {
		t.Errorf("low watermark %d", low)
	}
	if low := r.deleteRecords("cut", 1, nil); low != 2 {
		t.Errorf("low watermark went back to %d", low)
	}
	stop()
	addr, _, _ = start(t, broker.Config{Dir: dir})
	r = dialRaw(t, addr)
	if got := r.list("cut", -2).Offset; got != 2 {
		t.Errorf("log start after a restart: %d", got)
	}
	if low := r.deleteRecords("cut", -1, nil); low != 3 {
		t.Errorf("all deleted: low watermark %d", low)
	}
	if base := r.mustProduce("cut", plain("3")); base != 3 {
		t.Errorf("the next record is at %d", base)
	}
}

// TestAFetchWaits for min bytes or max wait, and for no longer than there is reason to.
func TestAFetchWaits(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	writer, reader := dialRaw(t, addr), dialRaw(t, addr)
	id := writer.create("waited", 1)
	wait := func(minBytes, millis int32) (*kmsg.FetchRequest, int32) {
		req := fetchOf("waited", 12, writer.list("waited", -1).Offset, 1<<20)
		req.MinBytes, req.MaxWaitMillis = minBytes, millis
		return req, reader.send(req)
	}
	records := func(req *kmsg.FetchRequest, id int32) int {
		resp, ok := reader.receive(req, id).(*kmsg.FetchResponse)
		if !ok {
			t.Fatal("not a fetch response")
		}
		return len(values(t, batches(t, resp.Topics[0].Partitions[0].RecordBatches)))
	}
	began := time.Now()
	req, sent := wait(1, 100)
	if n := records(req, sent); n != 0 || time.Since(began) < 90*time.Millisecond {
		t.Errorf("nothing came: %d records after %s", n, time.Since(began))
	}
	req, sent = wait(1, 15_000)
	writer.mustProduce("waited", plain("a"))
	if n := records(req, sent); n != 1 {
		t.Errorf("one record came: %d records", n)
	}
	req, sent = wait(400, 15_000)
	writer.mustProduce("waited", plain(strings.Repeat("b", 150)))
	writer.mustProduce("waited", plain(strings.Repeat("c", 150)))
	if n := records(req, sent); n != 2 {
		t.Errorf("min bytes came: %d records", n)
	}
	if time.Since(began) > 10*time.Second {
		t.Errorf("it took %s", time.Since(began))
	}

	byName, sent := wait(1, 15_000)
	idReader := dialRaw(t, addr)
	byID := fetchOf("", 17, 3, 1<<20)
	byID.Topics[0].TopicID, byID.MaxWaitMillis = id, 15_000
	idSent := idReader.send(byID)
	writer.delete("waited")
	resp, _ := reader.receive(byName, sent).(*kmsg.FetchResponse)
	wantCode(t, "topic deleted while a fetch waits", resp.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	resp, _ = idReader.receive(byID, idSent).(*kmsg.FetchResponse)
	if code := resp.Topics[0].Partitions[0].ErrorCode; !is(code, kerr.UnknownTopicID) && !is(code, kerr.UnknownTopicOrPartition) {
		t.Errorf("the same by id: %v", kerr.ErrorForCode(code))
	}
	if again := writer.create("waited", 1); again == id {
		t.Error("the id was used again")
	}
	if base := writer.mustProduce("waited", plain("new")); base != 0 {
		t.Errorf("a topic made anew begins at %d", base)
	}
	stale := call[*kmsg.FetchResponse](idReader, byID)
	wantCode(t, "the id of the topic before", stale.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicID)
}

// TestRetentionDropsSegments by time and by size, and never the newest.
func TestRetentionDropsSegments(t *testing.T) {
	r := startRaw(t, map[string]string{"log.retention.check.interval.ms": "20", "log.segment.delete.delay.ms": "0"})
	r.create("old", 1, "segment.bytes", "1024", "retention.ms", "60000")
	r.create("large", 1, "segment.bytes", "1024", "retention.bytes", "3000")
	r.create("forever", 1, "segment.bytes", "1024", "retention.ms", "-1")
	now := time.Now().UnixMilli()
	value := []byte(strings.Repeat("x", 700))
	for i := range 10 {
		at := now - 3_600_000
		if i >= 7 {
			at = now
		}
		for _, topic := range []string{"old", "large", "forever"} {
			r.mustProduce(topic, batchFrom(record.Options{}, rec{at, nil, value}))
		}
	}
	within := func(topic string, ok func(start int64) bool) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for start := r.list(topic, -2).Offset; !ok(start); start = r.list(topic, -2).Offset {
			if time.Now().After(deadline) {
				t.Fatalf("%s starts at %d", topic, start)
			}
			r.fetchNothing()
		}
	}
	within("old", func(start int64) bool { return start == 7 })
	within("large", func(start int64) bool { return start >= 6 && start <= 7 })
	if start := r.list("forever", -2).Offset; start != 0 {
		t.Errorf("forever starts at %d", start)
	}
	if got := r.fetch("old", 7); len(batches(t, got.RecordBatches)) == 0 {
		t.Error("what is young enough is gone")
	}
}

// fetchNothing takes a moment at the node: a fetch of no partition that waits is answered at once,
// so it fetches a topic that has nothing to read.
func (r *raw) fetchNothing() {
	r.t.Helper()
	req := fetchOf("forever", 12, r.list("forever", -1).Offset, 1)
	req.MaxWaitMillis = 10
	call[*kmsg.FetchResponse](r, req)
}

// TestSessionsTellOnlyWhatChanged (KIP-227), and their number is what the node was told.
func TestSessionsTellOnlyWhatChanged(t *testing.T) {
	r := startRaw(t, map[string]string{"max.incremental.fetch.session.cache.slots": "1"})
	r.create("s", 2)
	req := fetchOf("s", 12, 0, 1<<20)
	p := req.Topics[0].Partitions[0]
	p.Partition = 1
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	req.SessionEpoch = 0
	first := call[*kmsg.FetchResponse](r, req)
	if first.SessionID == 0 || len(first.Topics[0].Partitions) != 2 {
		t.Fatalf("session %d", first.SessionID)
	}
	if second := call[*kmsg.FetchResponse](r, req); second.SessionID != 0 {
		t.Error("there is one slot, and two sessions")
	}
	r.mustProduce("s", plain("x"))
	next := kmsg.NewPtrFetchRequest()
	next.Version, next.MaxBytes, next.SessionID, next.SessionEpoch = 12, 1<<20, first.SessionID, 1
	got := call[*kmsg.FetchResponse](r, next)
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		t.Fatalf("%+v", got)
	}
	next.SessionEpoch = 7
	wantCode(t, "epoch", call[*kmsg.FetchResponse](r, next).ErrorCode, kerr.InvalidFetchSessionEpoch)
	next.SessionID++
	wantCode(t, "id", call[*kmsg.FetchResponse](r, next).ErrorCode, kerr.FetchSessionIDNotFound)
}

// TestAnswersComeInTheOrderOfTheRequests: 1,000 of all kinds on one connection, sent before the
// first answer is read, some of them slow.
func TestAnswersComeInTheOrderOfTheRequests(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	r := dialRaw(t, addr)
	r.create("mixed", 1)
	coordinate(r, "mixed-group")
	kinds := []func(i int) kmsg.Request{
		func(i int) kmsg.Request { return produceTo("mixed", 0, 9, plain(fmt.Sprint(i))) },
		func(int) kmsg.Request {
			req := fetchOf("mixed", 12, 0, 100)
			req.MaxWaitMillis = 5
			return req
		},
		func(int) kmsg.Request { return listOf("mixed", 7, 0) },
		func(int) kmsg.Request {
			m := kmsg.NewPtrMetadataRequest()
			m.Version = 9
			return m
		},
		func(i int) kmsg.Request {
			c := kmsg.NewPtrCreateTopicsRequest()
			ask := kmsg.NewCreateTopicsRequestTopic()
			ask.Topic, ask.NumPartitions, ask.ReplicationFactor = fmt.Sprintf("made-%d", i%5), 1, 1
			c.Version, c.TimeoutMillis, c.Topics = 5, 5000, append(c.Topics, ask)
			return c
		},
		func(int) kmsg.Request {
			h := kmsg.NewPtrHeartbeatRequest()
			h.Version, h.Group, h.MemberID = 4, "mixed-group", "nobody"
			return h
		},
		func(int) kmsg.Request {
			d := kmsg.NewPtrDescribeClusterRequest()
			return d
		},
	}
	const n = 1000
	sent, ids := make([]kmsg.Request, n), make([]int32, n)
	for i := range n {
		sent[i] = kinds[i%len(kinds)](i)
		ids[i] = int32(i)
	}
	failed := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := r.conn.Write(r.format.AppendRequest(nil, sent[i], ids[i])); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	var stored []string
	for i := range n {
		resp := r.receive(sent[i], ids[i])
		if p, ok := resp.(*kmsg.ProduceResponse); ok {
			wantCode(t, "produce", p.Topics[0].Partitions[0].ErrorCode, nil)
			stored = append(stored, fmt.Sprint(i))
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	got := values(t, batches(t, r.fetch("mixed", 0).RecordBatches))
	if diff := cmp.Diff(stored, got); diff != "" {
		t.Errorf("records are not in the order of their requests: %s", diff)
	}
}

// coordinate makes the offsets topic and waits until the group's partition serves.
func coordinate(r *raw, group string) {
	r.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKeys = 4, []string{group}
	wantCode(r.t, "find coordinator", call[*kmsg.FindCoordinatorResponse](r, req).Coordinators[0].ErrorCode, nil)
	for deadline := time.Now().Add(10 * time.Second); ; {
		d := kmsg.NewPtrDescribeGroupsRequest()
		d.Version, d.Groups = 5, []string{group}
		code := call[*kmsg.DescribeGroupsResponse](r, d).Groups[0].ErrorCode
		if code == 0 || is(code, kerr.GroupIDNotFound) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the coordinator answers %v", kerr.ErrorForCode(code))
		}
	}
}
