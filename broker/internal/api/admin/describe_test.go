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

func TestDescribeCluster(t *testing.T) {
	c := newCluster(t)
	c.register(2)
	resp := ask[*kmsg.DescribeClusterResponse](t, admin.DescribeCluster(c.Deps), &route.Session{Listener: "PUBLIC"}, &kmsg.DescribeClusterRequest{Version: 2, EndpointType: 1, IncludeClusterAuthorizedOperations: true})
	want := &kmsg.DescribeClusterResponse{Version: 2, EndpointType: 1, ClusterID: "cluster", ControllerID: 1, ClusterAuthorizedOperations: 8096, Brokers: []kmsg.DescribeClusterResponseBroker{
		{NodeID: 1, Host: "outside", Port: 19001}, {NodeID: 2, Host: "outside", Port: 19002, Rack: new("r2")},
	}}
	if diff := cmp.Diff(want, resp, noTags()); diff != "" {
		t.Fatal(diff)
	}
	for kind, want := range map[int8]string{2: "MISMATCHED_ENDPOINT_TYPE", 3: "UNSUPPORTED_ENDPOINT_TYPE"} {
		resp := ask[*kmsg.DescribeClusterResponse](t, admin.DescribeCluster(c.Deps), client(), &kmsg.DescribeClusterRequest{Version: 1, EndpointType: kind})
		if code(resp.ErrorCode) != want || len(resp.Brokers) != 0 || resp.ErrorMessage == nil {
			t.Errorf("endpoint type %d: %+v", kind, resp)
		}
	}
	old := ask[*kmsg.DescribeClusterResponse](t, admin.DescribeCluster(c.Deps), client(), &kmsg.DescribeClusterRequest{})
	if old.ErrorCode != 0 || len(old.Brokers) != 2 || old.ClusterAuthorizedOperations != -1<<31 {
		t.Errorf("%+v", old)
	}
}

// pages asks with one page size until there is no cursor.
func (c *cluster) pages(limit int32, names ...string) (pages []string) {
	c.t.Helper()
	req := &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: limit}
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	for {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c.t, admin.DescribeTopicPartitions(c.Deps), client(), req)
		page := ""
		for _, t := range resp.Topics {
			page += *t.Topic + ":" + code(t.ErrorCode)
			for _, p := range t.Partitions {
				page += fmt.Sprint(p.Partition)
			}
			page += " "
		}
		pages = append(pages, page)
		if resp.NextCursor == nil || len(pages) > 20 {
			return pages
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
}

func TestDescribeTopicPartitionsPages(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 3)
	c.topic("b", 2)
	c.topic("c", 1)
	for name, tc := range map[string]struct {
		limit int32
		names []string
		want  []string
	}{
		"all at once, up to the broker's limit": {1000, nil, []string{"a:012 b:01 ", "c:0 "}},
		"all, two by two":                       {2, nil, []string{"a:01 ", "a:2 b:0 ", "b:1 c:0 "}},
		"a page ends with a topic":              {3, nil, []string{"a:012 ", "b:01 c:0 "}},
		"no limit is one":                       {0, []string{"b"}, []string{"b:0 ", "b:1 "}},
		"a negative limit is one":               {-5, []string{"c"}, []string{"c:0 "}},
		"names in order, once":                  {5, []string{"c", "b", "c"}, []string{"b:01 c:0 "}},
		"unknown and invalid names":             {5, []string{"zz", "x y"}, []string{"x y:INVALID_TOPIC_EXCEPTION zz:UNKNOWN_TOPIC_OR_PARTITION "}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, c.pages(tc.limit, tc.names...)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
	c.Authorizer = secret("a")
	if diff := cmp.Diff([]string{"b:01 c:0 "}, c.pages(5)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a:TOPIC_AUTHORIZATION_FAILED b:01 "}, c.pages(5, "a", "b")); diff != "" {
		t.Error(diff)
	}
}

func TestDescribeTopicPartitionsRefusesACursorThatCannotBeIts(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 3)
	for name, tc := range map[string]struct {
		cursor kmsg.DescribeTopicPartitionsRequestCursor
		asked  []kmsg.DescribeTopicPartitionsRequestTopic
		want   string
	}{
		"not among the topics":    {kmsg.DescribeTopicPartitionsRequestCursor{Topic: "b"}, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}, "a INVALID_REQUEST 0"},
		"negative":                {kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: -1}, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}, "a INVALID_REQUEST 0"},
		"beyond the partitions":   {kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: 9}, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}, "a  0"},
		"of a topic that is gone": {kmsg.DescribeTopicPartitionsRequestCursor{Topic: "A", Partition: 2}, nil, "a  3"},
	} {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](t, admin.DescribeTopicPartitions(c.Deps), client(), &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 9, Cursor: &tc.cursor, Topics: tc.asked})
		got := fmt.Sprintf("%s %s %d", *resp.Topics[0].Topic, code(resp.Topics[0].ErrorCode), len(resp.Topics[0].Partitions))
		if got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestDescribeTopicPartitionsShowsWhatServes(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 2)
	c.img = c.img.Offline(map[metadata.TopicPartition]bool{{Topic: "a", Partition: 1}: true})
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](t, admin.DescribeTopicPartitions(c.Deps), client(), &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 9})
	want := []kmsg.DescribeTopicPartitionsResponseTopicPartition{
		{LeaderID: 1, Replicas: []int32{1}, ISR: []int32{1}, EligibleLeaderReplicas: []int32{}, LastKnownELR: []int32{}, OfflineReplicas: []int32{}},
		{Partition: 1, ErrorCode: kerr.LeaderNotAvailable.Code, LeaderID: -1, Replicas: []int32{1}, ISR: []int32{1}, EligibleLeaderReplicas: []int32{}, LastKnownELR: []int32{}, OfflineReplicas: []int32{1}},
	}
	if diff := cmp.Diff(want, resp.Topics[0].Partitions, noTags()); diff != "" {
		t.Fatal(diff)
	}
	if resp.Topics[0].AuthorizedOperations != 3576 {
		t.Fatal(resp.Topics[0].AuthorizedOperations)
	}
}

func TestDescribeLogDirs(t *testing.T) {
	c := newCluster(t)
	c.LogDirs = func() []admin.LogDir {
		return []admin.LogDir{
			{Path: "/d", Total: 10, Usable: 5, Partitions: []admin.LogSize{{Topic: "a", Partition: 0, Bytes: 7}, {Topic: "b", Partition: 0, Bytes: 8}, {Topic: "a", Partition: 1, Bytes: 9}}},
			{Path: "/bad", Err: fmt.Errorf("read: %w", kerr.KafkaStorageError), Total: -1, Usable: -1},
		}
	}
	for name, tc := range map[string]struct {
		topics []kmsg.DescribeLogDirsRequestTopic
		want   string
	}{
		"all":         {nil, "/d:a0=7 a1=9 b0=8 /bad:KAFKA_STORAGE_ERROR"},
		"none":        {[]kmsg.DescribeLogDirsRequestTopic{}, "/d: /bad:KAFKA_STORAGE_ERROR"},
		"some":        {[]kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{1, 77}}}, "/d:a1=9 /bad:KAFKA_STORAGE_ERROR"},
		"a few times": {[]kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{1}}, {Topic: "a", Partitions: []int32{0}}}, "/d:a0=7 a1=9 /bad:KAFKA_STORAGE_ERROR"},
	} {
		resp := ask[*kmsg.DescribeLogDirsResponse](t, admin.DescribeLogDirs(c.Deps), client(), &kmsg.DescribeLogDirsRequest{Version: 5, Topics: tc.topics})
		got := ""
		for _, d := range resp.Dirs {
			got += d.Dir + ":" + code(d.ErrorCode)
			for _, topic := range d.Topics {
				for _, p := range topic.Partitions {
					got += fmt.Sprintf("%s%d=%d ", topic.Topic, p.Partition, p.Size)
				}
			}
			if d.Dir == "/d" && len(d.Topics) == 0 {
				got += " "
			}
		}
		if got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
		if resp.Dirs[0].TotalBytes != 10 || resp.Dirs[0].UsableBytes != 5 {
			t.Errorf("%s: sizes", name)
		}
	}
	c.Authorizer = secret("")
	resp := ask[*kmsg.DescribeLogDirsResponse](t, admin.DescribeLogDirs(c.Deps), client(), &kmsg.DescribeLogDirsRequest{Version: 5})
	if code(resp.ErrorCode) != "CLUSTER_AUTHORIZATION_FAILED" || len(resp.Dirs) != 0 {
		t.Errorf("%+v", resp)
	}
}

func (c *cluster) describe(version int16, t kmsg.ConfigResourceType, name string, keys ...string) kmsg.DescribeConfigsResponseResource {
	c.t.Helper()
	req := &kmsg.DescribeConfigsRequest{Version: version, IncludeSynonyms: true, IncludeDocumentation: version >= 3}
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: t, ResourceName: name, ConfigNames: keys}}
	return ask[*kmsg.DescribeConfigsResponse](c.t, admin.DescribeConfigs(c.Deps), client(), req).Resources[0]
}

func TestDescribeConfigsShowsEveryKeyAndItsSources(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1)
	c.configure(metadata.Resource{Type: metadata.TopicResource, Name: "a"}, "retention.ms", "1")
	c.configure(metadata.Resource{Type: metadata.BrokerResource, Name: "1"}, "log.retention.ms", "2")
	c.configure(metadata.Resource{Type: metadata.BrokerResource}, "log.retention.ms", "3")
	c.Static["log.retention.hours"] = "4"
	all := c.describe(4, kmsg.ConfigResourceTypeTopic, "a")
	if len(all.Configs) != 4 || all.ErrorCode != 0 {
		t.Fatalf("%d keys: %s", len(all.Configs), code(all.ErrorCode))
	}
	got := c.describe(4, kmsg.ConfigResourceTypeTopic, "a", "retention.ms", "compression.type", "nope")
	want := []kmsg.DescribeConfigsResponseResourceConfig{
		{Name: "compression.type", Value: new("producer"), Source: 5, ConfigType: kmsg.ConfigTypeString, Documentation: new("Accepted without effect: records stay as they are."), ConfigSynonyms: []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{{Name: "compression.type", Value: new("producer"), Source: 5}}},
		{Name: "retention.ms", Value: new("1"), Source: 1, ConfigType: kmsg.ConfigTypeLong, Documentation: new(""), ConfigSynonyms: []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{
			{Name: "retention.ms", Value: new("1"), Source: 1},
			{Name: "log.retention.ms", Value: new("2"), Source: 2},
			{Name: "log.retention.ms", Value: new("3"), Source: 3},
			{Name: "log.retention.hours", Value: new("14400000"), Source: 4},
			{Name: "retention.ms", Value: new("604800000"), Source: 5},
		}},
	}
	if diff := cmp.Diff(want, got.Configs, noTags()); diff != "" {
		t.Fatal(diff)
	}
}

func TestDescribeConfigsOfBrokers(t *testing.T) {
	c := newCluster(t)
	c.configure(metadata.Resource{Type: metadata.BrokerResource}, "log.retention.ms", "3")
	show := func(r kmsg.DescribeConfigsResponseResource) map[string]string {
		out := map[string]string{}
		for _, cfg := range r.Configs {
			value := "null"
			if cfg.Value != nil {
				value = *cfg.Value
			}
			out[cfg.Name] = fmt.Sprintf("%s source=%d readonly=%v secret=%v", value, cfg.Source, cfg.ReadOnly, cfg.IsSensitive)
		}
		return out
	}
	got := show(c.describe(4, kmsg.ConfigResourceTypeBroker, "1"))
	if len(got) != len(c.BrokerKeys.Keys()) {
		t.Errorf("%d keys of %d", len(got), len(c.BrokerKeys.Keys()))
	}
	for key, want := range map[string]string{
		"node.id":          "1 source=4 readonly=true secret=false",
		"ssl.key.password": "null source=4 readonly=true secret=true",
		"log.retention.ms": "3 source=3 readonly=false secret=false",
		"num.partitions":   "2 source=5 readonly=true secret=false",
	} {
		if got[key] != want {
			t.Errorf("%s: %s", key, got[key])
		}
	}
	if diff := cmp.Diff(map[string]string{"log.retention.ms": "3 source=3 readonly=false secret=false"}, show(c.describe(1, kmsg.ConfigResourceTypeBroker, ""))); diff != "" {
		t.Error(diff)
	}
}

func TestDescribeConfigsRefusals(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1)
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	for name, tc := range map[string]struct {
		t    kmsg.ConfigResourceType
		name string
		want string
	}{
		"an unknown topic": {topic, "zz", "UNKNOWN_TOPIC_OR_PARTITION"},
		"an invalid topic": {topic, "a b", "INVALID_TOPIC_EXCEPTION"},
		"another broker":   {broker, "9", "INVALID_REQUEST"},
		"no broker id":     {broker, "x", "INVALID_REQUEST"},
		"a padded id":      {broker, "01", "INVALID_REQUEST"},
		"loggers":          {kmsg.ConfigResourceTypeBrokerLogger, "1", "INVALID_REQUEST"},
		"an unknown type":  {77, "x", "INVALID_REQUEST"},
	} {
		r := c.describe(4, tc.t, tc.name)
		if code(r.ErrorCode) != tc.want || r.Configs == nil || len(r.Configs) != 0 || r.ErrorMessage == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	c.Authorizer = secret("a")
	if r := c.describe(4, topic, "a"); code(r.ErrorCode) != "TOPIC_AUTHORIZATION_FAILED" {
		t.Error(code(r.ErrorCode))
	}
	if r := c.describe(4, broker, "1"); code(r.ErrorCode) != "CLUSTER_AUTHORIZATION_FAILED" {
		t.Error(code(r.ErrorCode))
	}
}

type change struct {
	key   string
	op    int8
	value string // "null" is null
}

func (c *cluster) incremental(validate bool, t kmsg.ConfigResourceType, name string, times int, changes ...change) []string {
	c.t.Helper()
	r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: t, ResourceName: name}
	for _, ch := range changes {
		cfg := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: ch.key, Op: kmsg.IncrementalAlterConfigOp(ch.op), Value: &ch.value}
		if ch.value == "null" {
			cfg.Value = nil
		}
		r.Configs = append(r.Configs, cfg)
	}
	req := &kmsg.IncrementalAlterConfigsRequest{Version: 1, ValidateOnly: validate}
	for range times {
		req.Resources = append(req.Resources, r)
	}
	resp := ask[*kmsg.IncrementalAlterConfigsResponse](c.t, admin.IncrementalAlterConfigs(c.Deps), client(), req)
	out := []string{}
	for _, r := range resp.Resources {
		out = append(out, code(r.ErrorCode))
	}
	return out
}

func TestIncrementalAlterConfigs(t *testing.T) {
	const set, del, add, sub = 0, 1, 2, 3
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	own := map[string]string{"retention.ms": "5"}
	for name, tc := range map[string]struct {
		t       kmsg.ConfigResourceType
		name    string
		times   int
		changes []change
		want    string
		after   map[string]string
	}{
		"set":                       {topic, "a", 1, []change{{"segment.bytes", set, "9"}}, "", map[string]string{"retention.ms": "5", "segment.bytes": "9"}},
		"delete":                    {topic, "a", 1, []change{{"retention.ms", del, "null"}}, "", nil},
		"append to the default":     {topic, "a", 1, []change{{"cleanup.policy", add, "compact"}}, "", map[string]string{"retention.ms": "5", "cleanup.policy": "delete,compact"}},
		"append what is there":      {topic, "a", 1, []change{{"cleanup.policy", add, "delete"}}, "", map[string]string{"retention.ms": "5", "cleanup.policy": "delete"}},
		"subtract":                  {topic, "a", 1, []change{{"cleanup.policy", sub, "delete"}}, "", map[string]string{"retention.ms": "5", "cleanup.policy": ""}},
		"append a bad word":         {topic, "a", 1, []change{{"cleanup.policy", add, "foo"}}, "INVALID_CONFIG", own},
		"append to a number":        {topic, "a", 1, []change{{"retention.ms", add, "1"}}, "INVALID_CONFIG", own},
		"subtract from a number":    {topic, "a", 1, []change{{"retention.ms", sub, "1"}}, "INVALID_CONFIG", own},
		"a key twice":               {topic, "a", 1, []change{{"retention.ms", set, "1"}, {"retention.ms", del, "null"}}, "INVALID_REQUEST", own},
		"a resource twice":          {topic, "a", 2, []change{{"retention.ms", set, "1"}}, "INVALID_REQUEST", own},
		"an unknown key":            {topic, "a", 1, []change{{"nope", set, "1"}}, "INVALID_CONFIG", own},
		"append to an unknown key":  {topic, "a", 1, []change{{"nope", add, "1"}}, "INVALID_CONFIG", own},
		"delete an unknown key":     {topic, "a", 1, []change{{"nope", del, "null"}}, "", own},
		"a bad value":               {topic, "a", 1, []change{{"retention.ms", set, "x"}}, "INVALID_CONFIG", own},
		"null":                      {topic, "a", 1, []change{{"retention.ms", set, "null"}}, "INVALID_REQUEST", own},
		"append null":               {topic, "a", 1, []change{{"cleanup.policy", add, "null"}}, "INVALID_REQUEST", own},
		"an unknown operation":      {topic, "a", 1, []change{{"retention.ms", 7, "1"}}, "INVALID_REQUEST", own},
		"nothing":                   {topic, "a", 1, nil, "", own},
		"one bad of two":            {topic, "a", 1, []change{{"segment.bytes", set, "9"}, {"nope", set, "1"}}, "INVALID_CONFIG", own},
		"an unknown topic":          {topic, "zz", 1, []change{{"retention.ms", set, "1"}}, "UNKNOWN_TOPIC_OR_PARTITION", own},
		"a broker":                  {broker, "1", 1, []change{{"log.retention.ms", set, "7"}}, "", map[string]string{"log.retention.ms": "7"}},
		"all brokers":               {broker, "", 1, []change{{"log.retention.ms", set, "7"}}, "", map[string]string{"log.retention.ms": "7"}},
		"a broker key for restarts": {broker, "1", 1, []change{{"num.partitions", set, "7"}}, "INVALID_REQUEST", nil},
		"an unknown broker key":     {broker, "1", 1, []change{{"nope", set, "7"}}, "INVALID_CONFIG", nil},
		"another broker":            {broker, "9", 1, []change{{"log.retention.ms", set, "7"}}, "INVALID_REQUEST", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.topic("a", 1)
			c.configure(metadata.Resource{Type: metadata.TopicResource, Name: "a"}, "retention.ms", "5")
			r := metadata.Resource{Type: metadata.ResourceType(tc.t), Name: tc.name}
			if tc.name == "zz" {
				r.Name = "a"
			}
			before := c.image().Config(r)
			for _, validate := range []bool{true, false} {
				for _, got := range c.incremental(validate, tc.t, tc.name, tc.times, tc.changes...) {
					if got != tc.want {
						t.Fatalf("validate only %v: %q", validate, got)
					}
				}
				if after := c.image().Config(r); validate && !cmp.Equal(before, after) {
					t.Fatalf("validate only changed %v to %v", before, after)
				}
			}
			if diff := cmp.Diff(tc.after, c.image().Config(r)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
	c := newCluster(t)
	c.refuse = errors.New("boom")
	if got := c.incremental(false, broker, "1", 1, change{"log.retention.ms", set, "7"}); got[0] != "UNKNOWN_SERVER_ERROR" {
		t.Fatal(got)
	}
	c.Authorizer = secret("a")
	if got := c.incremental(false, broker, "1", 1, change{"log.retention.ms", set, "7"}); got[0] != "CLUSTER_AUTHORIZATION_FAILED" {
		t.Fatal(got)
	}
}

func TestAlterConfigsReplacesEverything(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1)
	r := metadata.Resource{Type: metadata.TopicResource, Name: "a"}
	c.configure(r, "retention.ms", "5")
	alter := func(validate bool, configs ...kmsg.AlterConfigsRequestResourceConfig) string {
		req := &kmsg.AlterConfigsRequest{Version: 2, ValidateOnly: validate, Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "a", Configs: configs}}}
		return code(ask[*kmsg.AlterConfigsResponse](t, admin.AlterConfigs(c.Deps), client(), req).Resources[0].ErrorCode)
	}
	bytes := kmsg.AlterConfigsRequestResourceConfig{Name: "segment.bytes", Value: new("9")}
	for _, step := range []struct {
		validate bool
		configs  []kmsg.AlterConfigsRequestResourceConfig
		want     string
		after    map[string]string
	}{
		{true, []kmsg.AlterConfigsRequestResourceConfig{bytes}, "", map[string]string{"retention.ms": "5"}},
		{false, []kmsg.AlterConfigsRequestResourceConfig{bytes}, "", map[string]string{"segment.bytes": "9"}},
		{false, []kmsg.AlterConfigsRequestResourceConfig{bytes, bytes}, "INVALID_REQUEST", map[string]string{"segment.bytes": "9"}},
		{false, []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms"}}, "INVALID_REQUEST", map[string]string{"segment.bytes": "9"}},
		{false, nil, "", nil},
	} {
		if got := alter(step.validate, step.configs...); got != step.want {
			t.Fatalf("%v: %q", step.configs, got)
		}
		if diff := cmp.Diff(step.after, c.image().Config(r)); diff != "" {
			t.Fatal(diff)
		}
	}
}
