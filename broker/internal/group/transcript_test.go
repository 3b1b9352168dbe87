package group

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/machinetest"
)

// TestTranscripts plays the conversations of testdata/transcripts. Each file tells what it shows.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		h := newHost(t, DefaultOptions())
		h.decide(machine.Input{Event: machine.Loaded{}})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h.T = t
			h.Out.Reset()
			h.run(args{machinetest.Args{T: t, D: d}, h})
			return h.Out.String()
		})
	})
}

func (h *host) run(a args) {
	switch who := a.who(); a.D.Cmd {
	case "options":
		h.configure(a)
	case "join":
		h.random++
		h.do(who, a.join(h.random))
	case "sync":
		h.do(who, a.sync())
	case "heartbeat":
		h.do(who, &Heartbeat{Group: a.group(), MemberID: a.member(), InstanceID: a.pointer("static"), Generation: int32(a.Int("generation", 1))})
	case "leave":
		h.do(who, a.leave())
	case "commit":
		h.do(who, a.commit())
	case "fetch":
		f := &FetchOffsets{Group: a.group(), All: a.Has("all"), RequireStable: a.Has("stable"), Topics: a.partitions()}
		if a.Has("decided") {
			h.do("offsets", f)
			return
		}
		v, err := h.m.Query(f)
		fmt.Fprintf(&h.Out, "committed: %s\n", h.show("", machine.Reply{Value: v, Err: err}))
	case "delete-offsets":
		h.do(who, &DeleteOffsets{Group: a.group(), Topics: a.partitions()})
	case "topic-deleted":
		gone := a.partitions()[0]
		h.decide(machine.Input{Event: &TopicsDeleted{Topics: []DeletedTopic{{Name: gone.Topic, ID: gone.TopicID}}}})
	case "describe":
		h.do("group", &Describe{Group: a.group()})
	case "list":
		h.do("groups", &List{States: a.Strings("states"), Types: a.Strings("types")})
	case "delete-group":
		h.do("group", &DeleteGroup{Group: a.group()})
	case "transaction":
		h.transaction(a)
	case "txn-commit":
		h.do(who, a.txnCommit())
	case "coordinator":
		h.coordinator(a)
	case "advance":
		h.Advance(a.Span())
	case "slow-commits":
		h.slow = true
	case "commit-log":
		h.m.Commit(h.pending)
		h.slow, h.pending = false, 0
	case "reload":
		h.reload()
	case "log":
		h.showLog()
	case "timers":
		for key, at := range h.Timers {
			if key.Kind == timerGroup {
				fmt.Fprintf(&h.Out, "timer of %s in %s\n", key.ID, at.Sub(h.Now))
			}
		}
	default:
		a.D.Fatalf(h.T, "no such directive")
	}
}

func (h *host) configure(a args) {
	o := &h.m.options
	o.MaxSize = a.Int("max-size", o.MaxSize)
	o.InitialDelay = a.Duration("initial-delay", o.InitialDelay)
	o.MaxRecordBytes = a.Int("max-record", o.MaxRecordBytes)
	o.MaxCommitBytes = a.Int("max-commit", o.MaxCommitBytes)
	o.MaxPromisedMembers = a.Int("max-promised", o.MaxPromisedMembers)
	o.OffsetsRetention = a.Duration("retention", o.OffsetsRetention)
}

func (a args) join(random int) *Join {
	e := &Join{
		Version: int16(a.Int("version", 9)), Group: a.group(), MemberID: a.member(), InstanceID: a.pointer("static"),
		ClientID: a.who(), ClientHost: "/127.0.0.1", Random: fmt.Sprint(random),
		SessionTimeout: a.Duration("session", 10*time.Second), RebalanceTimeout: a.Duration("rebalance", time.Minute),
		ProtocolType: a.String("type", "consumer"),
	}
	names := a.Strings("protocols")
	if names == nil {
		names = []string{"range"}
	}
	for _, name := range names {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, []byte(a.String("metadata", ""))
		if topics := a.Strings("topics"); topics != nil {
			p.Metadata = subscription(topics...)
		}
		if name != "none" {
			e.Protocols = append(e.Protocols, p)
		}
	}
	return e
}

func (a args) sync() *Sync {
	e := &Sync{
		Group: a.group(), MemberID: a.member(), InstanceID: a.pointer("static"), Generation: int32(a.Int("generation", 1)),
		ProtocolType: a.pointer("type"), Protocol: a.pointer("protocol"),
	}
	for _, s := range a.Strings("assign") {
		who, assignment, _ := strings.Cut(s, ":")
		r := kmsg.NewSyncGroupRequestGroupAssignment()
		r.MemberID, r.MemberAssignment = a.h.ids[who], []byte(assignment)
		e.Assignments = append(e.Assignments, r)
	}
	return e
}

func (a args) leave() *Leave {
	e := &Leave{Group: a.group()}
	for _, who := range a.Strings("members") {
		e.Members = append(e.Members, LeavingMember{MemberID: a.h.ids[who]})
	}
	for _, instance := range a.Strings("instances") {
		e.Members = append(e.Members, LeavingMember{InstanceID: &instance})
	}
	if e.Members == nil {
		e.Members = []LeavingMember{{MemberID: a.member(), InstanceID: a.pointer("static")}}
	}
	return e
}

func (a args) commit() *CommitOffsets {
	e := &CommitOffsets{
		Version: int16(a.Int("version", 9)), Group: a.group(), MemberID: a.member(), InstanceID: a.pointer("static"),
		Generation: int32(a.Int("generation", -1)), Retention: a.Duration("retention", -1),
	}
	for _, w := range a.partitions() {
		for _, p := range w.Partitions {
			e.Offsets = append(e.Offsets, CommitOffset{
				Topic: w.Topic, TopicID: w.TopicID, Partition: p, Offset: int64(a.Int("offset", 0)),
				LeaderEpoch: int32(a.Int("epoch", -1)), Metadata: strings.Repeat("m", a.Int("metadata", 0)),
			})
		}
	}
	return e
}

// txnCommit is a commit in a transaction of the client that is named.
func (a args) txnCommit() *CommitInTransaction {
	c := a.commit()
	return &CommitInTransaction{
		TransactionalID: a.String("txn", "tx"), ProducerID: int64(a.Int("producer", 1)), ProducerEpoch: int16(a.Int("pepoch", 0)),
		Add: a.Has("add"), Group: c.Group, MemberID: c.MemberID, InstanceID: c.InstanceID, Generation: c.Generation, Offsets: c.Offsets,
	}
}

// coordinator gives the oldest question to a transaction's coordinator an answer.
func (h *host) coordinator(a args) {
	send := h.Sends[0]
	h.Sends = h.Sends[1:]
	h.decide(machine.Input{Event: machine.Answered{Send: send, Err: map[string]error{
		"yes": nil, "not-part": kerr.TransactionAbortable, "fenced": kerr.ProducerFenced, "loading": kerr.NotCoordinator,
		"concurrent": kerr.ConcurrentTransactions, "mapping": kerr.InvalidProducerIDMapping,
	}[a.who()]}})
}

// transaction writes an offset into the open transaction of a producer, or ends that.
func (h *host) transaction(a args) {
	id := int64(a.Int("producer", 1))
	if a.Has("commit") || a.Has("abort") {
		m := machine.Marker{ProducerID: id, ProducerEpoch: int16(a.Int("pepoch", 0)), Commit: a.Has("commit"), Bumped: a.Has("bumped")}
		h.m.ReplayMarker(m)
		h.Log = append(h.Log, machine.Record{Txn: &machine.Txn{ProducerID: id, ProducerEpoch: m.ProducerEpoch}, Value: []byte{byte(len(h.Log))}})
		h.markers[len(h.Log)-1] = m
		if h.pending++; !h.slow {
			h.m.Commit(1)
			h.pending--
		}
		return
	}
	w := a.partitions()[0]
	o := &Offset{Offset: int64(a.Int("offset", 0)), LeaderEpoch: -1, ExpireTime: -1, CommitTime: h.Now.UnixMilli()}
	r := machine.Record{
		Key: encodeOffsetKey(offsetKey{a.group(), w.Topic, w.Partitions[0]}), Value: encodeOffset(o),
		Txn: &machine.Txn{ProducerID: id},
	}
	if err := h.m.Replay(r); err != nil {
		h.T.Fatal(err)
	}
	h.Log = append(h.Log, r)
	h.m.Commit(1)
}
