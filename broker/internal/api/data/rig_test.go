package data

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/quota"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/txn"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

// rig is a broker of this package's handlers over a disk of choice.
type rig struct {
	testing.TB
	env   env.Env
	dir   *commitlog.Dir
	deps  Deps
	table []route.Route

	mu    sync.Mutex
	image *metadata.Image
	parts map[metadata.TopicPartition]*partition.Partition
	may   route.Authorizer
	wait  commitlog.Durability
	ids   int32
	txns  transactions
}

// transactions is a coordinator that answers when a test says so.
type transactions struct {
	mu     sync.Mutex
	events []*txn.AddPartitions
	dones  []func([]error, error)

	markers []*txn.WriteMarkers
	mark    func(tp txn.TopicPartition) error // the outcome of a marker
}

// WriteMarkers keeps what is to be written, and answers.
func (t *transactions) WriteMarkers(w *txn.WriteMarkers, done func([]error)) {
	t.markers = append(t.markers, w)
	errs := make([]error, len(w.Partitions))
	for i, tp := range w.Partitions {
		errs[i] = t.mark(tp)
	}
	done(errs)
}

// AddPartitions keeps the question.
func (t *transactions) AddPartitions(e *txn.AddPartitions, done func([]error, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events, t.dones = append(t.events, e), append(t.dones, done)
}

// answer answers the oldest question: with the errors, one for each partition, or with err.
func (t *transactions) answer(tb testing.TB, err error, errs ...error) *txn.AddPartitions {
	tb.Helper()
	t.mu.Lock()
	if len(t.events) == 0 {
		t.mu.Unlock()
		tb.Fatal("the coordinator was not asked")
	}
	e, done := t.events[0], t.dones[0]
	t.events, t.dones = t.events[1:], t.dones[1:]
	t.mu.Unlock()
	done(errs, err)
	return e
}

func newRig(t testing.TB, fs env.FS, path string) *rig {
	t.Helper()
	r := &rig{TB: t, env: env.Real(), parts: map[metadata.TopicPartition]*partition.Partition{}, may: auth.AllowAll{}, wait: commitlog.PageCache}
	r.env.FS = fs
	var err error
	if r.dir, err = commitlog.OpenDir(r.env, path, commitlog.DirOptions{NodeID: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.dir.Run(ctx) }()
	t.Cleanup(func() {
		for _, p := range r.parts {
			p.Close(kerr.NotLeaderForPartition)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r.image, _ = metadata.ApplyCommand(metadata.Empty(), 1, metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{
		ID: 1, Rack: "r", Endpoints: []metadata.Endpoint{{Listener: "PLAINTEXT", Host: "broker", Port: 9092}},
	}})
	r.image, _ = metadata.ApplyCommand(r.image, 5, metadata.NewFeatures())
	r.deps = Deps{
		Image: r.imageNow, Partitions: r, Transactions: &r.txns, Authorizer: r, Quota: quota.Unlimited{}, Clock: r.env.Clock,
		Logger: slog.New(slog.DiscardHandler), Random: func() int32 { r.ids++; return r.ids },
	}
	r.table = []route.Route{
		Produce(r.deps), Fetch(r.deps), ListOffsets(r.deps), DeleteRecords(r.deps), OffsetForLeaderEpoch(r.deps),
		WriteTxnMarkers(r.deps), DescribeProducers(r.deps),
		APIVersions(func() []route.Route { return r.table }, r.imageNow),
	}
	return r
}

func (r *rig) imageNow() *metadata.Image {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.image
}

func (r *rig) Authorize(s *route.Session, op route.Operation, t route.ResourceType, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.may.Authorize(s, op, t, name)
}

// Partition finds a partition as the broker's replicas would.
func (r *rig) Partition(topic string, index int32) (*partition.Partition, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.parts[metadata.TopicPartition{Topic: topic, Partition: index}]; p != nil {
		return p, nil
	}
	return nil, kerr.NotLeaderForPartition
}

// topic makes a topic of n partitions and leads them in epoch 3.
func (r *rig) topic(name string, n int, change ...func(*partition.Options)) [16]byte {
	r.Helper()
	id := metadata.ID{byte(len(r.parts) + 1), byte(len(name))}
	t := metadata.NewTopic{Name: name, ID: id, Internal: name[0] == '_', Assignments: make([][]int32, n)}
	for i := range n {
		t.Assignments[i] = []int32{1}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	img, res := metadata.ApplyCommand(r.image, r.image.Version()+1, metadata.CreateTopics{Topics: []metadata.NewTopic{t}})
	if res.Err != nil {
		r.Fatal(res.Err)
	}
	r.image = img
	for i := range int32(n) {
		o := partition.Options{
			Topic: name, Index: i, TopicID: id, Producers: producer.New(), Env: r.env, Logger: slog.New(slog.DiscardHandler),
			Config: partition.Config{Delete: true, MaxMessageBytes: 8 << 20, Durability: r.wait},
		}
		for _, f := range change {
			f(&o)
		}
		var err error
		c := commitlog.Config{SegmentBytes: 1 << 30, IndexIntervalBytes: 4096, Durability: o.Config.Durability, Delete: true}
		if o.Log, err = r.dir.Open(name, i, id, c, o.Producers); err != nil {
			r.Fatal(err)
		}
		p := partition.New(o)
		p.Lead(3)
		r.parts[metadata.TopicPartition{Topic: name, Partition: i}] = p
	}
	return id
}

// remove deletes a topic.
func (r *rig) remove(name string, id [16]byte) {
	r.mu.Lock()
	r.image, _ = metadata.ApplyCommand(r.image, r.image.Version()+1, metadata.DeleteTopics{IDs: []metadata.ID{id}})
	var gone []*partition.Partition
	for k, p := range r.parts {
		if k.Topic == name {
			gone = append(gone, p)
			delete(r.parts, k)
		}
	}
	r.mu.Unlock()
	for _, p := range gone {
		p.Close(kerr.UnknownTopicOrPartition)
	}
}

// call is a request under way.
type call struct {
	r       *rig
	version int16
	resp    route.Response
	pending *route.Pending
	ready   chan struct{}
	err     error
}

// Ready is told when the answer may be written.
func (c *call) Ready() { close(c.ready) }

// start starts a request.
func (r *rig) start(req kmsg.Request) *call {
	r.Helper()
	for i := range r.table {
		if rt := &r.table[i]; rt.Key == req.Key() {
			return r.startBytes(rt, req.GetVersion(), req.AppendTo(nil))
		}
	}
	r.Fatalf("no route for %T", req)
	return nil
}

func (r *rig) startBytes(rt *route.Route, version int16, body []byte) *call {
	c := &call{r: r, version: version, ready: make(chan struct{})}
	s := &route.Session{Listener: "PLAINTEXT", Principal: auth.Anonymous, Client: new(auth.Client)}
	c.resp, c.pending, c.err = rt.Start(context.Background(), s, version, body)
	if c.pending == nil {
		close(c.ready)
	} else {
		c.pending.Wait(c)
	}
	return c
}

// done says whether the answer is ready.
func (c *call) done() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// body waits for the answer and returns it.
func (c *call) body() []byte {
	c.r.Helper()
	if c.err != nil {
		c.r.Fatal(c.err)
	}
	<-c.ready
	client, server := net.Pipe()
	got := make(chan []byte, 1)
	go func() { b, _ := io.ReadAll(client); got <- b }()
	written := c.writeTo(server)
	_ = server.Close()
	if all := <-got; written {
		return all[8:]
	}
	return nil
}

// ask starts a request and reads its answer into resp.
func ask[Resp kmsg.Response](r *rig, req kmsg.Request) Resp {
	r.Helper()
	return answer[Resp](r, r.start(req))
}

func answer[Resp kmsg.Response](r *rig, c *call) Resp {
	r.Helper()
	var none Resp
	req := kmsg.RequestForKey(none.Key())
	req.SetVersion(c.version)
	resp, ok := req.ResponseKind().(Resp)
	if !ok {
		r.Fatalf("no %T", none)
	}
	body := c.body()
	if err := resp.ReadFrom(body); err != nil {
		r.Fatalf("version %d: %v in %x", c.version, err, body)
	}
	if again := resp.AppendTo(nil); string(again) != string(body) {
		r.Fatalf("version %d: the answer is\n%x, kmsg writes it as\n%x", c.version, body, again)
	}
	return resp
}

// batch is one of n records of size bytes.
func batch(n, size int, o ...record.Options) []byte {
	var options record.Options
	if len(o) > 0 {
		options = o[0]
	}
	b := record.NewBuilder(options)
	for i := range n {
		value := make([]byte, size)
		if size >= 4 {
			binary.BigEndian.PutUint32(value, uint32(i))
		}
		b.Append(time.Now().UnixMilli(), nil, value, nil)
	}
	return b.Build()
}

// produceTo is a Produce request of one batch.
func produceTo(version, acks int16, topic string, id [16]byte, index int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 1000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = index, records
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, id, []kmsg.ProduceRequestTopicPartition{p}
	req.Topics = []kmsg.ProduceRequestTopic{t}
	return req
}

// fetchOf is a Fetch request of some partitions of a topic from an offset on.
func fetchOf(version int16, topic string, id [16]byte, offset int64, indexes ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = version, 0, 1, 64<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	for _, index := range indexes {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = index, offset, 16<<20
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = []kmsg.FetchRequestTopic{t}
	return req
}

// writeTo puts the answer on a connection and reports whether there is one.
func (c *call) writeTo(conn net.Conn) bool {
	c.r.Helper()
	if c.resp == nil {
		return false
	}
	var out wire.Out
	mark := out.Begin(0, false)
	if err := c.resp.Respond(&out); err != nil {
		c.r.Fatal(err)
	}
	out.End(mark)
	if err := wire.NewWriter(conn, c.r.env.Clock, new(wire.Buffers), time.Minute).Write(&out); err != nil {
		c.r.Error(err)
	}
	out.Reset()
	return true
}
