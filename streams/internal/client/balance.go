package client

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/internal/runtime"
)

// balancer is the group protocol "streams": cooperative, and by task. Its
// metadata is the consumer protocol's, so that tools can read it, with what the
// process has state of as user data; the assignment has copies to keep as its own.
type balancer struct {
	layout  *runtime.Layout
	process string
	wishes  assign.Options
	worker  runtime.Rebalancer
	ends    func(tps []runtime.TP) (map[runtime.TP]int64, error)
	noticed func()
	log     *slog.Logger
}

// userData is what a member tells the leader about its process. Members of
// other versions may leave fields out or add some. Tasks are written as 0_1.
type userData struct {
	Process   string           `json:"process"`
	State     map[string]int64 `json:"state,omitempty"`
	Following []string         `json:"following,omitempty"`
}

// shareData is what the leader tells a member beside its partitions.
type shareData struct {
	Standby []string `json:"standby,omitempty"`
	Warmup  []string `json:"warmup,omitempty"`
	Topics  []string `json:"topics,omitempty"` // that patterns match, and not all members know of
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
	state, following := b.worker.Holds()
	data := userData{Process: b.process, State: map[string]int64{}, Following: names(following)}
	for id, at := range state {
		data.State[id.String()] = at
	}
	if text, err := json.Marshal(data); err == nil {
		meta.UserData = text
	}
	return meta.AppendTo(nil)
}

// ParseSyncAssignment implements kgo.GroupBalancer. It hands the copies to the
// worker; the partitions come when the client says so.
func (b *balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	given, err := kgo.ParseConsumerSyncAssignment(assignment)
	if err != nil {
		return nil, err
	}
	var data shareData
	if text := userDataOf(assignment); len(text) > 0 {
		if err := json.Unmarshal(text, &data); err != nil {
			b.log.Warn("the assignment of copies makes no sense", slog.Any("error", err))
		}
	}
	if len(data.Topics) > 0 {
		b.noticed()
	}
	b.worker.Follow(b.tasks(list(given)), parsed(data.Standby), parsed(data.Warmup))
	return given, nil
}

// MemberBalancer implements kgo.GroupBalancer.
func (b *balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	c, err := kgo.NewConsumerBalancer(b, members)
	return c, c.MemberTopics(), err
}

// Balance implements kgo.ConsumerBalancerBalance. A topic of a pattern counts once
// all members know of it, and each has seen that it fits.
func (b *balancer) Balance(c *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	agreed := maps.Clone(topics)
	c.EachMember(func(_ *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		maps.DeleteFunc(agreed, func(topic string, _ int32) bool {
			return !b.layout.Named(topic) && !slices.Contains(meta.Topics, topic)
		})
	})
	work := b.layout.Work(agreed)
	byID := map[runtime.TaskID][]runtime.TP{}
	for _, w := range work {
		byID[w.ID] = w.Partitions
	}
	var members []assign.Member
	byMember := map[string]*kmsg.JoinGroupResponseMember{}
	c.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		byMember[m.MemberID] = m
		members = append(members, b.member(m, meta))
	})
	p := plan{BalancePlan: c.NewPlan(), shares: assign.Assign(b.toAssign(work, len(members)), members, b.wishes)}
	for topic := range topics {
		if _, ok := agreed[topic]; !ok {
			p.news = append(p.news, topic)
		}
	}
	slices.Sort(p.news)
	for id, share := range p.shares {
		for _, task := range share.Active {
			for _, tp := range byID[task] {
				p.AddPartition(byMember[id], tp.Topic, tp.Partition)
			}
		}
	}
	p.AdjustCooperative(c)
	return p
}

// toAssign returns the tasks with where their changelogs end. If that cannot be
// told, or there is nobody to choose between, tasks stay where they are.
func (b *balancer) toAssign(work []runtime.Work, members int) []assign.Task {
	var logs []runtime.TP
	for _, w := range work {
		logs = append(logs, b.layout.Changelogs(w.ID)...)
	}
	var ends map[runtime.TP]int64
	if len(logs) > 0 && members > 1 {
		var err error
		if ends, err = b.ends(logs); err != nil {
			b.log.Warn("tasks are assigned without knowing where changelogs end", slog.Any("error", err))
		}
	}
	tasks := make([]assign.Task, 0, len(work))
	for _, w := range work {
		t := assign.Task{ID: w.ID}
		for _, tp := range b.layout.Changelogs(w.ID) {
			t.Stateful = true
			t.End += ends[tp]
		}
		tasks = append(tasks, t)
	}
	return tasks
}

func (b *balancer) member(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) assign.Member {
	member := assign.Member{ID: m.MemberID, Process: m.MemberID, Generation: meta.Generation, State: map[runtime.TaskID]int64{}}
	var data userData
	if json.Unmarshal(meta.UserData, &data) == nil && data.Process != "" {
		member.Process, member.Following = data.Process, parsed(data.Following)
		for name, at := range data.State {
			if id, ok := runtime.ParseTaskID(name); ok {
				member.State[id] = at
			}
		}
	}
	var owned []runtime.TP
	for _, t := range meta.OwnedPartitions {
		for _, p := range t.Partitions {
			owned = append(owned, runtime.TP{Topic: t.Topic, Partition: p})
		}
	}
	member.Owned = b.tasks(owned)
	return member
}

// tasks returns the tasks that read partitions, each once.
func (b *balancer) tasks(tps []runtime.TP) (ids []runtime.TaskID) {
	for _, tp := range tps {
		if id, ok := b.layout.Task(tp); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// plan is the partitions of each member, with its copies and news beside them.
type plan struct {
	*kgo.BalancePlan
	shares map[string]assign.Share
	news   []string // topics that not all members know of
}

// IntoSyncAssignment implements kgo.IntoSyncAssignment.
func (p plan) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	all := p.BalancePlan.IntoSyncAssignment()
	for i := range all {
		share := p.shares[all[i].MemberID]
		if len(share.Standby)+len(share.Warmup)+len(p.news) == 0 {
			continue
		}
		if text, err := json.Marshal(shareData{names(share.Standby), names(share.Warmup), p.news}); err == nil {
			body := all[i].MemberAssignment
			body = body[:len(body)-4] // user data comes last, and the plan has none
			body = binary.BigEndian.AppendUint32(body, uint32(len(text)))
			all[i].MemberAssignment = append(body, text...)
		}
	}
	return all
}

// userDataOf returns the user data of an assignment of the consumer protocol, nil
// if there is none: version, topics with their partitions, and then user data.
func userDataOf(assignment []byte) []byte {
	rest := assignment
	ok := true
	take := func(n int) []byte {
		if ok = ok && n >= 0 && n <= len(rest); !ok {
			return make([]byte, 4)
		}
		head := rest[:n]
		rest = rest[n:]
		return head
	}
	count := func() int { return int(int32(binary.BigEndian.Uint32(take(4)))) }
	take(2)
	for range count() {
		take(int(binary.BigEndian.Uint16(take(2))))
		if take(4 * count()); !ok {
			return nil
		}
	}
	if n := count(); n > 0 {
		if text := take(n); ok {
			return text
		}
	}
	return nil
}

func names(ids []runtime.TaskID) (all []string) {
	for _, id := range ids {
		all = append(all, id.String())
	}
	return all
}

// parsed returns the tasks that are named, without what is no name of a task.
func parsed(names []string) (ids []runtime.TaskID) {
	for _, name := range names {
		if id, ok := runtime.ParseTaskID(name); ok {
			ids = append(ids, id)
		}
	}
	return ids
}
