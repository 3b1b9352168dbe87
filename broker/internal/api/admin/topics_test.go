package admin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

type wish struct {
	name       string
	partitions int32
	factor     int16
	assigned   map[int32][]int32
	configs    []string // name, value, ...; "null" is null
}

func wishes(ws ...wish) []kmsg.CreateTopicsRequestTopic {
	var out []kmsg.CreateTopicsRequestTopic
	for _, w := range ws {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = w.name, w.partitions, w.factor
		for p := int32(-1); p < 9; p++ {
			if r, ok := w.assigned[p]; ok {
				t.ReplicaAssignment = append(t.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: p, Replicas: r})
			}
		}
		for i := 0; i < len(w.configs); i += 2 {
			c := kmsg.CreateTopicsRequestTopicConfig{Name: w.configs[i], Value: &w.configs[i+1]}
			if w.configs[i+1] == "null" {
				c.Value = nil
			}
			t.Configs = append(t.Configs, c)
		}
		out = append(out, t)
	}
	return out
}

func (c *cluster) create(validate bool, ws ...wish) *kmsg.CreateTopicsResponse {
	c.t.Helper()
	return ask[*kmsg.CreateTopicsResponse](c.t, admin.CreateTopics(c.Deps), client(), &kmsg.CreateTopicsRequest{Version: 7, Topics: wishes(ws...), TimeoutMillis: 1000, ValidateOnly: validate})
}

func created(resp *kmsg.CreateTopicsResponse) []string {
	out := []string{}
	for _, t := range resp.Topics {
		out = append(out, fmt.Sprintf("%s %s %d/%d", t.Topic, code(t.ErrorCode), t.NumPartitions, t.ReplicationFactor))
	}
	return out
}

func TestCreateTopicsAnswersAsKafka(t *testing.T) {
	long := strings.Repeat("x", 250)
	for name, tc := range map[string]struct {
		asked []wish
		want  []string
	}{
		"as asked":                {[]wish{{name: "n", partitions: 3, factor: 1}}, []string{"n  3/1"}},
		"defaults":                {[]wish{{name: "n", partitions: -1, factor: -1}}, []string{"n  2/1"}},
		"there already":           {[]wish{{name: "old", partitions: 1, factor: 1}}, []string{"old TOPIC_ALREADY_EXISTS -1/-1"}},
		"there already, assigned": {[]wish{{name: "old", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {1}}}}, []string{"old TOPIC_ALREADY_EXISTS -1/-1"}},
		"twice, and another":      {[]wish{{name: "d", partitions: 1, factor: 1}, {name: "d", partitions: 2, factor: 1}, {name: "n", partitions: 1, factor: 1}}, []string{"d INVALID_REQUEST -1/-1", "n  1/1"}},
		"too many replicas":       {[]wish{{name: "n", partitions: 1, factor: 3}}, []string{"n INVALID_REPLICATION_FACTOR -1/-1"}},
		"no replica":              {[]wish{{name: "n", partitions: 1, factor: 0}}, []string{"n INVALID_REPLICATION_FACTOR -1/-1"}},
		"negative replicas":       {[]wish{{name: "n", partitions: 1, factor: -2}}, []string{"n INVALID_REPLICATION_FACTOR -1/-1"}},
		"no partition":            {[]wish{{name: "n", partitions: 0, factor: 1}}, []string{"n INVALID_PARTITIONS -1/-1"}},
		"negative partitions":     {[]wish{{name: "n", partitions: -2, factor: 1}}, []string{"n INVALID_PARTITIONS -1/-1"}},
		"absurdly many":           {[]wish{{name: "n", partitions: 2147483647, factor: 1}}, []string{"n POLICY_VIOLATION -1/-1"}},
		"too many together":       {[]wish{{name: "n", partitions: 6000, factor: 1}, {name: "m", partitions: 6000, factor: 1}}, []string{"n POLICY_VIOLATION -1/-1", "m POLICY_VIOLATION -1/-1"}},
		"bad names":               {[]wish{{name: "", partitions: 1, factor: 1}, {name: "..", partitions: 1, factor: 1}, {name: "a b", partitions: 1, factor: 1}, {name: long, partitions: 1, factor: 1}}, []string{" INVALID_TOPIC_EXCEPTION -1/-1", ".. INVALID_TOPIC_EXCEPTION -1/-1", "a b INVALID_TOPIC_EXCEPTION -1/-1", long + " INVALID_TOPIC_EXCEPTION -1/-1"}},
		"a colliding name":        {[]wish{{name: "a_b", partitions: 1, factor: 1}}, []string{"a_b INVALID_TOPIC_EXCEPTION -1/-1"}},
		"names that collide":      {[]wish{{name: "q.y", partitions: 1, factor: 1}, {name: "q_y", partitions: 1, factor: 1}}, []string{"q.y  1/1", "q_y INVALID_TOPIC_EXCEPTION -1/-1"}},
		"the metadata log":        {[]wish{{name: "__cluster_metadata", partitions: 1, factor: 1}}, []string{"__cluster_metadata INVALID_REQUEST -1/-1"}},
		"an unknown config":       {[]wish{{name: "n", partitions: 1, factor: 1, configs: []string{"nope", "1"}}}, []string{"n INVALID_CONFIG -1/-1"}},
		"a config of bad value":   {[]wish{{name: "n", partitions: 1, factor: 1, configs: []string{"retention.ms", "abc"}}}, []string{"n INVALID_CONFIG -1/-1"}},
		"a config that is null":   {[]wish{{name: "n", partitions: 1, factor: 1, configs: []string{"retention.ms", "null"}}}, []string{"n INVALID_CONFIG -1/-1"}},
		"a config twice":          {[]wish{{name: "n", partitions: 1, factor: 1, configs: []string{"retention.ms", "1", "retention.ms", "2"}}}, []string{"n  1/1"}},
		"assigned":                {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {2, 1}, 1: {1, 2}}}}, []string{"n  2/2"}},
		"assigned and counted":    {[]wish{{name: "n", partitions: 1, factor: 1, assigned: map[int32][]int32{0: {1}}}}, []string{"n INVALID_REQUEST -1/-1"}},
		"assigned with a gap":     {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {1}, 2: {1}}}}, []string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}},
		"assigned below zero":     {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{-1: {1}}}}, []string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}},
		"assigned to nobody":      {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {}}}}, []string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}},
		"assigned to a stranger":  {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {9}}}}, []string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}},
		"assigned twice to one":   {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {1, 1}}}}, []string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}},
		"assigned unevenly":       {[]wish{{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {1}, 1: {1, 2}}}}, []string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.register(2)
			c.topic("old", 1)
			c.topic("a.b", 1)
			before := c.image().TopicCount()
			if diff := cmp.Diff(tc.want, created(c.create(true, tc.asked...))); diff != "" {
				t.Fatalf("validate only: %s", diff)
			}
			if c.image().TopicCount() != before {
				t.Fatal("validate only created a topic")
			}
			resp := c.create(false, tc.asked...)
			if diff := cmp.Diff(tc.want, created(resp)); diff != "" {
				t.Fatal(diff)
			}
			for _, topic := range resp.Topics {
				got, ok := c.image().Topic(topic.Topic)
				switch {
				case topic.Configs == nil:
					t.Error("configs are null")
				case topic.ErrorCode == 0 && (!ok || got.ID != topic.TopicID || topic.ErrorMessage != nil || len(topic.Configs) != 4):
					t.Errorf("%s: %+v", topic.Topic, topic)
				case topic.ErrorCode != 0 && (topic.ErrorMessage == nil || *topic.ErrorMessage == ""):
					t.Errorf("%s: no message", topic.Topic)
				}
			}
		})
	}
}

func TestOnePartitionNumberTwiceIsRefused(t *testing.T) {
	c := newCluster(t)
	topics := wishes(wish{name: "n", partitions: -1, factor: -1, assigned: map[int32][]int32{0: {1}, 1: {1}}})
	topics[0].ReplicaAssignment[1].Partition = 0
	resp := ask[*kmsg.CreateTopicsResponse](t, admin.CreateTopics(c.Deps), client(), &kmsg.CreateTopicsRequest{Version: 7, Topics: topics})
	if diff := cmp.Diff([]string{"n INVALID_REPLICA_ASSIGNMENT -1/-1"}, created(resp)); diff != "" {
		t.Fatal(diff)
	}
}

func TestCreatedConfigsSayWhereTheyComeFrom(t *testing.T) {
	c := newCluster(t)
	c.configure(metadata.Resource{Type: metadata.BrokerResource}, "log.segment.bytes", "4096")
	c.Static["log.cleanup.policy"] = "compact"
	resp := c.create(false, wish{name: "n", partitions: 1, factor: 1, configs: []string{"retention.ms", "5"}})
	got := map[string]string{}
	for _, cfg := range resp.Topics[0].Configs {
		got[cfg.Name] = fmt.Sprintf("%s %d", *cfg.Value, cfg.Source)
	}
	want := map[string]string{"cleanup.policy": "compact 4", "compression.type": "producer 5", "retention.ms": "5 1", "segment.bytes": "4096 3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestManyTopicsAreOneProposal(t *testing.T) {
	c := newCluster(t)
	var ws []wish
	for i := range 50 {
		ws = append(ws, wish{name: fmt.Sprint("t", i), partitions: 2, factor: 1})
	}
	before := c.proposals
	c.create(false, ws...)
	if c.proposals != before+1 || c.image().PartitionCount() != 100 {
		t.Fatalf("%d proposals, %d partitions", c.proposals-before, c.image().PartitionCount())
	}
}

func TestCreateTopicsAsksForPermission(t *testing.T) {
	c := newCluster(t)
	c.Authorizer = denied(func(op route.Operation, rt route.ResourceType, name string) bool {
		return rt == route.Cluster || name == "no" || name == "blind" && op == route.DescribeConfigs
	})
	resp := c.create(false, wish{name: "no", partitions: 1, factor: 1}, wish{name: "yes", partitions: 1, factor: 1}, wish{name: "blind", partitions: 1, factor: 1})
	if diff := cmp.Diff([]string{"no TOPIC_AUTHORIZATION_FAILED -1/-1", "yes  1/1", "blind  -1/-1"}, created(resp)); diff != "" {
		t.Fatal(diff)
	}
	if blind := resp.Topics[2]; blind.ConfigErrorCode != kerr.TopicAuthorizationFailed.Code || len(blind.Configs) != 0 {
		t.Fatalf("%+v", blind)
	}
}

func TestAProposalThatFailsFailsItsTopics(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1)
	c.refuse = fmt.Errorf("wrapped: %w", kerr.NotController)
	if got := created(c.create(false, wish{name: "n", partitions: 1, factor: 1})); got[0] != "n NOT_CONTROLLER -1/-1" {
		t.Fatal(got)
	}
	c.refuse = context.DeadlineExceeded
	if got := deleted(c.delete(6, byName("a"))); got[0] != "a REQUEST_TIMED_OUT" {
		t.Fatal(got)
	}
	if got := c.grow(false, growth{topic: "a", count: 2}); got[0] != "a REQUEST_TIMED_OUT" {
		t.Fatal(got)
	}
}

func byName(name string) kmsg.DeleteTopicsRequestTopic {
	return kmsg.DeleteTopicsRequestTopic{Topic: &name}
}

func (c *cluster) delete(version int16, topics ...kmsg.DeleteTopicsRequestTopic) *kmsg.DeleteTopicsResponse {
	c.t.Helper()
	req := &kmsg.DeleteTopicsRequest{Version: version, TimeoutMillis: 1000, Topics: topics}
	if version < 6 {
		req.Topics = nil
		for _, t := range topics {
			req.TopicNames = append(req.TopicNames, *t.Topic)
		}
	}
	return ask[*kmsg.DeleteTopicsResponse](c.t, admin.DeleteTopics(c.Deps), client(), req)
}

func deleted(resp *kmsg.DeleteTopicsResponse) []string {
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

func TestDeleteTopics(t *testing.T) {
	id := func(s string) (id metadata.ID) { copy(id[:], "id-"+s); return id }
	for name, tc := range map[string]struct {
		version int16
		asked   []kmsg.DeleteTopicsRequestTopic
		want    []string
		left    int
	}{
		"by name":               {6, []kmsg.DeleteTopicsRequestTopic{byName("a")}, []string{"a "}, 1},
		"by name, old version":  {1, []kmsg.DeleteTopicsRequestTopic{byName("a"), byName("zz")}, []string{"a ", "zz UNKNOWN_TOPIC_OR_PARTITION"}, 1},
		"by id":                 {6, []kmsg.DeleteTopicsRequestTopic{{TopicID: id("a")}}, []string{"a "}, 1},
		"unknown":               {6, []kmsg.DeleteTopicsRequestTopic{byName("zz"), {TopicID: id("zz")}}, []string{"zz UNKNOWN_TOPIC_OR_PARTITION", "? UNKNOWN_TOPIC_ID"}, 2},
		"name and id":           {6, []kmsg.DeleteTopicsRequestTopic{{Topic: new("a"), TopicID: id("a")}}, []string{"a INVALID_REQUEST"}, 2},
		"neither":               {6, []kmsg.DeleteTopicsRequestTopic{{}}, []string{"? INVALID_REQUEST"}, 2},
		"twice by name":         {6, []kmsg.DeleteTopicsRequestTopic{byName("a"), byName("a"), byName("b")}, []string{"a INVALID_REQUEST", "a INVALID_REQUEST", "b "}, 1},
		"twice, by name and id": {6, []kmsg.DeleteTopicsRequestTopic{byName("a"), {TopicID: id("a")}}, []string{"a INVALID_REQUEST", "? INVALID_REQUEST"}, 2},
		"nothing":               {6, nil, []string{}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.topic("a", 1)
			c.topic("b", 1)
			if diff := cmp.Diff(tc.want, deleted(c.delete(tc.version, tc.asked...))); diff != "" {
				t.Fatal(diff)
			}
			if got := c.image().TopicCount(); got != tc.left {
				t.Fatalf("%d topics are left", got)
			}
		})
	}
}

func TestDeleteTopicsAsksForPermission(t *testing.T) {
	c := newCluster(t)
	hidden, fixed := c.topic("hidden", 1), c.topic("fixed", 1)
	c.Authorizer = denied(func(op route.Operation, _ route.ResourceType, name string) bool {
		return name == "hidden" || name == "fixed" && op == route.Delete
	})
	resp := c.delete(6, byName("hidden"), byName("fixed"), kmsg.DeleteTopicsRequestTopic{TopicID: hidden.ID})
	if diff := cmp.Diff([]string{"hidden TOPIC_AUTHORIZATION_FAILED", "fixed TOPIC_AUTHORIZATION_FAILED", "? UNKNOWN_TOPIC_ID"}, deleted(resp)); diff != "" {
		t.Fatal(diff)
	}
	if got := deleted(c.delete(6, kmsg.DeleteTopicsRequestTopic{TopicID: fixed.ID})); got[0] != "? TOPIC_AUTHORIZATION_FAILED" {
		t.Fatal(got)
	}
	c = newCluster(t)
	c.topic("a", 1)
	c.Static["delete.topic.enable"] = "false"
	if got := deleted(c.delete(6, byName("a"))); got[0] != "a TOPIC_DELETION_DISABLED" {
		t.Fatal(got)
	}
}

type growth struct {
	topic    string
	count    int32
	assigned [][]int32
}

func (c *cluster) grow(validate bool, gs ...growth) []string {
	c.t.Helper()
	req := &kmsg.CreatePartitionsRequest{Version: 3, TimeoutMillis: 1000, ValidateOnly: validate}
	for _, g := range gs {
		t := kmsg.CreatePartitionsRequestTopic{Topic: g.topic, Count: g.count}
		for _, r := range g.assigned {
			t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
		}
		req.Topics = append(req.Topics, t)
	}
	resp := ask[*kmsg.CreatePartitionsResponse](c.t, admin.CreatePartitions(c.Deps), client(), req)
	out := []string{}
	for _, t := range resp.Topics {
		out = append(out, t.Topic+" "+code(t.ErrorCode))
	}
	return out
}

func TestCreatePartitions(t *testing.T) {
	for name, tc := range map[string]struct {
		asked []growth
		want  []string
		now   int
	}{
		"more":                   {[]growth{{topic: "a", count: 5}}, []string{"a "}, 5},
		"assigned":               {[]growth{{topic: "a", count: 5, assigned: [][]int32{{2}, {1}}}}, []string{"a "}, 5},
		"as many":                {[]growth{{topic: "a", count: 3}}, []string{"a INVALID_PARTITIONS"}, 3},
		"fewer":                  {[]growth{{topic: "a", count: 2}}, []string{"a INVALID_PARTITIONS"}, 3},
		"negative":               {[]growth{{topic: "a", count: -1}}, []string{"a INVALID_PARTITIONS"}, 3},
		"absurdly many":          {[]growth{{topic: "a", count: 2147483647}}, []string{"a POLICY_VIOLATION"}, 3},
		"unknown":                {[]growth{{topic: "zz", count: 2}}, []string{"zz UNKNOWN_TOPIC_OR_PARTITION"}, 3},
		"twice":                  {[]growth{{topic: "a", count: 5}, {topic: "a", count: 6}}, []string{"a INVALID_REQUEST"}, 3},
		"too few assigned":       {[]growth{{topic: "a", count: 5, assigned: [][]int32{{1}}}}, []string{"a INVALID_REPLICA_ASSIGNMENT"}, 3},
		"assigned to a stranger": {[]growth{{topic: "a", count: 4, assigned: [][]int32{{9}}}}, []string{"a INVALID_REPLICA_ASSIGNMENT"}, 3},
		"assigned to nobody":     {[]growth{{topic: "a", count: 4, assigned: [][]int32{{}}}}, []string{"a INVALID_REPLICA_ASSIGNMENT"}, 3},
		"assigned more replicas": {[]growth{{topic: "a", count: 4, assigned: [][]int32{{1, 2}}}}, []string{"a INVALID_REPLICA_ASSIGNMENT"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.register(2)
			old := c.topic("a", 3)
			if diff := cmp.Diff(tc.want, c.grow(true, tc.asked...)); diff != "" {
				t.Fatalf("validate only: %s", diff)
			}
			if diff := cmp.Diff(tc.want, c.grow(false, tc.asked...)); diff != "" {
				t.Fatal(diff)
			}
			topic, _ := c.image().Topic("a")
			if len(topic.Partitions) != tc.now || !cmp.Equal(old.Partitions, topic.Partitions[:3]) {
				t.Fatalf("%d partitions", len(topic.Partitions))
			}
		})
	}
	c := newCluster(t)
	c.topic("a", 1)
	c.Authorizer = secret("a")
	if got := c.grow(false, growth{topic: "a", count: 2}); got[0] != "a TOPIC_AUTHORIZATION_FAILED" {
		t.Fatal(got)
	}
}
