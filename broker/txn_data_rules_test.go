package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/broker/internal/record"
)

// inTxn produces a batch of one record in a transaction of tx to partition 0 of topic t.
func (r *raw) inTxn(version int16, p *kmsg.InitProducerIDResponse, sequence int32, value string) kmsg.ProduceResponseTopicPartition {
	r.t.Helper()
	by := &record.Producer{ID: p.ProducerID, Epoch: p.ProducerEpoch, Sequence: sequence}
	req := produceTo("t", 0, version, batchFrom(record.Options{Producer: by, Transactional: true}, rec{time.Now().UnixMilli(), []byte("k"), []byte(value)}))
	req.TransactionID = new("tx")
	return call[*kmsg.ProduceResponse](r, req).Topics[0].Partitions[0]
}

// fetchCommitted reads partition 0 of topic t as a reader of committed records.
func (r *raw) fetchCommitted(from int64) kmsg.FetchResponseTopicPartition {
	r.t.Helper()
	req := fetchOf("t", 12, from, 1<<20)
	req.IsolationLevel = 1
	return call[*kmsg.FetchResponse](r, req).Topics[0].Partitions[0]
}

func (r *raw) stable() int64 {
	r.t.Helper()
	req := listOf("t", 7, -1)
	req.IsolationLevel = 1
	return call[*kmsg.ListOffsetsResponse](r, req).Topics[0].Partitions[0].Offset
}

// next is the producer of the transaction after one that was ended with EndTxn version 5.
func next(e *kmsg.EndTxnResponse) *kmsg.InitProducerIDResponse {
	return &kmsg.InitProducerIDResponse{ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch}
}

// TestReadersOfTransactions: rules 60, 61, 77, 78 and 84, with transactions of version 2.
func TestReadersOfTransactions(t *testing.T) {
	r := startRaw(t, nil)
	r.create("t", 1)
	r.findTxn("tx")
	p := r.initTxn("tx", nil)
	wantCode(t, "first", r.inTxn(12, p, 0, "a").ErrorCode, nil) // offset 0; joins by being produced to
	wantCode(t, "second", r.inTxn(12, p, 1, "b").ErrorCode, nil)
	r.mustProduce("t", plain("beside")) // 2
	if got := r.inTxn(12, p, 1, "b"); got.ErrorCode != 0 || got.BaseOffset != 1 {
		t.Errorf("repeated: %+v", got)
	}
	wantCode(t, "a gap", r.inTxn(12, p, 7, "?").ErrorCode, kerr.OutOfOrderSequenceNumber)
	outside := batchFrom(record.Options{Producer: &record.Producer{ID: p.ProducerID, Epoch: p.ProducerEpoch, Sequence: 2}}, rec{time.Now().UnixMilli(), nil, []byte("?")})
	wantCode(t, "not in the open transaction", r.produce("t", outside).ErrorCode, kerr.InvalidTxnState)

	if got := r.fetchCommitted(0); len(got.RecordBatches) != 0 || got.LastStableOffset != 0 || got.HighWatermark != 3 || r.stable() != 0 {
		t.Errorf("while open: %d bytes, last stable %d of %d", len(got.RecordBatches), got.LastStableOffset, got.HighWatermark)
	}
	if got := values(t, batches(t, r.fetch("t", 0).RecordBatches)); !slices.Equal(got, []string{"a", "b", "beside"}) {
		t.Errorf("uncommitted: %q", got)
	}
	ended := r.endTxn("tx", 5, p, false)
	wantCode(t, "abort", ended.ErrorCode, nil)
	r.awaitState("tx", "CompleteAbort") // the marker is offset 3
	got := r.fetchCommitted(0)
	if len(got.AbortedTransactions) != 1 || got.AbortedTransactions[0].FirstOffset != 0 || got.AbortedTransactions[0].ProducerID != p.ProducerID || r.stable() != 4 {
		t.Errorf("aborted: %+v, last stable %d", got.AbortedTransactions, r.stable())
	}
	if got := r.fetchCommitted(4); len(got.AbortedTransactions) != 0 {
		t.Errorf("behind it: %+v", got.AbortedTransactions)
	}
	wantCode(t, "the old epoch", r.inTxn(12, p, 2, "late").ErrorCode, kerr.InvalidProducerEpoch)

	p = next(ended)
	wantCode(t, "a new epoch that does not start at 0", r.inTxn(12, p, 2, "?").ErrorCode, kerr.OutOfOrderSequenceNumber)
	wantCode(t, "the next transaction", r.inTxn(12, p, 0, "c").ErrorCode, nil) // 4
	wantCode(t, "commit", r.endTxn("tx", 5, p, true).ErrorCode, nil)
	r.awaitState("tx", "CompleteCommit")
	if got := r.fetchCommitted(4); len(got.AbortedTransactions) != 0 || r.stable() != 6 || len(batches(t, got.RecordBatches)) != 2 {
		t.Errorf("committed: %+v, last stable %d", got.AbortedTransactions, r.stable())
	}
}

// TestLateProduceDoesNotReopen: rule 81, with a client of version 1, whose epoch stays.
func TestLateProduceDoesNotReopen(t *testing.T) {
	r := startRaw(t, nil)
	r.create("t", 1)
	r.findTxn("tx")
	p := r.initTxn("tx", nil)
	wantCode(t, "before it is added", r.inTxn(10, p, 0, "a").ErrorCode, kerr.InvalidTxnState)
	wantCode(t, "before it is added, version 11", r.inTxn(11, p, 0, "a").ErrorCode, kerr.TransactionAbortable)
	wantCode(t, "add", r.addTxn("tx", p, 0)[0], nil)
	wantCode(t, "in it", r.inTxn(10, p, 0, "a").ErrorCode, nil)
	wantCode(t, "abort", r.endTxn("tx", 3, p, false).ErrorCode, nil)
	r.awaitState("tx", "CompleteAbort")
	wantCode(t, "late", r.inTxn(10, p, 1, "b").ErrorCode, kerr.InvalidTxnState)
	if end := r.list("t", -1).Offset; r.stable() != end || end != 2 {
		t.Errorf("last stable %d of %d", r.stable(), end)
	}
	foreign := &kmsg.InitProducerIDResponse{ProducerID: 1 << 40}
	wantCode(t, "somebody else's id", r.inTxn(12, foreign, 0, "?").ErrorCode, kerr.InvalidProducerIDMapping)
}

// txnOffset commits an offset of group g in a transaction of tx.
func (r *raw) txnOffset(version int16, p *kmsg.InitProducerIDResponse, offset int64, generation int32) int16 {
	r.t.Helper()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = version, "tx", "g", p.ProducerID, p.ProducerEpoch, generation
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset = offset
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{part}}}
	for deadline := time.Now().Add(10 * time.Second); ; {
		code := call[*kmsg.TxnOffsetCommitResponse](r, req).Topics[0].Partitions[0].ErrorCode
		if !is(code, kerr.CoordinatorLoadInProgress) && !is(code, kerr.NotCoordinator) || time.Now().After(deadline) {
			return code
		}
	}
}

// offsetOf reads the offset of group g; stable waits for nobody but says that it is not.
func (r *raw) offsetOf(stable bool) (int64, int16) {
	r.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group, req.RequireStable = 7, "g", stable
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp := call[*kmsg.OffsetFetchResponse](r, req)
		if is(resp.ErrorCode, kerr.CoordinatorLoadInProgress) && time.Now().Before(deadline) {
			continue
		}
		wantCode(r.t, "offset fetch", resp.ErrorCode, nil)
		return resp.Topics[0].Partitions[0].Offset, resp.Topics[0].Partitions[0].ErrorCode
	}
}

// TestOffsetsOfTransactions: rules 79 and 80, over a restart in the middle.
func TestOffsetsOfTransactions(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	r := dialRaw(t, addr)
	r.create("t", 1)
	r.findTxn("tx")
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKeys = 4, []string{"g"}
	wantCode(t, "find coordinator", call[*kmsg.FindCoordinatorResponse](r, find).Coordinators[0].ErrorCode, nil)
	p := r.initTxn("tx", nil)
	wantCode(t, "not added", r.txnOffset(3, p, 5, -1), kerr.InvalidTxnState)
	wantCode(t, "a generation of no group", r.txnOffset(5, p, 5, 3), kerr.IllegalGeneration)
	wantCode(t, "commit", r.txnOffset(5, p, 5, -1), nil)
	if offset, _ := r.offsetOf(false); offset != -1 {
		t.Errorf("pending offset %d is seen", offset)
	}
	if _, code := r.offsetOf(true); !is(code, kerr.UnstableOffsetCommit) {
		t.Errorf("stable offset while pending: %v", kerr.ErrorForCode(code))
	}
	stop()
	addr, _, _ = start(t, broker.Config{Dir: dir})
	r = dialRaw(t, addr)
	if _, code := r.offsetOf(true); !is(code, kerr.UnstableOffsetCommit) {
		t.Errorf("stable offset after a restart: %v", kerr.ErrorForCode(code))
	}
	var ended *kmsg.EndTxnResponse
	for deadline := time.Now().Add(10 * time.Second); ; {
		if ended = r.endTxn("tx", 5, p, true); !is(ended.ErrorCode, kerr.CoordinatorLoadInProgress) || time.Now().After(deadline) {
			break
		}
	}
	wantCode(t, "end", ended.ErrorCode, nil)
	r.awaitState("tx", "CompleteCommit")
	if offset, code := r.offsetOf(true); offset != 5 || code != 0 {
		t.Errorf("committed: %d, %v", offset, kerr.ErrorForCode(code))
	}
	wantCode(t, "an old epoch", r.txnOffset(5, p, 9, -1), kerr.InvalidProducerEpoch)
	p = next(ended)
	wantCode(t, "another", r.txnOffset(5, p, 9, -1), nil)
	wantCode(t, "abort", r.endTxn("tx", 5, p, false).ErrorCode, nil)
	r.awaitState("tx", "CompleteAbort")
	if offset, code := r.offsetOf(true); offset != 5 || code != 0 {
		t.Errorf("after an abort: %d, %v", offset, kerr.ErrorForCode(code))
	}
}

// TestHangingTransactionsCanBeEnded: rule 82, as kafka-transactions does it: what is open is found on
// the partition and ended there.
func TestHangingTransactionsCanBeEnded(t *testing.T) {
	r := startRaw(t, nil)
	r.create("t", 1)
	r.findTxn("tx")
	p := r.initTxn("tx", nil)
	wantCode(t, "produce", r.inTxn(12, p, 0, "a").ErrorCode, nil)
	describe := kmsg.NewPtrDescribeProducersRequest()
	describe.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	open := call[*kmsg.DescribeProducersResponse](r, describe).Topics[0].Partitions[0].ActiveProducers
	if len(open) != 1 || open[0].ProducerID != p.ProducerID || open[0].CurrentTxnStartOffset != 0 {
		t.Fatalf("active producers %+v", open)
	}
	mark := kmsg.NewPtrWriteTxnMarkersRequest()
	mark.Version = 1
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch = p.ProducerID, p.ProducerEpoch, 9
	m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: []int32{0}}, {Topic: "gone", Partitions: []int32{0}}}
	mark.Markers = append(mark.Markers, m)
	resp := call[*kmsg.WriteTxnMarkersResponse](r, mark).Markers[0]
	wantCode(t, "marker", resp.Topics[0].Partitions[0].ErrorCode, nil)
	wantCode(t, "marker for a topic that is gone", resp.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	if r.stable() != 2 {
		t.Errorf("last stable %d", r.stable())
	}
	mark.Markers[0].CoordinatorEpoch = 8
	wantCode(t, "an older coordinator", call[*kmsg.WriteTxnMarkersResponse](r, mark).Markers[0].Topics[0].Partitions[0].ErrorCode, kerr.TransactionCoordinatorFenced)
}

// TestFeaturesAreKept: levels are shown with their epoch, change, and outlive a restart.
func TestFeaturesAreKept(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	r := dialRaw(t, addr)
	level := func() (level int16, epoch int64) {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 4, "raw", "1"
		resp := call[*kmsg.ApiVersionsResponse](r, req)
		for _, f := range resp.FinalizedFeatures {
			if f.Name == "transaction.version" {
				level = f.MaxVersionLevel
			}
		}
		return level, resp.FinalizedFeaturesEpoch
	}
	before, epoch := level()
	if before != 2 {
		t.Errorf("a new cluster has level %d", before)
	}
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version = 2
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType = "transaction.version", 1, 2
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	wantCode(t, "downgrade", call[*kmsg.UpdateFeaturesResponse](r, req).ErrorCode, nil)
	if now, later := level(); now != 1 || later <= epoch {
		t.Errorf("level %d in epoch %d, before in %d", now, later, epoch)
	}
	stop()
	addr, _, _ = start(t, broker.Config{Dir: dir})
	r = dialRaw(t, addr)
	if now, _ := level(); now != 1 {
		t.Errorf("after a restart: level %d", now)
	}
}
