package client

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// balancer is the group protocol "streams": cooperative, and by task. Its
// metadata is the consumer protocol's, so that tools can read it, with what the
// process has stored as user data.
type balancer struct {
	layout  *runtime.Layout
	process string
	stored  []runtime.TaskID
}

// userData is what a member tells the leader about its process. Members of
// other versions may leave fields out or add some.
type userData struct {
	Process string           `json:"process"`
	Stored  []runtime.TaskID `json:"stored,omitempty"`
}

// ProtocolName implements kgo.GroupBalancer.
func (*balancer) ProtocolName() string { return "streams" }

// IsCooperative implements kgo.GroupBalancer.
func (*balancer) IsCooperative() bool { return true }

// JoinGroupMetadata implements kgo.GroupBalancer.
func (b *balancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics = topics
	meta.Generation = generation
	for topic, partitions := range owned {
		p := kmsg.NewConsumerMemberMetadataOwnedPartition()
		p.Topic, p.Partitions = topic, partitions
		meta.OwnedPartitions = append(meta.OwnedPartitions, p)
	}
	slices.SortFunc(meta.OwnedPartitions, func(x, y kmsg.ConsumerMemberMetadataOwnedPartition) int {
		return cmp.Compare(x.Topic, y.Topic)
	})
	if data, err := json.Marshal(userData{b.process, b.stored}); err == nil {
		meta.UserData = data
	}
	return meta.AppendTo(nil)
}

// ParseSyncAssignment implements kgo.GroupBalancer.
func (*balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(assignment)
}

// MemberBalancer implements kgo.GroupBalancer.
func (b *balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	c, err := kgo.NewConsumerBalancer(b, members)
	return c, c.MemberTopics(), err
}

// Balance implements kgo.ConsumerBalancerBalance.
func (b *balancer) Balance(c *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	work := b.layout.Work(topics)
	tasks := make([]runtime.TaskID, 0, len(work))
	byID := map[runtime.TaskID][]runtime.TP{}
	for _, w := range work {
		tasks = append(tasks, w.ID)
		byID[w.ID] = w.Partitions
	}
	var members []runtime.Member
	byMember := map[string]*kmsg.JoinGroupResponseMember{}
	c.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		byMember[m.MemberID] = m
		members = append(members, b.member(m, meta))
	})
	plan := c.NewPlan()
	for id, given := range runtime.Assign(tasks, members) {
		for _, task := range given {
			for _, tp := range byID[task] {
				plan.AddPartition(byMember[id], tp.Topic, tp.Partition)
			}
		}
	}
	plan.AdjustCooperative(c)
	return plan
}

func (b *balancer) member(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) runtime.Member {
	member := runtime.Member{ID: m.MemberID, Process: m.MemberID, Generation: meta.Generation}
	var data userData
	if json.Unmarshal(meta.UserData, &data) == nil && data.Process != "" {
		member.Process, member.Stored = data.Process, data.Stored
	}
	seen := map[runtime.TaskID]bool{}
	for _, t := range meta.OwnedPartitions {
		for _, p := range t.Partitions {
			id, ok := b.layout.Task(runtime.TP{Topic: t.Topic, Partition: p})
			if ok && !seen[id] {
				seen[id] = true
				member.Owned = append(member.Owned, id)
			}
		}
	}
	return member
}
