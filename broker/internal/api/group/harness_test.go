package group

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// log is a log in memory that commits at once.
type log struct {
	mu      sync.Mutex
	batches []record.Batch
	next    int64
	hold    chan struct{} // if not nil, reads wait for it
}

func (l *log) Append(batches []byte, done func(error)) {
	l.mu.Lock()
	for rest := batches; len(rest) > 0; {
		var b record.Batch
		b, rest, _ = record.Split(rest)
		b.SetBaseOffset(l.next)
		l.next = b.NextOffset()
		l.batches = append(l.batches, b)
	}
	l.mu.Unlock()
	done(nil)
}

func (l *log) Check(record.Batch, bool) error { return nil }

func (l *log) Read(from int64, _ int) ([]byte, int64, error) {
	if l.hold != nil {
		<-l.hold
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if b.NextOffset() > from {
			return bytes.Clone(b), b.NextOffset(), nil
		}
	}
	return nil, from, nil
}

func (l *log) StartOffset() int64 { return 0 }

func (l *log) EndOffset() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// deny is an Authorizer that refuses what stands in it, as "operation type name".
type deny map[denied]bool

type denied struct {
	op   route.Operation
	kind route.ResourceType
	name string
}

func (d deny) Authorize(_ *route.Session, op route.Operation, t route.ResourceType, name string) bool {
	return !d[denied{op, t, name}]
}

// cluster is a broker's group half: a runtime with two partitions and an image.
type cluster struct {
	*testing.T
	runtime *coordinator.Runtime
	logs    []*log
	image   *metadata.Image
	deny    deny
	random  io.Reader
	topics  topics
	session route.Session
	asked   []*group.JoinTransaction
	join    error // what coordinators of transactions answer
}

// Send answers as the coordinator of a transaction.
func (c *cluster) Send(s machine.Send, done func(any, error)) {
	ask, ok := s.Request.(*group.JoinTransaction)
	if !ok {
		c.Errorf("%T sent", s.Request)
		return
	}
	c.asked = append(c.asked, ask)
	done(nil, c.join)
}

type topics func(ctx context.Context, name string) error

func (f topics) EnsureTopic(ctx context.Context, name string) error { return f(ctx, name) }

// inCluster runs a test in a bubble. The image has broker 1, __consumer_offsets, and topic t with two
// partitions.
func inCluster(t *testing.T, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := group.DefaultOptions()
		o.InitialDelay = 0
		c := &cluster{
			T: t, deny: deny{}, random: rand.Reader, logs: []*log{{}, {}},
			session: route.Session{Listener: "PLAINTEXT", ClientAddr: "10.0.0.1", ClientID: "client"},
		}
		c.runtime = coordinator.New(coordinator.Options{
			Env: env.Env{Clock: env.Real().Clock}, Logger: slog.New(slog.DiscardHandler), Partitions: 2,
			Machine: func(int32, int32) machine.Machine { return group.New(o) }, Sender: c,
		})
		c.image = metadata.Empty()
		c.apply(metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{
			ID: 1, Endpoints: []metadata.Endpoint{{Listener: "PLAINTEXT", Host: "here", Port: 9092}},
		}})
		c.create("t", metadata.ID{15: 7})
		c.create(metadata.ConsumerOffsets, metadata.ID{15: 8})
		c.topics = func(context.Context, string) error { c.Error("topic created"); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.runtime.Run(ctx) }()
		test(c)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (c *cluster) apply(command metadata.Command) {
	c.Helper()
	image, r := metadata.ApplyCommand(c.image, c.image.Version()+1, command)
	if r.Err != nil {
		c.Fatal(r.Err)
	}
	for _, err := range r.Items {
		if err != nil {
			c.Fatal(err)
		}
	}
	c.image = image
}

func (c *cluster) create(name string, id metadata.ID) {
	c.Helper()
	c.apply(metadata.CreateTopics{Topics: []metadata.NewTopic{{Name: name, ID: id, Assignments: [][]int32{{1}, {1}}}}})
}

func (c *cluster) load() {
	for i, l := range c.logs {
		c.runtime.Load(int32(i), 1, l)
	}
	synctest.Wait()
}

func (c *cluster) routes() map[int16]route.Route {
	images := func() *metadata.Image { return c.image }
	r := map[int16]route.Route{}
	for _, one := range []route.Route{
		FindCoordinator(c.runtime, func(id string) int32 { return int32(2 * len(id)) }, images, c.topics, c.deny, slog.New(slog.DiscardHandler)),
		JoinGroup(c.runtime, c.deny, c.random), SyncGroup(c.runtime, c.deny), Heartbeat(c.runtime, c.deny),
		LeaveGroup(c.runtime, c.deny), OffsetCommit(c.runtime, images, c.deny), OffsetFetch(c.runtime, images, c.deny),
		OffsetDelete(c.runtime, images, c.deny), DescribeGroups(c.runtime, c.deny), ListGroups(c.runtime, c.deny),
		DeleteGroups(c.runtime, c.deny), TxnOffsetCommit(c.runtime, images, c.deny),
	} {
		r[one.Key] = one
	}
	return r
}

// flight is a request under way.
type flight struct {
	response kmsg.Response
	pending  *route.Pending
	ready    chan struct{}
}

func (f *flight) Ready() { close(f.ready) }

// start sends a request as its bytes.
func (c *cluster) start(req kmsg.Request) *flight {
	c.Helper()
	session := c.session
	response, pending, err := c.routes()[req.Key()].Start(c.Context(), &session, req.GetVersion(), req.AppendTo(nil))
	if err != nil {
		c.Fatal(err)
	}
	f := &flight{pending: pending, ready: make(chan struct{})}
	f.response, _ = route.Kmsg(response)
	if pending == nil {
		close(f.ready)
	} else {
		pending.Wait(f)
	}
	return f
}

// await returns the answer as a client reads it.
func (c *cluster) await(f *flight) kmsg.Response {
	c.Helper()
	select {
	case <-f.ready:
	case <-time.After(time.Minute):
		c.Fatalf("no answer: %T", f.response)
	}
	out := kmsg.ResponseForKey(f.response.Key())
	out.SetVersion(f.response.GetVersion())
	if err := out.ReadFrom(f.response.AppendTo(nil)); err != nil {
		c.Fatal(err)
	}
	return out
}

func ask[Resp kmsg.Response](c *cluster, req kmsg.Request) Resp {
	c.Helper()
	resp, ok := c.await(c.start(req)).(Resp)
	if !ok {
		c.Fatalf("answer is a %T", resp)
	}
	return resp
}

// at sets the version of a request.
func at[Req kmsg.Request](req Req, version int16) Req {
	req.SetVersion(version)
	return req
}

// Requests about group g and topic t.

func joinRequest(version int16, member string) *kmsg.JoinGroupRequest {
	r := at(kmsg.NewPtrJoinGroupRequest(), version)
	r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = "g", member, "consumer", 10_000, 10_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 1, 0, 1, 't'}
	r.Protocols = append(r.Protocols, p)
	return r
}

func commitRequest(version int16, member string, generation int32, offset int64, partitions ...int32) *kmsg.OffsetCommitRequest {
	r := at(kmsg.NewPtrOffsetCommitRequest(), version)
	r.Group, r.MemberID, r.Generation = "g", member, generation
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = "t", [16]byte{15: 7}
	for _, n := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = n, offset, new("meta")
		topic.Partitions = append(topic.Partitions, p)
	}
	r.Topics = append(r.Topics, topic)
	return r
}

func fetchRequest(version int16, partitions ...int32) *kmsg.OffsetFetchRequest {
	r := at(kmsg.NewPtrOffsetFetchRequest(), version)
	if version < 8 {
		r.Group = "g"
		topic := kmsg.NewOffsetFetchRequestTopic()
		topic.Topic, topic.Partitions = "t", partitions
		r.Topics = append(r.Topics, topic)
		return r
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "g"
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.TopicID, topic.Partitions = "t", [16]byte{15: 7}, partitions
	g.Topics = append(g.Topics, topic)
	r.Groups = append(r.Groups, g)
	return r
}

// member joins group g alone and returns its id and generation.
func (c *cluster) member() (id string, generation int32) {
	c.Helper()
	j := ask[*kmsg.JoinGroupResponse](c, joinRequest(3, ""))
	s := kmsg.NewPtrSyncGroupRequest()
	s.Group, s.MemberID, s.Generation = "g", j.MemberID, j.Generation
	if r := ask[*kmsg.SyncGroupResponse](c, s); j.ErrorCode != 0 || r.ErrorCode != 0 {
		c.Fatalf("join %d, sync %d", j.ErrorCode, r.ErrorCode)
	}
	return j.MemberID, j.Generation
}
