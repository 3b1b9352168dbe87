package admin_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

func named(names ...string) []kmsg.MetadataRequestTopic {
	topics := []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		topics = append(topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	return topics
}

// shownTopics is name and error of each topic of an answer.
func shownTopics(resp *kmsg.MetadataResponse) []string {
	out := []string{}
	for _, t := range resp.Topics {
		name := "?"
		if t.Topic != nil {
			name = *t.Topic
		}
		out = append(out, name+" "+code(t.ErrorCode))
	}
	return out
}

func TestMetadataNamesTopicsAsTheVersionAsks(t *testing.T) {
	c := newCluster(t)
	id := c.topic("a", 2).ID
	c.topic("b", 1)
	c.topic("__consumer_offsets", 1)
	for name, tc := range map[string]struct {
		version int16
		topics  []kmsg.MetadataRequestTopic
		want    []string
	}{
		"v0 empty is all":            {0, named(), []string{"__consumer_offsets ", "a ", "b "}},
		"v1 empty is none":           {1, named(), []string{}},
		"v1 null is all":             {1, nil, []string{"__consumer_offsets ", "a ", "b "}},
		"v13 null is all":            {13, nil, []string{"__consumer_offsets ", "a ", "b "}},
		"names twice answer once":    {9, named("b", "a", "b"), []string{"b ", "a "}},
		"invalid names":              {9, named("", "x y", "."), []string{" INVALID_TOPIC_EXCEPTION", "x y INVALID_TOPIC_EXCEPTION", ". INVALID_TOPIC_EXCEPTION"}},
		"unknown without creation":   {9, named("zz"), []string{"zz UNKNOWN_TOPIC_OR_PARTITION"}},
		"by id":                      {12, []kmsg.MetadataRequestTopic{{TopicID: id}}, []string{"a "}},
		"by unknown id":              {12, []kmsg.MetadataRequestTopic{{TopicID: [16]byte{1}}}, []string{"? UNKNOWN_TOPIC_ID"}},
		"id wins over name":          {12, []kmsg.MetadataRequestTopic{{Topic: new("b"), TopicID: id}}, []string{"a "}},
		"neither id nor name":        {12, []kmsg.MetadataRequestTopic{{}}, []string{"? INVALID_REQUEST"}},
		"v10 has ids only in answer": {10, []kmsg.MetadataRequestTopic{{Topic: new("a"), TopicID: id}}, []string{"a INVALID_REQUEST"}},
		"v10 null name":              {10, []kmsg.MetadataRequestTopic{{}}, []string{" INVALID_REQUEST"}},
	} {
		t.Run(name, func(t *testing.T) {
			resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: tc.version, Topics: tc.topics})
			if diff := cmp.Diff(tc.want, shownTopics(resp)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestMetadataShowsLeadersOfTheListener(t *testing.T) {
	c := newCluster(t)
	c.register(2)
	c.topic("a", 1)
	c.must(metadata.CreateTopics{Topics: []metadata.NewTopic{{Name: "b", ID: metadata.ID{7}, Assignments: [][]int32{{2, 1}}}}})
	for listener, hosts := range map[string][]string{"PLAINTEXT": {"inside", "inside"}, "PUBLIC": {"outside", "outside"}, "": {"inside", "inside"}, "OTHER": nil} {
		resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), &route.Session{Listener: listener}, &kmsg.MetadataRequest{Version: 12})
		var got []string
		for _, b := range resp.Brokers {
			got = append(got, b.Host)
		}
		if !cmp.Equal(hosts, got) {
			t.Errorf("listener %q: %v", listener, got)
		}
		p := resp.Topics[1].Partitions[0]
		want := kmsg.MetadataResponseTopicPartition{Leader: 2, Replicas: []int32{2, 1}, ISR: []int32{2, 1}, OfflineReplicas: []int32{}}
		if listener == "OTHER" {
			want.Leader, want.ErrorCode = -1, kerr.ListenerNotFound.Code
		}
		if diff := cmp.Diff(want, p, noTags()); diff != "" {
			t.Errorf("listener %q: %s", listener, diff)
		}
		if *resp.ClusterID != "cluster" || resp.ControllerID != 1 {
			t.Errorf("cluster %q, controller %d", *resp.ClusterID, resp.ControllerID)
		}
	}
	resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 12})
	if resp.Brokers[0].Rack != nil || *resp.Brokers[1].Rack != "r2" {
		t.Error("racks")
	}
}

func TestMetadataOfAPartitionThatIsOfflineHasNoLeader(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 2)
	c.img = c.img.Offline(map[metadata.TopicPartition]bool{{Topic: "a", Partition: 1}: true})
	resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 12, Topics: named("a")})
	p := resp.Topics[0].Partitions
	if p[0].ErrorCode != 0 || p[0].Leader != 1 || p[1].ErrorCode != kerr.LeaderNotAvailable.Code || p[1].Leader != -1 || !cmp.Equal(p[1].OfflineReplicas, []int32{1}) {
		t.Fatalf("%+v", p)
	}
}

func TestMetadataCreatesAndAnswersAtOnce(t *testing.T) {
	c := newCluster(t)
	resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 13, Topics: named("x", "bad name", "y", "x", "__transaction_state"), AllowAutoTopicCreation: true})
	if diff := cmp.Diff([]string{"x ", "bad name INVALID_TOPIC_EXCEPTION", "y ", "__transaction_state UNKNOWN_TOPIC_OR_PARTITION"}, shownTopics(resp)); diff != "" {
		t.Fatal(diff)
	}
	if got := len(resp.Topics[0].Partitions); got != 2 || resp.Topics[0].Partitions[0].Leader != 1 {
		t.Fatalf("%d partitions: %+v", got, resp.Topics[0].Partitions)
	}
	if c.proposals != 2 {
		t.Fatalf("%d proposals, want one for both topics", c.proposals-1)
	}
	old := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 3, Topics: named("z")})
	if diff := cmp.Diff([]string{"z "}, shownTopics(old)); diff != "" {
		t.Fatalf("before v4 creation is implied: %s", diff)
	}
}

func TestMetadataCreatesNothingWhereItMayNot(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*cluster)
		want    string
	}{
		"switched off": {func(c *cluster) { c.Static["auto.create.topics.enable"] = "false" }, "x UNKNOWN_TOPIC_OR_PARTITION"},
		"not allowed to": {func(c *cluster) {
			c.Authorizer = denied(func(op route.Operation, _ route.ResourceType, _ string) bool { return op == route.Create })
		}, "x UNKNOWN_TOPIC_OR_PARTITION"},
		"not allowed to see": {func(c *cluster) { c.Authorizer = secret("x") }, "x TOPIC_AUTHORIZATION_FAILED"},
		"no controller":      {func(c *cluster) { c.refuse = kerr.NotController }, "x NOT_CONTROLLER"},
		"an unknown error":   {func(c *cluster) { c.refuse = errors.New("boom") }, "x UNKNOWN_SERVER_ERROR"},
		"a colliding name":   {func(c *cluster) { c.topic("a.b", 1) }, "a_b INVALID_TOPIC_EXCEPTION"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			tc.prepare(c)
			asked := "x"
			if name == "a colliding name" {
				asked = "a_b"
			}
			resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 13, Topics: named(asked), AllowAutoTopicCreation: true})
			if diff := cmp.Diff([]string{tc.want}, shownTopics(resp)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestMetadataHidesTopicsThatOneMayNotSee(t *testing.T) {
	c := newCluster(t)
	id := c.topic("hidden", 1).ID
	c.topic("open", 1)
	c.Authorizer = secret("hidden")
	all := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 12})
	if diff := cmp.Diff([]string{"open "}, shownTopics(all)); diff != "" {
		t.Fatal(diff)
	}
	byID := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 12, Topics: []kmsg.MetadataRequestTopic{{TopicID: id}}})
	if diff := cmp.Diff([]string{"? UNKNOWN_TOPIC_ID"}, shownTopics(byID)); diff != "" {
		t.Fatal(diff)
	}
}

func TestAuthorizedOperationsAreThereWhenAskedFor(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1)
	for _, asked := range []bool{false, true} {
		resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 10, IncludeTopicAuthorizedOperations: asked, IncludeClusterAuthorizedOperations: asked})
		topic, cluster := int32(-1<<31), int32(-1<<31)
		if asked {
			topic, cluster = 3576, 8096 // what Kafka 4.3.1 answers without an authorizer
		}
		if resp.Topics[0].AuthorizedOperations != topic || resp.AuthorizedOperations != cluster {
			t.Errorf("asked %v: topic %d, cluster %d", asked, resp.Topics[0].AuthorizedOperations, resp.AuthorizedOperations)
		}
	}
}

func TestEnsureMakesTheOffsetsTopicItsOwnWay(t *testing.T) {
	c := newCluster(t)
	for range 2 {
		if err := c.EnsureTopic(t.Context(), metadata.ConsumerOffsets); err != nil {
			t.Fatal(err)
		}
	}
	topic, _ := c.image().Topic(metadata.ConsumerOffsets)
	want := map[string]string{"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600"}
	if len(topic.Partitions) != 50 || len(topic.Partitions[0].Replicas) != 1 || !topic.Internal || !cmp.Equal(topic.Configs, want) {
		t.Fatalf("%d partitions, internal %v, configs %v", len(topic.Partitions), topic.Internal, topic.Configs)
	}
	if c.proposals != 2 {
		t.Fatalf("%d proposals", c.proposals)
	}
}

func TestEnsureIsContentWithATopicSomebodyElseMade(t *testing.T) {
	c := newCluster(t)
	before := c.image()
	c.topic("x", 1)
	c.Image = func() *metadata.Image { return before } // as it was when the proposal was planned
	if err := c.EnsureTopic(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	c.Rand = errReader{}
	if err := c.EnsureTopic(t.Context(), "y"); err == nil {
		t.Fatal("a topic without an id was created")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

// TestOneRequestCreatesOnlySoMuch: naming topics creates them within the bound of CreateTopics.
func TestOneRequestCreatesOnlySoMuch(t *testing.T) {
	c := newCluster(t)
	var names []string
	for i := range 5003 { // of two partitions each
		names = append(names, fmt.Sprintf("flood-%d", i))
	}
	resp := ask[*kmsg.MetadataResponse](t, admin.Metadata(c.Deps), client(), &kmsg.MetadataRequest{Version: 12, AllowAutoTopicCreation: true, Topics: named(names...)})
	refused := 0
	for _, topic := range resp.Topics {
		if topic.ErrorCode == kerr.PolicyViolation.Code {
			refused++
		}
	}
	if refused != 3 || c.image().PartitionCount() != 10_000 {
		t.Errorf("%d topics were refused, %d partitions were made", refused, c.image().PartitionCount())
	}
}
