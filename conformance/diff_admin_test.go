package conformance

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func diffMetadata(d *duel) {
	d.topic("metadata", 3)
	ask := func(auto bool, names ...string) *kmsg.MetadataRequest {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = auto
		req.Topics = []kmsg.MetadataRequestTopic{}
		for _, name := range names {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = new(name)
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	d.each(kmsg.Metadata, func(v int16) {
		d.do("one", v, same(ask(true, "metadata")))
		if v > 0 { // version 0 without names asks for all
			d.do("none", v, same(ask(true)))
		}
		d.do("twice", v, same(ask(false, "metadata", "metadata")))
		for _, bad := range []string{"", ".", "..", "a/b", strings.Repeat("x", 250)} {
			d.do(fmt.Sprintf("bad name %.5q", bad), v, same(ask(true, bad)))
		}
		if v >= 4 {
			d.do("unknown", v, same(ask(false, "nowhere")))
		}
		if v >= 8 {
			d.do("operations", v, func(*side) kmsg.Request {
				r := ask(false, "metadata")
				r.IncludeTopicAuthorizedOperations, r.IncludeClusterAuthorizedOperations = true, true
				return r
			})
		}
		if v >= 12 {
			d.do("by id", v, func(s *side) kmsg.Request {
				r := ask(false, "metadata")
				r.Topics[0].Topic, r.Topics[0].TopicID = nil, s.ids["metadata"]
				return r
			})
			d.do("by an unknown id", v, func(*side) kmsg.Request {
				r := ask(false, "metadata")
				r.Topics[0].Topic, r.Topics[0].TopicID = nil, [16]byte{15: 9}
				return r
			})
			d.do("by name and id", v, func(s *side) kmsg.Request {
				r := ask(false, "metadata")
				r.Topics[0].TopicID = s.ids["metadata"]
				return r
			})
			d.do("by neither", v, func(*side) kmsg.Request {
				r := ask(false, "metadata")
				r.Topics[0].Topic = nil
				return r
			})
		}
	})
	d.each(kmsg.DescribeCluster, func(v int16) {
		for _, kind := range []int8{0, 1, 3} {
			d.do(fmt.Sprintf("endpoints %d", kind), v, same(&kmsg.DescribeClusterRequest{EndpointType: kind}))
		}
		d.do("operations", v, same(&kmsg.DescribeClusterRequest{EndpointType: 1, IncludeClusterAuthorizedOperations: true}))
		d.do("fenced too", v, same(&kmsg.DescribeClusterRequest{EndpointType: 1, IncludeFencedBrokers: true}))
	})
	d.each(kmsg.DescribeTopicPartitions, func(v int16) {
		of := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) func(*side) kmsg.Request {
			r := &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: limit, Cursor: cursor}
			for _, name := range names {
				r.Topics = append(r.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
			}
			return same(r)
		}
		d.do("one", v, of(2000, nil, "metadata"))
		d.do("limit 2", v, of(2, nil, "metadata"))
		d.do("limit 0", v, of(0, nil, "metadata"))
		d.do("cursor", v, of(2000, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "metadata", Partition: 1}, "metadata"))
		d.do("cursor after all", v, of(2000, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "zzz", Partition: 1}, "metadata"))
		d.do("negative cursor", v, of(2000, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "metadata", Partition: -1}, "metadata"))
		d.do("unknown", v, of(2000, nil, "nowhere", "metadata", "metadata"))
		d.do("bad name", v, of(2000, nil, "a/b"))
	})
	d.each(kmsg.DescribeLogDirs, func(v int16) {
		of := func(topic string, partitions ...int32) *kmsg.DescribeLogDirsRequest {
			t := kmsg.NewDescribeLogDirsRequestTopic()
			t.Topic, t.Partitions = topic, partitions
			return &kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{t}}
		}
		d.do("one topic", v, same(of("metadata", 0, 2)))
		d.do("unknown", v, same(of("nowhere", 0)))
		d.do("unknown partition", v, same(of("metadata", 9)))
		d.do("no topics", v, same(&kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{}}))
	})
}

func diffTopics(d *duel) {
	d.topic("topics", 1)
	d.topic("taken.by_dots", 1)
	create := func(names ...string) *kmsg.CreateTopicsRequest {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 10_000
		for _, name := range names {
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = name, 1, 1
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	configs := func(pairs ...string) func(t *kmsg.CreateTopicsRequestTopic) {
		return func(t *kmsg.CreateTopicsRequestTopic) {
			for i := 0; i < len(pairs); i += 2 {
				c := kmsg.NewCreateTopicsRequestTopicConfig()
				c.Name, c.Value = pairs[i], &pairs[i+1]
				t.Configs = append(t.Configs, c)
			}
		}
	}
	placed := func(replicas ...[]int32) func(t *kmsg.CreateTopicsRequestTopic) {
		return func(t *kmsg.CreateTopicsRequestTopic) {
			t.NumPartitions, t.ReplicationFactor = -1, -1
			for p, r := range replicas {
				a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				a.Partition, a.Replicas = int32(p), r
				t.ReplicaAssignment = append(t.ReplicaAssignment, a)
			}
		}
	}
	counts := func(partitions int32, factor int16) func(t *kmsg.CreateTopicsRequestTopic) {
		return func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions, t.ReplicationFactor = partitions, factor }
	}
	d.each(kmsg.CreateTopics, func(v int16) {
		n := 0
		one := func(what string, change func(t *kmsg.CreateTopicsRequestTopic)) {
			n++
			r := create(fmt.Sprintf("created-%d-%d", v, n))
			change(&r.Topics[0])
			d.do(what, v, same(r))
		}
		one("good", counts(1, 1))
		one("defaults", counts(-1, -1))
		for _, c := range []int32{0, -2} {
			one(fmt.Sprintf("%d partitions", c), counts(c, 1))
		}
		for _, f := range []int16{0, -2, 2, 3} {
			one(fmt.Sprintf("factor %d", f), counts(1, f))
		}
		one("placed", placed([]int32{1}, []int32{1}))
		one("placed on an unknown broker", placed([]int32{9}))
		one("placed twice on one broker", placed([]int32{1, 1}))
		one("placed nowhere", placed([]int32{}))
		one("placed on different numbers", placed([]int32{1}, []int32{1, 9}))
		one("placed and counted", func(t *kmsg.CreateTopicsRequestTopic) {
			placed([]int32{1})(t)
			t.NumPartitions = 1
		})
		one("placed from partition 1", func(t *kmsg.CreateTopicsRequestTopic) {
			placed([]int32{1})(t)
			t.ReplicaAssignment[0].Partition = 1
		})
		one("configs", configs("retention.ms", "1000", "cleanup.policy", "compact,delete"))
		one("an unknown config", configs("no.such.key", "1"))
		one("an impossible value", configs("retention.ms", "soon"))
		one("a value out of bounds", configs("segment.bytes", "1"))
		one("a config twice", configs("retention.ms", "1", "retention.ms", "2"))
		one("a null value", func(t *kmsg.CreateTopicsRequestTopic) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name = "retention.ms"
			t.Configs = append(t.Configs, c)
		})
		d.do("one that is", v, same(create("topics")))
		d.do("one that collides", v, same(create("taken_by.dots")))
		for _, bad := range []string{"", ".", "..", "a/b", strings.Repeat("x", 250)} {
			d.do(fmt.Sprintf("bad name %.5q", bad), v, same(create(bad)))
		}
		d.do("twice in one request", v, same(create("double", "double")))
		d.do("good and bad", v, same(create(fmt.Sprintf("beside-%d", v), "a/b")))
		d.do("nothing", v, same(create()))
		d.do("only a check", v, func(*side) kmsg.Request {
			r := create("never-made", "topics")
			r.ValidateOnly = true
			return r
		})
	})
	d.each(kmsg.CreatePartitions, func(v int16) {
		name := fmt.Sprintf("grow-%d", v)
		d.topic(name, 2)
		grow := func(what, topic string, count int32, check bool, replicas ...[]int32) {
			r := kmsg.NewPtrCreatePartitionsRequest()
			r.TimeoutMillis, r.ValidateOnly = 10_000, check
			t := kmsg.NewCreatePartitionsRequestTopic()
			t.Topic, t.Count = topic, count
			for _, a := range replicas {
				t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
			}
			r.Topics = append(r.Topics, t)
			d.do(what, v, same(r))
		}
		grow("only a check", name, 3, true)
		grow("to 3", name, 3, false)
		grow("to 3 again", name, 3, false)
		grow("to 1", name, 1, false)
		grow("to 0", name, 0, false)
		grow("to -1", name, -1, false)
		grow("placed", name, 4, false, []int32{1})
		grow("placed on an unknown broker", name, 5, false, []int32{9})
		grow("placed too often", name, 5, false, []int32{1}, []int32{1})
		grow("placed on two", name, 5, false, []int32{1, 9})
		grow("unknown topic", "nowhere", 5, false)
		d.do("nothing", v, same(kmsg.NewPtrCreatePartitionsRequest()))
		d.do("twice", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrCreatePartitionsRequest()
			t := kmsg.NewCreatePartitionsRequestTopic()
			t.Topic, t.Count, r.TimeoutMillis = name, 6, 1000
			r.Topics = append(r.Topics, t, t)
			return r
		})
	})
	d.each(kmsg.DeleteTopics, func(v int16) {
		name := fmt.Sprintf("gone-%d", v)
		d.topic(name, 1)
		remove := func(what string, topics func(s *side) []kmsg.DeleteTopicsRequestTopic) {
			d.do(what, v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrDeleteTopicsRequest()
				r.TimeoutMillis, r.Topics = 10_000, topics(s)
				for _, t := range r.Topics {
					if t.Topic != nil {
						r.TopicNames = append(r.TopicNames, *t.Topic)
					}
				}
				return r
			})
		}
		named := func(names ...string) func(*side) []kmsg.DeleteTopicsRequestTopic {
			return func(*side) (topics []kmsg.DeleteTopicsRequestTopic) {
				for _, n := range names {
					t := kmsg.NewDeleteTopicsRequestTopic()
					t.Topic = new(n)
					topics = append(topics, t)
				}
				return topics
			}
		}
		remove("nothing", named())
		remove("unknown", named("nowhere"))
		remove("bad name", named("a/b"))
		remove("a duplicate of an unknown topic", named("nowhere", "nowhere"))
		remove("a duplicate of a topic", named(name, name))
		remove("one", named(name))
		if v < 6 {
			return
		}
		byID := func(id func(s *side) [16]byte, name *string) func(*side) []kmsg.DeleteTopicsRequestTopic {
			return func(s *side) []kmsg.DeleteTopicsRequestTopic {
				t := kmsg.NewDeleteTopicsRequestTopic()
				t.Topic, t.TopicID = name, id(s)
				return []kmsg.DeleteTopicsRequestTopic{t}
			}
		}
		d.topic("gone-by-id", 1)
		its := func(s *side) [16]byte { return s.ids["gone-by-id"] }
		remove("by name and id", byID(its, new("gone-by-id")))
		remove("by id", byID(its, nil))
		remove("by an unknown id", byID(func(*side) [16]byte { return [16]byte{15: 9} }, nil))
		remove("by nothing", byID(func(*side) [16]byte { return [16]byte{} }, nil))
	})
}

func diffConfigs(d *duel) {
	d.topic("configs", 1, "retention.ms", "5000", "cleanup.policy", "compact")
	describe := func(kind kmsg.ConfigResourceType, name string, keys ...string) kmsg.DescribeConfigsRequestResource {
		return kmsg.DescribeConfigsRequestResource{ResourceType: kind, ResourceName: name, ConfigNames: keys}
	}
	d.each(kmsg.DescribeConfigs, func(v int16) {
		ask := func(what string, resources ...kmsg.DescribeConfigsRequestResource) {
			d.do(what, v, same(&kmsg.DescribeConfigsRequest{Resources: resources, IncludeSynonyms: true, IncludeDocumentation: true}))
		}
		ask("topic", describe(2, "configs"))
		ask("two keys", describe(2, "configs", "retention.ms", "segment.bytes"))
		ask("an unknown key", describe(2, "configs", "no.such.key"))
		ask("no keys", describe(2, "configs", []string{}...))
		ask("unknown topic", describe(2, "nowhere"))
		ask("bad name", describe(2, "a/b"))
		ask("no name", describe(2, ""))
		ask("broker", describe(4, "1", "log.retention.ms", "node.id", "num.partitions", "log.segment.bytes"))
		ask("all brokers", describe(4, ""))
		ask("another broker", describe(4, "9"))
		ask("no broker", describe(4, "one"))
		ask("unknown kind", describe(99, "x"))
		ask("kind 0", describe(0, "x"))
		ask("twice", describe(2, "configs", "retention.ms"), describe(2, "configs", "segment.bytes"))
		ask("nothing")
		d.do("without synonyms", v, same(&kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{describe(2, "configs", "retention.ms")}}))
	})
	d.each(kmsg.AlterConfigs, func(v int16) {
		alter := func(what string, kind kmsg.ConfigResourceType, name string, check bool, pairs ...string) {
			r := kmsg.AlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
			for i := 0; i < len(pairs); i += 2 {
				c := kmsg.AlterConfigsRequestResourceConfig{Name: pairs[i]}
				if pairs[i+1] != "null" {
					c.Value = new(pairs[i+1])
				}
				r.Configs = append(r.Configs, c)
			}
			d.do(what, v, same(&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{r}, ValidateOnly: check}))
		}
		alter("set", 2, "configs", false, "retention.ms", "7000")
		d.described("after a set")
		alter("only a check", 2, "configs", true, "retention.ms", "8000")
		alter("an unknown key", 2, "configs", false, "no.such.key", "1")
		alter("an impossible value", 2, "configs", false, "retention.ms", "soon")
		alter("null", 2, "configs", false, "retention.ms", "null")
		alter("twice", 2, "configs", false, "retention.ms", "1", "retention.ms", "2")
		alter("unknown topic", 2, "nowhere", false, "retention.ms", "1")
		alter("bad name", 2, "a/b", false, "retention.ms", "1")
		alter("another broker", 4, "9", false, "log.retention.ms", "1000")
		alter("a key that is read at start", 4, "1", false, "node.id", "4")
		alter("unknown kind", 99, "x", false, "a", "b")
		alter("nothing", 2, "configs", false)
		d.described("after nothing")
		d.do("no resources", v, same(&kmsg.AlterConfigsRequest{}))
	})
	d.each(kmsg.IncrementalAlterConfigs, d.increments)
}

// described compares what both say of the settings of the topic "configs".
func (d *duel) described(what string) {
	d.settle()
	d.do(what, d.last(kmsg.DescribeConfigs), same(&kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{
		{ResourceType: 2, ResourceName: "configs", ConfigNames: []string{"retention.ms", "cleanup.policy", "segment.bytes", "max.message.bytes"}},
	}}))
}

// settle gives Kafka's broker the time to hear from its controller, by making a
// topic, which comes after everything that was changed before.
func (d *duel) settle() {
	d.number++
	d.topic(fmt.Sprintf("settled-%d", d.number), 1)
}

func (d *duel) increments(v int16) {
	type op struct {
		key string
		op  kmsg.IncrementalAlterConfigOp
		val string
	}
	alter := func(what string, kind kmsg.ConfigResourceType, name string, check bool, ops ...op) {
		r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
		for _, o := range ops {
			c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: o.key, Op: o.op}
			if o.val != "null" {
				c.Value = new(o.val)
			}
			r.Configs = append(r.Configs, c)
		}
		d.do(what, v, same(&kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{r}, ValidateOnly: check}))
	}
	const set, remove, add, subtract = 0, 1, 2, 3
	alter("set", 2, "configs", false, op{"retention.ms", set, "9000"}, op{"max.message.bytes", set, "2000"})
	d.described("after a set")
	alter("add", 2, "configs", false, op{"cleanup.policy", add, "compact"})
	d.described("after an add")
	alter("add again", 2, "configs", false, op{"cleanup.policy", add, "compact"})
	alter("subtract", 2, "configs", false, op{"cleanup.policy", subtract, "delete"})
	d.described("after a subtraction")
	alter("subtract what is not there", 2, "configs", false, op{"cleanup.policy", subtract, "delete"})
	alter("add to what is no list", 2, "configs", false, op{"retention.ms", add, "1"})
	alter("only a check", 2, "configs", true, op{"retention.ms", set, "1"})
	alter("delete", 2, "configs", false, op{"retention.ms", remove, "null"}, op{"max.message.bytes", remove, "null"})
	d.described("after a deletion")
	alter("delete an unknown key", 2, "configs", false, op{"no.such.key", remove, "null"})
	alter("an unknown key", 2, "configs", false, op{"no.such.key", set, "1"})
	alter("an impossible value", 2, "configs", false, op{"retention.ms", set, "soon"})
	alter("out of bounds", 2, "configs", false, op{"min.insync.replicas", set, "0"})
	alter("null", 2, "configs", false, op{"retention.ms", set, "null"})
	alter("an unknown operation", 2, "configs", false, op{"retention.ms", 9, "1"})
	alter("twice", 2, "configs", false, op{"retention.ms", set, "1"}, op{"retention.ms", set, "2"})
	alter("unknown topic", 2, "nowhere", false, op{"retention.ms", set, "1"})
	alter("bad name", 2, "a/b", false, op{"retention.ms", set, "1"})
	alter("another broker", 4, "9", false, op{"log.retention.ms", set, "1000"})
	alter("no broker", 4, "one", false, op{"log.retention.ms", set, "1000"})
	alter("a key that is read at start", 4, "1", false, op{"node.id", set, "4"})
	alter("unknown kind", 99, "x", false, op{"a", set, "b"})
	alter("nothing", 2, "configs", false)
	d.do("no resources", v, same(&kmsg.IncrementalAlterConfigsRequest{}))
	twice := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 2, ResourceName: "configs", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: new("1")}}}
	d.do("one resource twice", v, same(&kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{twice, twice}}))
}
