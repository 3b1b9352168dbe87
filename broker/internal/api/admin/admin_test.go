package admin_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/quota"
	"github.com/weirstream/weir/internal/config"
)

// cluster is a controller without raft: a proposal is applied at once.
type cluster struct {
	admin.Deps
	t testing.TB

	mu        sync.Mutex
	img       *metadata.Image
	proposals int
	refuse    error // of the next proposals
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, img: metadata.Empty()}
	topicKeys, err := config.NewSet(
		config.Key{Name: "cleanup.policy", Type: config.List, Default: "delete", OneOf: []string{"delete", "compact"}, Synonyms: []string{"log.cleanup.policy"}, Doc: "What happens to old records."},
		config.Key{Name: "compression.type", Type: config.String, Default: "producer", Ignored: "records stay as they are"},
		config.Key{Name: "retention.ms", Type: config.Long, Default: "604800000", Min: new(int64(-1)), Synonyms: []string{"log.retention.ms", "log.retention.hours"}},
		config.Key{Name: "segment.bytes", Type: config.Int, Default: "1073741824", Synonyms: []string{"log.segment.bytes"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	brokerKeys, err := config.NewSet(
		config.Key{Name: "node.id", Type: config.Int, Default: "1"},
		config.Key{Name: "auto.create.topics.enable", Type: config.Bool, Default: "true"},
		config.Key{Name: "delete.topic.enable", Type: config.Bool, Default: "true"},
		config.Key{Name: "num.partitions", Type: config.Int, Default: "2"},
		config.Key{Name: "default.replication.factor", Type: config.Int, Default: "1"},
		config.Key{Name: "max.request.partition.size.limit", Type: config.Int, Default: "5"},
		config.Key{Name: "offsets.topic.num.partitions", Type: config.Int, Default: "50"},
		config.Key{Name: "offsets.topic.replication.factor", Type: config.Short, Default: "3"},
		config.Key{Name: "offsets.topic.segment.bytes", Type: config.Int, Default: "104857600"},
		config.Key{Name: "log.retention.ms", Type: config.Long, NoDefault: true, Dynamic: true},
		config.Key{Name: "log.retention.hours", Type: config.Int, Default: "168"},
		config.Key{Name: "log.cleanup.policy", Type: config.List, Default: "delete", OneOf: []string{"delete", "compact"}, Dynamic: true},
		config.Key{Name: "log.segment.bytes", Type: config.Int, Default: "1073741824", Dynamic: true},
		config.Key{Name: "ssl.key.password", Type: config.Password, NoDefault: true},
	)
	if err != nil {
		t.Fatal(err)
	}
	c.Deps = admin.Deps{
		NodeID: 1, Image: c.image, Propose: c.propose, TopicKeys: topicKeys, BrokerKeys: brokerKeys,
		Static:     map[string]string{"node.id": "1", "ssl.key.password": "secret"},
		Authorizer: auth.AllowAll{}, Quota: quota.Unlimited{}, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler),
		LogDirs: func() []admin.LogDir { return nil },
	}
	c.register(1)
	return c
}

func (c *cluster) image() *metadata.Image {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.img
}

func (c *cluster) propose(_ context.Context, cmd metadata.Command) (metadata.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return metadata.Result{}, c.refuse
	}
	c.proposals++
	var r metadata.Result
	c.img, r = metadata.ApplyCommand(c.img, c.img.Version()+1, cmd)
	return r, nil
}

func (c *cluster) register(id int32) {
	c.must(metadata.RegisterBroker{ClusterID: "cluster", Broker: metadata.Broker{ID: id, Rack: map[int32]string{2: "r2"}[id], Endpoints: []metadata.Endpoint{
		{Listener: "PLAINTEXT", Protocol: "PLAINTEXT", Host: "inside", Port: 9000 + id}, {Listener: "PUBLIC", Protocol: "PLAINTEXT", Host: "outside", Port: 19000 + id},
	}}})
}

func (c *cluster) must(cmd metadata.Command) {
	c.t.Helper()
	r, err := c.propose(c.t.Context(), cmd)
	if err := errors.Join(append(r.Items, err, r.Err)...); err != nil {
		c.t.Fatal(err)
	}
}

// topic creates a topic with one replica a partition.
func (c *cluster) topic(name string, partitions int) *metadata.Topic {
	c.t.Helper()
	n := metadata.NewTopic{Name: name, Internal: metadata.IsInternal(name)}
	copy(n.ID[:], "id-"+name)
	for range partitions {
		n.Assignments = append(n.Assignments, []int32{1})
	}
	c.must(metadata.CreateTopics{Topics: []metadata.NewTopic{n}})
	t, _ := c.image().Topic(name)
	return t
}

func (c *cluster) configure(resource metadata.Resource, key, value string) {
	c.t.Helper()
	c.must(metadata.SetConfigs{Changes: []metadata.ConfigChange{{Resource: resource, Ops: []metadata.ConfigOp{{Key: key, Value: value}}}}})
}

// ask sends a request through a route, as the server would, and waits.
func ask[Resp kmsg.Response](t testing.TB, r route.Route, s *route.Session, req kmsg.Request) Resp {
	t.Helper()
	answer, pending, err := r.Start(t.Context(), s, req.GetVersion(), req.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	if pending != nil {
		done := make(waiter)
		pending.Wait(done)
		<-done
		if err := pending.Err(); err != nil {
			t.Fatal(err)
		}
	}
	out, ok := route.Kmsg(answer)
	if !ok {
		t.Fatalf("%T is no answer of kmsg's", answer)
	}
	resp, ok := out.(Resp)
	if !ok {
		t.Fatalf("answer is %T", out)
	}
	// What was filled must also be readable again at its version.
	again := req.ResponseKind()
	if err := again.ReadFrom(resp.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	return resp
}

type waiter chan struct{}

func (w waiter) Ready() { close(w) }

func client() *route.Session {
	return &route.Session{Principal: auth.Anonymous, Listener: "PLAINTEXT"}
}

// noTags leaves the unknown tags of kmsg's structs out of a comparison.
func noTags() cmp.Option { return cmpopts.IgnoreTypes(kmsg.Tags{}) }

// code is the name of an error code, "" for none.
func code(c int16) string {
	if c == 0 {
		return ""
	}
	return kerr.TypedErrorForCode(c).Message
}

// denied refuses what the function names and allows the rest.
type denied func(op route.Operation, t route.ResourceType, name string) bool

func (d denied) Authorize(_ *route.Session, op route.Operation, t route.ResourceType, name string) bool {
	return !d(op, t, name)
}

// secret hides one topic from everybody, and what the cluster allows.
func secret(name string) denied {
	return func(_ route.Operation, t route.ResourceType, n string) bool { return t == route.Cluster || n == name }
}

func TestVersionsAreThoseOfKafka431(t *testing.T) {
	d := newCluster(t).Deps
	for name, c := range map[string]struct {
		r        route.Route
		min, max int16
	}{
		"Metadata":                {admin.Metadata(d), 0, 13},
		"CreateTopics":            {admin.CreateTopics(d), 2, 7},
		"DeleteTopics":            {admin.DeleteTopics(d), 1, 6},
		"CreatePartitions":        {admin.CreatePartitions(d), 0, 3},
		"DescribeConfigs":         {admin.DescribeConfigs(d), 1, 4},
		"AlterConfigs":            {admin.AlterConfigs(d), 0, 2},
		"IncrementalAlterConfigs": {admin.IncrementalAlterConfigs(d), 0, 1},
		"DescribeCluster":         {admin.DescribeCluster(d), 0, 2},
		"DescribeTopicPartitions": {admin.DescribeTopicPartitions(d), 0, 0},
		"DescribeLogDirs":         {admin.DescribeLogDirs(d), 1, 5},
		"UpdateFeatures":          {admin.UpdateFeatures(d), 0, 2},
	} {
		if c.r.Name != name || c.r.Min != c.min || c.r.Max != c.max {
			t.Errorf("%s: %s %d-%d", name, c.r.Name, c.r.Min, c.r.Max)
		}
	}
}
