package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
)

// committed reads a topic of one partition up to its end, as a read_committed consumer sees it.
func committed(t *testing.T, addr, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := franz(t, addr, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var got []string
	for len(got) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		for _, r := range fetches.Records() {
			got = append(got, string(r.Value))
		}
	}
	return got
}

// TestFranzCommitsAndAborts: a transactional producer goes from transaction to transaction; what it
// aborts is never seen, and its offsets are committed with its records.
func TestFranzCommitsAndAborts(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	dialRaw(t, addr).create("out", 1)
	c := franz(t, addr, kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("out"))
	var want []string
	for i := range 60 {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprint(i)
		if err := c.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		end := kgo.TransactionEndTry(i%3 != 0)
		if err := c.EndTransaction(t.Context(), end); err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
		if end == kgo.TryCommit {
			want = append(want, value)
		}
	}
	if got := committed(t, addr, "out", len(want)); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// TestSaramaCommitsAndAborts does so with a client of version 1 that shares no code with the server, in
// a loop that consumes, transforms and produces.
func TestSaramaCommitsAndAborts(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	r := dialRaw(t, addr)
	r.create("out", 1)
	r.create("in", 1)
	coordinate(r, "g")
	o := sarama.NewConfig()
	o.Version = sarama.V2_8_0_0
	o.Producer.Idempotent, o.Producer.Transaction.ID, o.Producer.RequiredAcks = true, "sarama", sarama.WaitForAll
	o.Producer.Return.Successes, o.Net.MaxOpenRequests = true, 1
	p, err := sarama.NewSyncProducer([]string{addr}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	var want []string
	for i := range 12 {
		value := fmt.Sprint(i)
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "out", Value: sarama.StringEncoder(value)}); err != nil {
			t.Fatal(err)
		}
		offsets := map[string][]*sarama.PartitionOffsetMetadata{"in": {{Partition: 0, Offset: int64(i)}}}
		if err := p.AddOffsetsToTxn(offsets, "g"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := p.AbortTxn(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := p.CommitTxn(); err != nil {
			t.Fatal(err)
		}
		want = append(want, value)
	}
	if got := committed(t, addr, "out", len(want)); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group, req.RequireStable = 7, "g", true
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "in", Partitions: []int32{0}}}
	for deadline := time.Now().Add(10 * time.Second); ; {
		got := call[*kmsg.OffsetFetchResponse](r, req).Topics[0].Partitions[0]
		if got.ErrorCode == 0 && got.Offset == 11 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("offset %d, %v", got.Offset, kerr.ErrorForCode(got.ErrorCode))
		}
	}
}

// initTxn is InitProducerId with a transactional id. A coordinator that is being loaded is asked again.
func (r *raw) initTxn(id string, change func(*kmsg.InitProducerIDRequest)) *kmsg.InitProducerIDResponse {
	r.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 5, &id, 60_000
	if change != nil {
		change(req)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp := call[*kmsg.InitProducerIDResponse](r, req)
		if !is(resp.ErrorCode, kerr.CoordinatorLoadInProgress) && !is(resp.ErrorCode, kerr.ConcurrentTransactions) || time.Now().After(deadline) {
			return resp
		}
	}
}

func (r *raw) findTxn(id string) {
	r.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorType, req.CoordinatorKeys = 4, 1, []string{id}
	wantCode(r.t, "find coordinator", call[*kmsg.FindCoordinatorResponse](r, req).Coordinators[0].ErrorCode, nil)
}

// addTxn adds partitions of topic t.
func (r *raw) addTxn(id string, p *kmsg.InitProducerIDResponse, partitions ...int32) []int16 {
	r.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, id, p.ProducerID, p.ProducerEpoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: partitions}}
	var codes []int16
	for _, p := range call[*kmsg.AddPartitionsToTxnResponse](r, req).Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	return codes
}

func (r *raw) endTxn(id string, version int16, p *kmsg.InitProducerIDResponse, commit bool) *kmsg.EndTxnResponse {
	r.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, id, p.ProducerID, p.ProducerEpoch, commit
	return call[*kmsg.EndTxnResponse](r, req)
}

func (r *raw) stateOf(id string) kmsg.DescribeTransactionsResponseTransactionState {
	r.t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	return call[*kmsg.DescribeTransactionsResponse](r, req).TransactionStates[0]
}

// awaitState wants a transactional id to come into a state.
func (r *raw) awaitState(id, want string) {
	r.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; {
		got := r.stateOf(id)
		if got.State == want {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s is %q, want %q", id, got.State, want)
		}
	}
}

// TestTransactionRules walks a transactional id through rules 65 to 73 and 84 on the wire.
func TestTransactionRules(t *testing.T) {
	r := startRaw(t, nil)
	r.create("t", 2)
	r.findTxn("tx")
	bad := r.initTxn("tx", func(req *kmsg.InitProducerIDRequest) { req.TransactionTimeoutMillis = 900_001 })
	wantCode(t, "timeout", bad.ErrorCode, kerr.InvalidTransactionTimeout)
	wantCode(t, "no id", r.initTxn("", nil).ErrorCode, kerr.InvalidRequest)
	first := r.initTxn("tx", nil)
	wantCode(t, "init", first.ErrorCode, nil)

	codes := r.addTxn("tx", first, 0, 1, 2)
	for i, want := range []error{kerr.OperationNotAttempted, kerr.OperationNotAttempted, kerr.UnknownTopicOrPartition} {
		wantCode(t, fmt.Sprintf("partition %d beside one that is unknown", i), codes[i], want)
	}
	for i, code := range r.addTxn("tx", first, 0, 1) {
		wantCode(t, fmt.Sprintf("partition %d", i), code, nil)
	}
	if s := r.stateOf("tx"); s.State != "Ongoing" || len(s.Topics) != 1 || len(s.Topics[0].Partitions) != 2 {
		t.Errorf("described %+v", s)
	}
	ended := r.endTxn("tx", 5, first, true)
	wantCode(t, "commit", ended.ErrorCode, nil)
	if ended.ProducerID != first.ProducerID || ended.ProducerEpoch != first.ProducerEpoch+1 {
		t.Errorf("the next transaction is %d/%d", ended.ProducerID, ended.ProducerEpoch)
	}
	r.awaitState("tx", "CompleteCommit")
	wantCode(t, "commit repeated", r.endTxn("tx", 5, first, true).ErrorCode, nil)
	wantCode(t, "the opposite repeated", r.endTxn("tx", 5, first, false).ErrorCode, kerr.InvalidTxnState)

	second := r.initTxn("tx", nil)
	wantCode(t, "add of a fenced producer", r.addTxn("tx", first, 0)[0], kerr.ProducerFenced)
	wantCode(t, "end of a fenced producer", r.endTxn("tx", 4, first, true).ErrorCode, kerr.ProducerFenced)
	wantCode(t, "in a version before PRODUCER_FENCED", r.endTxn("tx", 1, first, true).ErrorCode, kerr.InvalidProducerEpoch)
	stranger := &kmsg.InitProducerIDResponse{ProducerID: 1 << 40, ProducerEpoch: 0}
	wantCode(t, "a foreign id", r.addTxn("tx", stranger, 0)[0], kerr.InvalidProducerIDMapping)

	wantCode(t, "commit of nothing, version 1", r.endTxn("tx", 4, second, true).ErrorCode, kerr.InvalidTxnState)
	third := r.endTxn("tx", 5, second, false)
	wantCode(t, "abort of nothing, version 2", third.ErrorCode, nil)
	fourth := r.initTxn("tx", func(req *kmsg.InitProducerIDRequest) {
		req.ProducerID, req.ProducerEpoch = third.ProducerID, third.ProducerEpoch
	})
	if wantCode(t, "go on", fourth.ErrorCode, nil); fourth.ProducerEpoch != third.ProducerEpoch+1 {
		t.Errorf("went on with epoch %d after %d", fourth.ProducerEpoch, third.ProducerEpoch)
	}
	fenced := r.initTxn("tx", func(req *kmsg.InitProducerIDRequest) {
		req.ProducerID, req.ProducerEpoch = first.ProducerID, first.ProducerEpoch
	})
	wantCode(t, "go on after being fenced", fenced.ErrorCode, kerr.ProducerFenced)

	wantCode(t, "add", r.addTxn("tx", fourth, 0)[0], nil)
	list := kmsg.NewPtrListTransactionsRequest()
	list.Version, list.StateFilters, list.TransactionalIDPattern = 2, []string{"Ongoing", "Wild"}, new("t.")
	listed := call[*kmsg.ListTransactionsResponse](r, list)
	if len(listed.TransactionStates) != 1 || listed.TransactionStates[0].TransactionalID != "tx" || !slices.Equal(listed.UnknownStateFilters, []string{"Wild"}) {
		t.Errorf("listed %+v", listed)
	}
	list.TransactionalIDPattern = new("(")
	wantCode(t, "a bad pattern", call[*kmsg.ListTransactionsResponse](r, list).ErrorCode, kerr.InvalidRegularExpression)
	wantCode(t, "nobody", r.stateOf("nobody").ErrorCode, kerr.TransactionalIDNotFound)
}

// TestTransactionsTimeOut: rules 74 and 83, with short times.
func TestTransactionsTimeOut(t *testing.T) {
	r := startRaw(t, map[string]string{
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "20",
		"transactional.id.expiration.ms":                              "50",
		"transaction.remove.expired.transaction.cleanup.interval.ms":  "20",
	})
	r.create("t", 1)
	r.findTxn("tx")
	p := r.initTxn("tx", func(req *kmsg.InitProducerIDRequest) { req.TransactionTimeoutMillis = 10 })
	wantCode(t, "add", r.addTxn("tx", p, 0)[0], nil)
	for deadline := time.Now().Add(15 * time.Second); r.stateOf("tx").ErrorCode == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("neither aborted nor forgotten: %+v", r.stateOf("tx"))
		}
	}
	wantCode(t, "forgotten", r.endTxn("tx", 5, p, true).ErrorCode, kerr.InvalidProducerIDMapping)
}

// TestTransactionsOutliveARestart: rules 66 and 76. What was decided is completed by the next life of
// the node, what was ongoing goes on.
func TestTransactionsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	r := dialRaw(t, addr)
	r.create("t", 1)
	r.findTxn("done")
	done, open := r.initTxn("done", nil), r.initTxn("open", nil)
	wantCode(t, "add", r.addTxn("done", done, 0)[0], nil)
	wantCode(t, "add", r.addTxn("open", open, 0)[0], nil)
	wantCode(t, "commit", r.endTxn("done", 5, done, true).ErrorCode, nil)
	stop()

	addr, _, _ = start(t, broker.Config{Dir: dir})
	r = dialRaw(t, addr)
	r.awaitState("done", "CompleteCommit")
	r.awaitState("open", "Ongoing")
	wantCode(t, "commit repeated", r.endTxn("done", 5, done, true).ErrorCode, nil)
	wantCode(t, "commit", r.endTxn("open", 5, open, true).ErrorCode, nil)
}

// TestAFencedProducerIsToldSo: rule 84, with a client that has to take it as final.
func TestAFencedProducerIsToldSo(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	dialRaw(t, addr).create("t", 1)
	zombie := franz(t, addr, kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("t"))
	produce := func(c *kgo.Client, value string) error {
		if err := c.BeginTransaction(); err != nil {
			return err
		}
		return c.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr()
	}
	if err := produce(zombie, "aborted"); err != nil {
		t.Fatal(err)
	}
	heir := franz(t, addr, kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("t"))
	if err := produce(heir, "committed"); err != nil {
		t.Fatal(err)
	}
	err := zombie.EndTransaction(t.Context(), kgo.TryCommit)
	if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
		t.Errorf("the fenced producer is told %v", err)
	}
	if err := heir.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(committed(t, addr, "t", 1), " "); got != "committed" {
		t.Errorf("read %q", got)
	}
}
