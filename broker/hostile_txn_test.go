package broker_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/record"
)

// TestHostileTransactions: requests on transactions that no sound client sends; each row names the
// answer. All rows meet the transactional id "tx", whose producer has a transaction under way.
func TestHostileTransactions(t *testing.T) {
	a := attack(t)
	a.healthy.findTxn("tx")
	a.healthy.initTxn("tx", nil)
	p := a.healthy.initTxn("tx", nil)
	wantCode(t, "produce", a.healthy.inTxn(12, p, 0, "a").ErrorCode, nil)
	as := func(id int64, epoch int16) *kmsg.InitProducerIDResponse {
		return &kmsg.InitProducerIDResponse{ProducerID: id, ProducerEpoch: epoch}
	}
	produced := func(version int16, as *kmsg.InitProducerIDResponse, sequence int32) func(*raw) int16 {
		return func(r *raw) int16 { return r.inTxn(version, as, sequence, "?").ErrorCode }
	}
	asked := func(id string, change func(*kmsg.InitProducerIDRequest)) func(*raw) int16 {
		return func(r *raw) int16 { return r.initTxn(id, change).ErrorCode }
	}
	timeout := func(ms int32) func(*kmsg.InitProducerIDRequest) {
		return func(q *kmsg.InitProducerIDRequest) { q.TransactionTimeoutMillis = ms }
	}
	to := func(topic string, key []byte) func(*raw) int16 {
		return func(r *raw) int16 {
			by := &record.Producer{ID: p.ProducerID, Epoch: p.ProducerEpoch}
			req := produceTo(topic, 0, 12, batchFrom(record.Options{Producer: by, Transactional: true}, rec{math.MaxInt32, key, []byte("?")}))
			req.TransactionID = new("tx")
			return call[*kmsg.ProduceResponse](r, req).Topics[0].Partitions[0].ErrorCode
		}
	}
	rows := []hostileRequest{
		{"produce with an epoch of the past", produced(12, as(p.ProducerID, p.ProducerEpoch-1), 0), kerr.InvalidProducerEpoch},
		{"produce with an epoch of the future", produced(12, as(p.ProducerID, p.ProducerEpoch+7), 0), kerr.InvalidProducerEpoch},
		{"produce with the largest epoch", produced(12, as(p.ProducerID, math.MaxInt16), 0), kerr.InvalidProducerEpoch},
		{"produce with a negative epoch", produced(12, as(p.ProducerID, -1), 0), kerr.InvalidRecord},
		{"produce with somebody else's id", produced(12, as(p.ProducerID+1, p.ProducerEpoch), 0), kerr.InvalidProducerIDMapping},
		{"produce with the largest id", produced(12, as(math.MaxInt64, 0), 0), kerr.InvalidProducerIDMapping},
		{"produce with a gap", produced(12, p, 5), kerr.OutOfOrderSequenceNumber},
		{"produce with a negative sequence", produced(12, p, -3), kerr.InvalidRecord},
		{"produce with the largest sequence", produced(12, p, math.MaxInt32), kerr.OutOfOrderSequenceNumber},
		{"produce without a key to a compacted topic", to("c", nil), kerr.InvalidRecord},
		{"produce to the coordinator's topic", to("__transaction_state", []byte("k")), kerr.InvalidTopicException},
		{"produce to a partition that is not there", to("nowhere", []byte("k")), kerr.UnknownTopicOrPartition},
		{"init of an id that is no text", asked("\xff\xfe", nil), kerr.InvalidRequest},
		{"init without an id", asked("", nil), kerr.InvalidRequest},
		{"init with a timeout of nothing", asked("hostile", timeout(0)), kerr.InvalidTransactionTimeout},
		{"init with a negative timeout", asked("hostile", timeout(-1)), kerr.InvalidTransactionTimeout},
		{"init with the largest timeout", asked("hostile", timeout(math.MaxInt32)), kerr.InvalidTransactionTimeout},
		{"init as half a producer", asked("hostile", func(q *kmsg.InitProducerIDRequest) { q.ProducerEpoch = 3 }), kerr.InvalidRequest},
		{"init as a producer of the past", asked("tx", func(q *kmsg.InitProducerIDRequest) { q.ProducerID, q.ProducerEpoch = p.ProducerID+9, 0 }), kerr.ProducerFenced},
		{"add with a foreign epoch", func(r *raw) int16 { return r.addTxn("tx", as(p.ProducerID, p.ProducerEpoch+1), 0)[0] }, kerr.ProducerFenced},
		{"add to nobody's transaction", func(r *raw) int16 { return r.addTxn("nobody", p, 0)[0] }, kerr.InvalidProducerIDMapping},
		{"add of 100,000 partitions", func(r *raw) int16 {
			many := make([]int32, 100_000)
			for i := range many {
				many[i] = int32(i)
			}
			return r.addTxn("tx", p, many...)[0]
		}, kerr.OperationNotAttempted},
		{"end with a foreign epoch", func(r *raw) int16 { return r.endTxn("tx", 5, as(p.ProducerID, p.ProducerEpoch+1), true).ErrorCode }, kerr.ProducerFenced},
		{"end with a foreign id", func(r *raw) int16 { return r.endTxn("tx", 5, as(p.ProducerID+1, p.ProducerEpoch), true).ErrorCode }, kerr.InvalidProducerIDMapping},
		{"end of a transaction of nobody", func(r *raw) int16 { return r.endTxn("nobody", 5, p, true).ErrorCode }, kerr.InvalidProducerIDMapping},
		{"offsets with a foreign epoch", func(r *raw) int16 { return r.txnOffset(5, as(p.ProducerID, p.ProducerEpoch+1), 5, -1) }, kerr.InvalidProducerEpoch},
		{"offsets with metadata of five kilobytes", func(r *raw) int16 {
			return call[*kmsg.TxnOffsetCommitResponse](r, txnOffsets(p, 1, strings.Repeat("x", 5000))).Topics[0].Partitions[0].ErrorCode
		}, kerr.OffsetMetadataTooLarge},
		{"offsets of 100,000 partitions", func(r *raw) int16 {
			return call[*kmsg.TxnOffsetCommitResponse](r, txnOffsets(p, 100_000, strings.Repeat("x", 100))).Topics[0].Partitions[0].ErrorCode
		}, kerr.InvalidCommitOffsetSize},
		{"markers of a producer nobody knows, for partitions that are not there", func(r *raw) int16 {
			mark := kmsg.NewPtrWriteTxnMarkersRequest()
			mark.Version = 1
			m := kmsg.NewWriteTxnMarkersRequestMarker()
			m.ProducerID, m.ProducerEpoch = 1<<40, 3
			m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: make([]int32, 10_000)}}
			for i := range m.Topics[0].Partitions {
				m.Topics[0].Partitions[i] = int32(i + 1)
			}
			mark.Markers = append(mark.Markers, m)
			return call[*kmsg.WriteTxnMarkersResponse](r, mark).Markers[0].Topics[0].Partitions[0].ErrorCode
		}, kerr.UnknownTopicOrPartition},
		{"a pattern of transactional ids that explodes", func(r *raw) int16 {
			list := kmsg.NewPtrListTransactionsRequest()
			list.Version, list.TransactionalIDPattern = 2, new(strings.Repeat("(x+x+)+", 100)+"y")
			return call[*kmsg.ListTransactionsResponse](r, list).ErrorCode
		}, nil},
		{"a pattern of 100 kilobytes", func(r *raw) int16 {
			list := kmsg.NewPtrListTransactionsRequest()
			list.Version, list.TransactionalIDPattern = 2, new(strings.Repeat("(a|b)", 20_000))
			return call[*kmsg.ListTransactionsResponse](r, list).ErrorCode
		}, kerr.InvalidRegularExpression},
	}
	a.meets(rows)
	wantCode(t, "the transaction goes on", a.healthy.inTxn(12, p, 1, "b").ErrorCode, nil)
	wantCode(t, "and is committed", a.healthy.endTxn("tx", 5, p, true).ErrorCode, nil)
	a.healthy.awaitState("tx", "CompleteCommit")
	a.unharmed(24 << 20)
}

// txnOffsets commits so many offsets of group g in the transaction of tx.
func txnOffsets(p *kmsg.InitProducerIDResponse, n int, metadata string) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 5, "tx", "g", p.ProducerID, p.ProducerEpoch, -1
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Metadata = &metadata
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = "t"
	for range n {
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	return req
}

// TestAFloodOfTransactionalIDs: what hundreds of producers that never come back leave is small.
func TestAFloodOfTransactionalIDs(t *testing.T) {
	a := attack(t)
	a.healthy.findTxn("tx")
	r := dialRaw(t, a.addr)
	for i := range 300 {
		wantCode(t, "init", r.initTxn(fmt.Sprint("flood-", i), nil).ErrorCode, nil)
	}
	_ = r.conn.Close()
	a.unharmed(8 << 20)
}

// TestTwoProducersOfOneID: the second fences the first, over and over, and only what the newest
// commits is seen.
func TestTwoProducersOfOneID(t *testing.T) {
	r := startRaw(t, nil)
	r.create("t", 1)
	r.findTxn("tx")
	one := r.initTxn("tx", nil)
	want := 0
	for i := range 20 {
		wantCode(t, "produce", r.inTxn(12, one, 0, fmt.Sprint(i)).ErrorCode, nil)
		other := r.initTxn("tx", nil)
		wantCode(t, "init", other.ErrorCode, nil)
		wantCode(t, "the fenced one produces", r.inTxn(12, one, 1, "?").ErrorCode, kerr.InvalidProducerEpoch)
		wantCode(t, "the fenced one commits", r.endTxn("tx", 5, one, true).ErrorCode, kerr.ProducerFenced)
		if i%5 == 4 {
			wantCode(t, "the newest produces", r.inTxn(12, other, 0, "committed").ErrorCode, nil)
			ended := r.endTxn("tx", 5, other, true)
			wantCode(t, "the newest commits", ended.ErrorCode, nil)
			r.awaitState("tx", "CompleteCommit")
			want, other = want+1, next(ended)
		}
		one = other
	}
	addr := r.conn.RemoteAddr().String()
	for _, value := range committed(t, addr, "t", want) {
		if value != "committed" {
			t.Errorf("read %q", value)
		}
	}
	if end := r.list("t", -1).Offset; r.stable() != end {
		t.Errorf("last stable offset %d of %d", r.stable(), end)
	}
}
