package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
)

// TestCreateTopicsIsHeldToTheRules: each row is one topic of a request.
func TestCreateTopicsIsHeldToTheRules(t *testing.T) {
	r := startRaw(t, nil)
	r.create("taken", 1)
	r.create("dot.ted", 1)
	value := func(s string) *string { return &s }
	rows := []struct {
		rule   string
		change func(*kmsg.CreateTopicsRequestTopic)
		want   error
	}{
		{"defaults", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions, t.ReplicationFactor = -1, -1 }, nil},
		{"taken", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "taken" }, kerr.TopicAlreadyExists},
		{"name that collides", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "dot_ted" }, kerr.InvalidTopicException},
		{"empty name", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "" }, kerr.InvalidTopicException},
		{"dot", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "." }, kerr.InvalidTopicException},
		{"dots", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = ".." }, kerr.InvalidTopicException},
		{"path", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a/b" }, kerr.InvalidTopicException},
		{"path out", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "../../x" }, kerr.InvalidTopicException},
		{"zero byte", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a\x00b" }, kerr.InvalidTopicException},
		{"no text", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "a\xff" }, kerr.InvalidTopicException},
		{"249 characters", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = strings.Repeat("x", 249) }, nil},
		{"250 characters", func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = strings.Repeat("x", 250) }, kerr.InvalidTopicException},
		{"no partitions", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 0 }, kerr.InvalidPartitions},
		{"negative partitions", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = -2 }, kerr.InvalidPartitions},
		{"a million partitions", func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 1_000_000 }, kerr.PolicyViolation},
		{"no replicas", func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 0 }, kerr.InvalidReplicationFactor},
		{"negative replicas", func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = -5 }, kerr.InvalidReplicationFactor},
		{"more replicas than brokers", func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 100 }, kerr.InvalidReplicationFactor},
		{"a config nobody knows", func(t *kmsg.CreateTopicsRequestTopic) {
			t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "no.such.key", Value: value("1")}}
		}, kerr.InvalidConfig},
		{"a config with an impossible value", func(t *kmsg.CreateTopicsRequestTopic) {
			t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: value("-2")}}
		}, kerr.InvalidConfig},
		{"a config without a value", func(t *kmsg.CreateTopicsRequestTopic) {
			t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
		}, kerr.InvalidConfig},
		{"a config of a megabyte", func(t *kmsg.CreateTopicsRequestTopic) {
			t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "leader.replication.throttled.replicas", Value: value(strings.Repeat("x", 1<<20))}}
		}, kerr.InvalidConfig},
		{"ten thousand configs", func(t *kmsg.CreateTopicsRequestTopic) {
			for i := range 10_000 {
				t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: fmt.Sprintf("k%d", i), Value: value("1")})
			}
		}, kerr.InvalidConfig},
		{"assigned by hand", func(t *kmsg.CreateTopicsRequestTopic) { byHand(t, []int32{1}, []int32{1}) }, nil},
		{"assigned to a stranger", func(t *kmsg.CreateTopicsRequestTopic) { byHand(t, []int32{9}) }, kerr.InvalidReplicaAssignment},
		{"assigned twice to one broker", func(t *kmsg.CreateTopicsRequestTopic) { byHand(t, []int32{1, 1}) }, kerr.InvalidReplicaAssignment},
		{"assigned to nobody", func(t *kmsg.CreateTopicsRequestTopic) { byHand(t, []int32{}) }, kerr.InvalidReplicaAssignment},
		{"assigned and counted", func(t *kmsg.CreateTopicsRequestTopic) {
			byHand(t, []int32{1})
			t.NumPartitions = 1
		}, kerr.InvalidRequest},
	}
	for i, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			for _, validate := range []bool{true, false} {
				req := kmsg.NewPtrCreateTopicsRequest()
				req.Version, req.TimeoutMillis, req.ValidateOnly = 7, 10_000, validate
				ask := kmsg.NewCreateTopicsRequestTopic()
				ask.Topic, ask.NumPartitions, ask.ReplicationFactor = fmt.Sprintf("new-%d", i), 1, 1
				row.change(&ask)
				req.Topics = append(req.Topics, ask)
				got := call[*kmsg.CreateTopicsResponse](r, req).Topics[0]
				wantCode(t, fmt.Sprintf("create (validate only: %t)", validate), got.ErrorCode, row.want)
				if row.want == nil {
					there := is(r.metadata(ask.Topic, false).ErrorCode, nil)
					if there == validate {
						t.Errorf("validate only %t, and the topic is there: %t", validate, there)
					}
				}
			}
		})
	}
}

func byHand(t *kmsg.CreateTopicsRequestTopic, replicas ...[]int32) {
	t.NumPartitions, t.ReplicationFactor = -1, -1
	for i, brokers := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), brokers
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
}

func TestATopicStandsOnceInARequest(t *testing.T) {
	r := startRaw(t, nil)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	for _, name := range []string{"one", "two", "one"} {
		ask := kmsg.NewCreateTopicsRequestTopic()
		ask.Topic, ask.NumPartitions, ask.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, ask)
	}
	for _, got := range call[*kmsg.CreateTopicsResponse](r, req).Topics {
		want := error(kerr.InvalidRequest)
		if got.Topic == "two" {
			want = nil
		}
		wantCode(t, got.Topic, got.ErrorCode, want)
	}
}

// TestManyClientsCreateOneTopic by naming it: it is made once, and everybody sees the same.
func TestManyClientsCreateOneTopic(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir(), Properties: map[string]string{"num.partitions": "3"}})
	ids := make([][16]byte, 16)
	var all sync.WaitGroup
	for i := range ids {
		r := dialRaw(t, addr)
		all.Go(func() {
			for range 100 {
				if m := r.metadata("raced", true); m.ErrorCode == 0 {
					if ids[i] = m.TopicID; len(m.Partitions) != 3 {
						t.Errorf("%d partitions", len(m.Partitions))
					}
					return
				}
			}
		})
	}
	all.Wait()
	if ids = slices.Compact(ids); len(ids) != 1 || ids[0] == [16]byte{} {
		t.Errorf("ids %v", ids)
	}
}

// TestPartitionsOnlyGrow, and what is produced meanwhile goes on.
func TestPartitionsOnlyGrow(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	r, producer := dialRaw(t, addr), dialRaw(t, addr)
	r.create("growing", 2)
	grow := func(count int32, assigned ...[]int32) int16 {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis = 3, 10_000
		ask := kmsg.NewCreatePartitionsRequestTopic()
		ask.Topic, ask.Count = "growing", count
		for _, replicas := range assigned {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = replicas
			ask.Assignment = append(ask.Assignment, a)
		}
		req.Topics = append(req.Topics, ask)
		return call[*kmsg.CreatePartitionsResponse](r, req).Topics[0].ErrorCode
	}
	done := make(chan int)
	stop := make(chan struct{})
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			default:
				if p := producer.produce("growing", plain("x")); p.ErrorCode != 0 || p.BaseOffset != int64(n) {
					t.Errorf("record %d: offset %d, %v", n, p.BaseOffset, kerr.ErrorForCode(p.ErrorCode))
				}
			}
		}
	}()
	wantCode(t, "as many", grow(2), kerr.InvalidPartitions)
	wantCode(t, "fewer", grow(1), kerr.InvalidPartitions)
	wantCode(t, "negative", grow(-1), kerr.InvalidPartitions)
	wantCode(t, "far too many", grow(2_000_000), kerr.PolicyViolation)
	wantCode(t, "too few assigned", grow(4, []int32{1}), kerr.InvalidReplicaAssignment)
	wantCode(t, "assigned to a stranger", grow(3, []int32{7}), kerr.InvalidReplicaAssignment)
	wantCode(t, "one more", grow(3, []int32{1}), nil)
	wantCode(t, "many more", grow(20), nil)
	close(stop) // the producer counts on its offsets
	<-done
	for i := range int32(20) {
		p := call[*kmsg.ProduceResponse](r, produceTo("growing", i, 11, plain("y"))).Topics[0].Partitions[0]
		wantCode(t, fmt.Sprintf("produce to partition %d at once", i), p.ErrorCode, nil)
	}
}

func TestTheSizeOfATopicIsDescribed(t *testing.T) {
	r := startRaw(t, nil)
	r.create("sized", 2)
	batch := plain(strings.Repeat("x", 1000))
	r.mustProduce("sized", append([]byte(nil), batch...))
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version = 4
	dirs := call[*kmsg.DescribeLogDirsResponse](r, req).Dirs
	if len(dirs) != 1 || dirs[0].ErrorCode != 0 {
		t.Fatalf("%+v", dirs)
	}
	sizes := map[int32]int64{}
	for _, topic := range dirs[0].Topics {
		for _, p := range topic.Partitions {
			if topic.Topic == "sized" {
				sizes[p.Partition] = p.Size
			}
		}
	}
	if diff := cmp.Diff(map[int32]int64{0: int64(len(batch)), 1: 0}, sizes); diff != "" {
		t.Error(diff)
	}
}
