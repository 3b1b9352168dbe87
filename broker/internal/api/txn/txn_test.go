package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/api/txn"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/record"
	decided "github.com/weirstream/weir/broker/internal/txn"
	"github.com/weirstream/weir/internal/env"
)

// sink is an empty log that commits at once.
type sink struct{}

func (sink) Append(_ []byte, done func(error))             { done(nil) }
func (sink) Check(record.Batch, bool) error                { return nil }
func (sink) Read(from int64, _ int) ([]byte, int64, error) { return nil, from, nil }
func (sink) StartOffset() int64                            { return 0 }
func (sink) EndOffset() int64                              { return 0 }

// denied is an Authorizer that refuses what stands in it, as "operation type name".
type denied map[string]bool

func (d denied) Authorize(_ *route.Session, op route.Operation, t route.ResourceType, name string) bool {
	return !d[fmt.Sprint(op, " ", t, " ", name)]
}

func no(op route.Operation, t route.ResourceType, name string) denied {
	return denied{fmt.Sprint(op, " ", t, " ", name): true}
}

// house is a coordinator with two partitions, and topic t with two as well. Markers wait in sent.
type house struct {
	*testing.T
	deps    txn.Deps
	runtime *coordinator.Runtime
	sent    []func()
}

// Send keeps markers until the test wants them written.
func (h *house) Send(s machine.Send, done func(any, error)) {
	w, ok := s.Request.(*decided.WriteMarkers)
	if !ok {
		h.Errorf("%T sent", s.Request)
		return
	}
	h.sent = append(h.sent, func() { done(make([]error, len(w.Partitions)), nil) })
}

func inHouse(t *testing.T, test func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{T: t}
		h.runtime = coordinator.New(coordinator.Options{
			Env: env.Env{Clock: env.Real().Clock}, Logger: slog.New(slog.DiscardHandler), Partitions: 2, Sender: h,
			Machine: func(_, epoch int32) machine.Machine { return decided.New(decided.DefaultOptions(), epoch) },
		})
		image, _ := metadata.ApplyCommand(metadata.Empty(), 1, metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{ID: 1}})
		image, _ = metadata.ApplyCommand(image, 2, metadata.CreateTopics{Topics: []metadata.NewTopic{{Name: "t", ID: metadata.ID{15: 7}, Assignments: [][]int32{{1}, {1}}}}})
		h.deps = deps(newAllocator())
		h.deps.Coordinator, h.deps.GroupPartition = h.runtime, func(group string) int32 { return int32(len(group)) }
		h.deps.Image = func() *metadata.Image { return image }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.runtime.Run(ctx) }()
		for i := range h.runtime.Partitions() {
			h.runtime.Load(i, 3, sink{})
		}
		synctest.Wait()
		test(h)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// put sends a request as its bytes and returns the answer as a client reads it.
func put[Resp kmsg.Response](h *house, version int16, req kmsg.Request) Resp {
	h.Helper()
	req.SetVersion(version)
	for _, r := range []route.Route{
		txn.InitProducerID(h.deps), txn.AddPartitionsToTxn(h.deps), txn.AddOffsetsToTxn(h.deps), txn.EndTxn(h.deps),
		txn.DescribeTransactions(h.deps), txn.ListTransactions(h.deps),
	} {
		if r.Key != req.Key() {
			continue
		}
		answer, pending, err := r.Start(h.Context(), &route.Session{}, version, req.AppendTo(nil))
		if err != nil {
			h.Fatal(err)
		}
		if pending != nil {
			done := make(waiter)
			pending.Wait(done)
			<-done
		}
		resp, _ := route.Kmsg(answer)
		out := kmsg.ResponseForKey(req.Key())
		out.SetVersion(version)
		if err := out.ReadFrom(resp.AppendTo(nil)); err != nil {
			h.Fatal(err)
		}
		return out.(Resp)
	}
	h.Fatalf("no route for %T", req)
	panic("unreachable")
}

func (h *house) init(version int16, id string) *kmsg.InitProducerIDResponse {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, 1000
	return put[*kmsg.InitProducerIDResponse](h, version, req)
}

func (h *house) add(version int16, p *kmsg.InitProducerIDResponse, topics ...kmsg.AddPartitionsToTxnRequestTopic) string {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Topics = "tx", p.ProducerID, p.ProducerEpoch, topics
	var codes []string
	for _, t := range put[*kmsg.AddPartitionsToTxnResponse](h, version, req).Topics {
		for _, p := range t.Partitions {
			codes = append(codes, fmt.Sprintf("%s/%d:%s", t.Topic, p.Partition, name(p.ErrorCode)))
		}
	}
	return strings.Join(codes, " ")
}

func (h *house) commit(version int16, p *kmsg.InitProducerIDResponse) *kmsg.EndTxnResponse {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "tx", p.ProducerID, p.ProducerEpoch, true
	return put[*kmsg.EndTxnResponse](h, version, req)
}

func (h *house) deliver() {
	for _, done := range h.sent {
		done()
	}
	h.sent = nil
}

func name(code int16) string {
	if err := kerr.TypedErrorForCode(code); err != nil {
		return err.Message
	}
	return "ok"
}

func (h *house) want(what, got, want string) {
	h.Helper()
	if got != want {
		h.Errorf("%s: %s, want %s", what, got, want)
	}
}

func topic(name string, partitions ...int32) kmsg.AddPartitionsToTxnRequestTopic {
	return kmsg.AddPartitionsToTxnRequestTopic{Topic: name, Partitions: partitions}
}

func TestATransactionInEveryVersion(t *testing.T) {
	for version := range int16(6) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			inHouse(t, func(h *house) {
				p := h.init(version, "tx")
				h.want("init", name(p.ErrorCode), "ok")
				h.want("add", h.add(min(version, 3), p, topic("t", 0, 1)), "t/0:ok t/1:ok")
				offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
				offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = "tx", p.ProducerID, p.ProducerEpoch, "grp"
				h.want("add offsets", name(put[*kmsg.AddOffsetsToTxnResponse](h, min(version, 4), offsets).ErrorCode), "ok")
				d := kmsg.NewPtrDescribeTransactionsRequest()
				d.TransactionalIDs = []string{"tx"}
				x := put[*kmsg.DescribeTransactionsResponse](h, 0, d).TransactionStates[0]
				h.want("described", fmt.Sprint(x.State, x.Topics[0].Topic, x.Topics[0].Partitions, x.Topics[1].Topic, x.Topics[1].Partitions), "Ongoing__consumer_offsets[3]t[0 1]")
				ended := h.commit(version, p)
				h.want("commit", name(ended.ErrorCode), "ok")
				if version >= 5 && (ended.ProducerID != p.ProducerID || ended.ProducerEpoch != p.ProducerEpoch+1) {
					t.Errorf("goes on as %d/%d", ended.ProducerID, ended.ProducerEpoch)
				}
				h.want("repeated at once", name(h.commit(version, p).ErrorCode), "CONCURRENT_TRANSACTIONS")
				h.deliver()
				h.want("repeated", name(h.commit(version, p).ErrorCode), "ok")
			})
		})
	}
}

// TestAFencedProducerInEveryVersion: PRODUCER_FENCED is for clients that know it (KIP-588).
func TestAFencedProducerInEveryVersion(t *testing.T) {
	inHouse(t, func(h *house) {
		old := h.init(5, "tx")
		h.init(5, "tx")
		for version := range int16(6) {
			want := "INVALID_PRODUCER_EPOCH"
			if version >= 2 {
				want = "PRODUCER_FENCED"
			}
			h.want("end", name(h.commit(version, old).ErrorCode), want)
			h.want("add", h.add(min(version, 3), old, topic("t", 0)), "t/0:"+want)
		}
		for version, want := range map[int16]string{3: "INVALID_PRODUCER_EPOCH", 4: "PRODUCER_FENCED"} {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = new("tx"), 1000, old.ProducerID, old.ProducerEpoch
			h.want("init", name(put[*kmsg.InitProducerIDResponse](h, version, req).ErrorCode), want)
		}
	})
}

func TestOnePartitionThatMayNotBeAddedHoldsAll(t *testing.T) {
	inHouse(t, func(h *house) {
		p := h.init(5, "tx")
		h.want("unknown", h.add(3, p, topic("t", 0, 2), topic("u", 0)), "t/0:OPERATION_NOT_ATTEMPTED t/2:UNKNOWN_TOPIC_OR_PARTITION u/0:UNKNOWN_TOPIC_OR_PARTITION")
		h.want("internal", h.add(3, p, topic("t", 0), topic("__transaction_state", 0)), "t/0:OPERATION_NOT_ATTEMPTED __transaction_state/0:TOPIC_AUTHORIZATION_FAILED")
		h.deps.Authorizer = no(route.Write, route.Topic, "s")
		h.want("not allowed", h.add(3, p, topic("t", 0), topic("s", 0)), "t/0:OPERATION_NOT_ATTEMPTED s/0:TOPIC_AUTHORIZATION_FAILED")
		h.deps.Authorizer = no(route.Write, route.TransactionalID, "tx")
		h.want("the id of others", h.add(3, p, topic("t", 0)), "t/0:TRANSACTIONAL_ID_AUTHORIZATION_FAILED")
		h.want("its end", name(h.commit(5, p).ErrorCode), "TRANSACTIONAL_ID_AUTHORIZATION_FAILED")
		h.want("its producer", name(h.init(5, "tx").ErrorCode), "TRANSACTIONAL_ID_AUTHORIZATION_FAILED")
		h.deps.Authorizer = no(route.Read, route.Group, "g")
		offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
		offsets.TransactionalID, offsets.Group = "tx", "g"
		h.want("offsets of others", name(put[*kmsg.AddOffsetsToTxnResponse](h, 4, offsets).ErrorCode), "GROUP_AUTHORIZATION_FAILED")
	})
}

// TestBrokersAddAndVerify: versions 4 and 5 carry several transactions, each with its own answers.
func TestBrokersAddAndVerify(t *testing.T) {
	inHouse(t, func(h *house) {
		p := h.init(5, "tx")
		ask := func(version int16, verify bool, partitions ...int32) string {
			req := kmsg.NewPtrAddPartitionsToTxnRequest()
			for _, id := range []string{"tx", "nobody"} {
				x := kmsg.NewAddPartitionsToTxnRequestTransaction()
				x.TransactionalID, x.ProducerID, x.ProducerEpoch, x.VerifyOnly = id, p.ProducerID, p.ProducerEpoch, verify
				x.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: partitions}}
				req.Transactions = append(req.Transactions, x)
			}
			resp := put[*kmsg.AddPartitionsToTxnResponse](h, version, req)
			if resp.ErrorCode != 0 {
				return name(resp.ErrorCode)
			}
			var codes []string
			for _, x := range resp.Transactions {
				for _, p := range x.Topics[0].Partitions {
					codes = append(codes, name(p.ErrorCode))
				}
			}
			return strings.Join(codes, " ")
		}
		h.want("verify", ask(4, true, 0), "TRANSACTION_ABORTABLE INVALID_PRODUCER_ID_MAPPING")
		h.want("add", ask(5, false, 0), "ok INVALID_PRODUCER_ID_MAPPING")
		h.want("verify", ask(4, true, 0, 1), "ok TRANSACTION_ABORTABLE INVALID_PRODUCER_ID_MAPPING INVALID_PRODUCER_ID_MAPPING")
		for _, verify := range []bool{false, true} {
			h.want("a partition that is not there", ask(4, verify, 0, 2), "OPERATION_NOT_ATTEMPTED UNKNOWN_TOPIC_OR_PARTITION OPERATION_NOT_ATTEMPTED UNKNOWN_TOPIC_OR_PARTITION")
		}
		h.deps.Authorizer = no(route.ClusterAction, route.Cluster, route.ClusterName)
		h.want("a client", ask(5, false, 0), "CLUSTER_AUTHORIZATION_FAILED")
	})
}

func TestListTransactions(t *testing.T) {
	inHouse(t, func(h *house) {
		for _, id := range []string{"tz", "tx", "other"} {
			h.init(5, id)
		}
		h.add(3, h.init(5, "tx"), topic("t", 0))
		time.Sleep(2 * time.Second)
		list := func(version int16, change func(*kmsg.ListTransactionsRequest)) string {
			req := kmsg.NewPtrListTransactionsRequest()
			change(req)
			resp := put[*kmsg.ListTransactionsResponse](h, version, req)
			out := slices.Concat(resp.UnknownStateFilters, []string{name(resp.ErrorCode)})
			for _, x := range resp.TransactionStates {
				out = append(out, x.TransactionalID+"="+x.TransactionState)
			}
			return strings.Join(out, " ")
		}
		for _, c := range []struct {
			what, want string
			version    int16
			change     func(*kmsg.ListTransactionsRequest)
		}{
			{"all", "ok other=Empty tx=Ongoing tz=Empty", 0, func(*kmsg.ListTransactionsRequest) {}},
			{"a state", "Wild ok tx=Ongoing", 2, func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Wild", "Ongoing"} }},
			{"states that do not exist", "Wild ok", 2, func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Wild", "Wild"} }},
			{"a producer", "ok tz=Empty", 2, func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{0} }},
			{"long ones", "ok", 2, func(r *kmsg.ListTransactionsRequest) {
				r.StateFilters, r.DurationFilterMillis = []string{"Ongoing"}, 2000
			}},
			{"shorter ones", "ok tx=Ongoing", 1, func(r *kmsg.ListTransactionsRequest) {
				r.StateFilters, r.DurationFilterMillis = []string{"Ongoing"}, 1999
			}},
			{"for ever", "ok", 1, func(r *kmsg.ListTransactionsRequest) {
				r.StateFilters, r.DurationFilterMillis = []string{"Ongoing"}, 1<<63-1
			}},
			{"whole ids", "ok tx=Ongoing tz=Empty", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = new("t.") }},
			{"no expression", "INVALID_REGULAR_EXPRESSION", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = new("t(") }},
			{"too long", "INVALID_REGULAR_EXPRESSION", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = new(strings.Repeat("t", 2000)) }},
		} {
			h.want(c.what, list(c.version, c.change), c.want)
		}
		h.deps.Authorizer = no(route.Describe, route.TransactionalID, "tz")
		h.want("what one may see", list(0, func(*kmsg.ListTransactionsRequest) {}), "ok other=Empty tx=Ongoing")
		h.runtime.Unload(0, -1)
		h.runtime.Unload(1, -1)
		h.want("those of other brokers", list(0, func(*kmsg.ListTransactionsRequest) {}), "ok")
		h.runtime.Load(1, 9, stuck{})
		h.want("while loading", list(0, func(*kmsg.ListTransactionsRequest) {}), "COORDINATOR_LOAD_IN_PROGRESS")
	})
}

// stuck is a log that cannot be read.
type stuck struct{ sink }

func (stuck) EndOffset() int64 { return 1 }

func (stuck) Read(int64, int) ([]byte, int64, error) { return nil, 0, errors.New("disk") }

func TestDescribeTransactionsHidesWhatIsNotToBeSeen(t *testing.T) {
	inHouse(t, func(h *house) {
		h.add(3, h.init(5, "tx"), topic("t", 0))
		describe := func(ids ...string) string {
			req := kmsg.NewPtrDescribeTransactionsRequest()
			req.TransactionalIDs = ids
			var out []string
			for _, x := range put[*kmsg.DescribeTransactionsResponse](h, 0, req).TransactionStates {
				out = append(out, fmt.Sprint(x.TransactionalID, "=", name(x.ErrorCode), len(x.Topics), x.ProducerID))
			}
			return strings.Join(out, " ")
		}
		h.want("all", describe("tx", "nobody", ""), "tx=ok1 0 nobody=TRANSACTIONAL_ID_NOT_FOUND0 0 =INVALID_REQUEST0 0")
		h.deps.Authorizer = no(route.Describe, route.Topic, "t")
		h.want("a topic", describe("tx"), "tx=ok0 0")
		h.deps.Authorizer = no(route.Describe, route.TransactionalID, "tx")
		h.want("an id", describe("tx"), "tx=TRANSACTIONAL_ID_AUTHORIZATION_FAILED0 0")
	})
}

// TestNoProducerIDToGive: a coordinator that needs one and gets none says why.
func TestNoProducerIDToGive(t *testing.T) {
	inHouse(t, func(h *house) {
		a := newAllocator()
		a.fail = kerr.NotController
		h.deps.ProducerIDs = txn.NewProducerIDs(1, a.propose)
		h.want("init", name(h.init(5, "tx").ErrorCode), "NOT_CONTROLLER")
		a.fail = nil
		h.want("init", name(h.init(5, "tx").ErrorCode), "ok")
	})
}
