package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func joinOf(group, member string, instance *string, protocols ...string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.ProtocolType = group, member, instance, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30_000, 1000
	for _, name := range protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, []byte{0, 1, 0, 0, 0, 1, 0, 6, 'g', 'r', 'o', 'u', 'p', 's', 0, 0, 0, 0}
		req.Protocols = append(req.Protocols, p)
	}
	return req
}

// member is the member id of the side's last successful or promised join.
func member(s *side) string { return s.text["member"] }

func (d *duel) join(what string, v int16, build func(s *side) kmsg.Request) {
	k, w := d.do(what, v, build)
	both(d, k, w, func(s *side, r *kmsg.JoinGroupResponse) {
		s.text["member"], s.number["generation"] = r.MemberID, int64(r.Generation)
	})
}

func syncOf(s *side, group string, generation int32) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = group, member(s), generation
	req.ProtocolType, req.Protocol = new("consumer"), new("range")
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = member(s), []byte("mine")
	req.GroupAssignment = append(req.GroupAssignment, a)
	return req
}

func beatOf(group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	return req
}

func leaveOf(group string, members ...string) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, m := range members {
		req.MemberID = m
		lm := kmsg.NewLeaveGroupRequestMember()
		lm.MemberID = m
		req.Members = append(req.Members, lm)
	}
	return req
}

func diffGroups(d *duel) {
	d.topic("groups", 2)
	d.awaitGroups()
	d.each(kmsg.FindCoordinator, func(v int16) {
		for _, kind := range []int8{0, 1, 2, 5, -1} {
			for _, key := range []string{"g", ""} {
				d.do(fmt.Sprintf("type %d key %q", kind, key), v, same(&kmsg.FindCoordinatorRequest{CoordinatorType: kind, CoordinatorKey: key, CoordinatorKeys: []string{key}}))
			}
		}
		d.do("none", v, same(&kmsg.FindCoordinatorRequest{}))
		d.do("two and one again", v, same(&kmsg.FindCoordinatorRequest{CoordinatorKey: "a", CoordinatorKeys: []string{"a", "b", "a"}}))
	})
	d.each(kmsg.JoinGroup, d.life)
	d.each(kmsg.JoinGroup, d.badJoins)
	d.each(kmsg.SyncGroup, func(v int16) {
		d.do("unknown group", v, func(s *side) kmsg.Request { return syncOf(s, "nobody", 1) })
		d.do("no group", v, func(s *side) kmsg.Request { return syncOf(s, "", 1) })
	})
	d.each(kmsg.Heartbeat, func(v int16) {
		d.do("unknown group", v, same(beatOf("nobody", "x", 1)))
		d.do("no group", v, same(beatOf("", "x", 1)))
	})
	d.each(kmsg.LeaveGroup, func(v int16) {
		d.do("unknown group", v, same(leaveOf("nobody", "x")))
		d.do("no group", v, same(leaveOf("", "x")))
		d.do("nobody leaves", v, same(leaveOf("nobody")))
	})
	d.each(kmsg.DescribeGroups, func(v int16) {
		d.do("unknown, empty and none", v, same(&kmsg.DescribeGroupsRequest{Groups: []string{"nobody", "", "life-5"}}))
		d.do("with operations", v, same(&kmsg.DescribeGroupsRequest{Groups: []string{"life-5", "nobody"}, IncludeAuthorizedOperations: true}))
		d.do("nothing", v, same(&kmsg.DescribeGroupsRequest{}))
	})
	d.each(kmsg.ListGroups, func(v int16) {
		d.do("all", v, same(&kmsg.ListGroupsRequest{}))
		d.do("empty ones", v, same(&kmsg.ListGroupsRequest{StatesFilter: []string{"Empty"}}))
		d.do("lower case", v, same(&kmsg.ListGroupsRequest{StatesFilter: []string{"empty"}}))
		d.do("unknown state", v, same(&kmsg.ListGroupsRequest{StatesFilter: []string{"Odd"}}))
		d.do("classic", v, same(&kmsg.ListGroupsRequest{TypesFilter: []string{"classic"}}))
		d.do("consumer", v, same(&kmsg.ListGroupsRequest{TypesFilter: []string{"consumer"}}))
		d.do("unknown type", v, same(&kmsg.ListGroupsRequest{TypesFilter: []string{"odd"}}))
	})
	d.each(kmsg.OffsetDelete, d.offsetDelete)
	d.each(kmsg.DeleteGroups, func(v int16) {
		d.do("one that is, one that is not, none", v, same(&kmsg.DeleteGroupsRequest{Groups: []string{fmt.Sprintf("life-%d", v), "nobody", ""}}))
		d.do("again", v, same(&kmsg.DeleteGroupsRequest{Groups: []string{fmt.Sprintf("life-%d", v)}}))
		d.do("twice", v, same(&kmsg.DeleteGroupsRequest{Groups: []string{"twice", "twice"}}))
		d.do("nothing", v, same(&kmsg.DeleteGroupsRequest{}))
	})
}

// awaitGroups waits until both sides coordinate groups.
func (d *duel) awaitGroups() {
	d.t.Helper()
	for _, s := range []*side{d.kafka, d.weir} {
		waitFor(d.t, s.name+" to coordinate groups", func() bool {
			find, ok := s.send(&kmsg.FindCoordinatorRequest{Version: 2, CoordinatorKey: "g"}).(*kmsg.FindCoordinatorResponse)
			if !ok || find.ErrorCode != 0 {
				return false
			}
			beat, ok := s.send(&kmsg.HeartbeatRequest{Version: 3, Group: "g", MemberID: "x"}).(*kmsg.HeartbeatResponse)
			return ok && beat.ErrorCode == 25 // UNKNOWN_MEMBER_ID
		})
	}
}

// awaitGroup waits until Kafka describes a new group, which it answers joins of before.
func (d *duel) awaitGroup(name string) {
	d.t.Helper()
	waitFor(d.t, "Kafka to describe "+name, func() bool {
		resp, ok := d.kafka.send(&kmsg.DescribeGroupsRequest{Version: 4, Groups: []string{name}}).(*kmsg.DescribeGroupsResponse)
		return ok && resp.Groups[0].State != "Dead"
	})
}

// life takes a group through join, sync, heartbeat, commit, rejoin and leave.
func (d *duel) life(v int16) {
	group := fmt.Sprintf("life-%d", v)
	join, sync, beat := v, d.clip(kmsg.SyncGroup, v), d.clip(kmsg.Heartbeat, v)
	describe, leave := d.clip(kmsg.DescribeGroups, v), d.clip(kmsg.LeaveGroup, v)
	d.join("first join", join, same(joinOf(group, "", nil, "range", "roundrobin")))
	if v >= 4 {
		d.awaitGroup(group)
		d.do("describe a promised member", describe, same(&kmsg.DescribeGroupsRequest{Groups: []string{group}}))
		d.join("second join", join, func(s *side) kmsg.Request { return joinOf(group, member(s), nil, "range", "roundrobin") })
	}
	d.awaitGroup(group)
	d.do("describe before sync", describe, same(&kmsg.DescribeGroupsRequest{Groups: []string{group}}))
	d.do("heartbeat before sync", beat, func(s *side) kmsg.Request { return beatOf(group, member(s), 1) })
	d.do("commit before sync", d.clip(kmsg.OffsetCommit, v), func(s *side) kmsg.Request { return commitOf(s, group, member(s), 1, 0, 5, nil) })
	d.do("sync of a wrong generation", sync, func(s *side) kmsg.Request { return syncOf(s, group, 7) })
	d.do("sync with another protocol", sync, func(s *side) kmsg.Request {
		r := syncOf(s, group, 1)
		r.Protocol = new("sticky")
		return r
	})
	d.do("sync with another type", sync, func(s *side) kmsg.Request {
		r := syncOf(s, group, 1)
		r.ProtocolType = new("connect")
		return r
	})
	d.do("sync", sync, func(s *side) kmsg.Request { return syncOf(s, group, 1) })
	d.do("sync again", sync, func(s *side) kmsg.Request { return syncOf(s, group, 1) })
	d.do("describe stable", describe, same(&kmsg.DescribeGroupsRequest{Groups: []string{group, group}}))
	for _, generation := range []int32{1, 0, 2, -1} {
		d.do(fmt.Sprintf("heartbeat %d", generation), beat, func(s *side) kmsg.Request { return beatOf(group, member(s), generation) })
	}
	d.do("heartbeat of a stranger", beat, same(beatOf(group, "stranger", 1)))
	d.do("heartbeat of nobody", beat, same(beatOf(group, "", 1)))
	d.do("heartbeat with an instance", beat, func(s *side) kmsg.Request {
		r := beatOf(group, member(s), 1)
		r.InstanceID = new("i")
		return r
	})
	d.offsets(group)
	d.join("leader joins again", join, func(s *side) kmsg.Request { return joinOf(group, member(s), nil, "range") })
	d.do("heartbeat while rebalancing", beat, func(s *side) kmsg.Request { return beatOf(group, member(s), 2) })
	d.do("sync 2", sync, func(s *side) kmsg.Request { return syncOf(s, group, 2) })
	d.join("joins with the same protocols", join, func(s *side) kmsg.Request { return joinOf(group, member(s), nil, "range") })
	d.do("delete a group in use", d.clip(kmsg.DeleteGroups, v), same(&kmsg.DeleteGroupsRequest{Groups: []string{group}}))
	d.do("a stranger leaves", leave, same(leaveOf(group, "stranger")))
	d.do("leave", leave, func(s *side) kmsg.Request { return leaveOf(group, member(s)) })
	d.do("leave again", leave, func(s *side) kmsg.Request { return leaveOf(group, member(s)) })
	d.do("describe empty", describe, same(&kmsg.DescribeGroupsRequest{Groups: []string{group}}))
	if v >= 5 {
		d.static(v, group+"-static")
	}
}

func (d *duel) static(v int16, group string) {
	join, sync, leave := v, d.clip(kmsg.SyncGroup, v), d.clip(kmsg.LeaveGroup, v)
	describe := d.clip(kmsg.DescribeGroups, v)
	d.join("static join", join, same(joinOf(group, "", new("one"), "range")))
	d.do("static sync", sync, func(s *side) kmsg.Request {
		r := syncOf(s, group, 1)
		r.InstanceID = new("one")
		return r
	})
	old := map[string]string{}
	for _, s := range []*side{d.kafka, d.weir} {
		old[s.name] = member(s)
	}
	d.join("the instance comes back", join, same(joinOf(group, "", new("one"), "range")))
	d.do("describe static", describe, same(&kmsg.DescribeGroupsRequest{Groups: []string{group}}))
	d.do("the old member is fenced", d.clip(kmsg.Heartbeat, v), func(s *side) kmsg.Request {
		r := beatOf(group, old[s.name], 1)
		r.InstanceID = new("one")
		return r
	})
	d.do("the old member joins", join, func(s *side) kmsg.Request { return joinOf(group, old[s.name], new("one"), "range") })
	d.do("the old member commits", d.clip(kmsg.OffsetCommit, v), func(s *side) kmsg.Request {
		r := commitOf(s, group, old[s.name], 1, 0, 3, nil)
		r.InstanceID = new("one")
		return r
	})
	d.do("an unknown instance leaves", leave, func(s *side) kmsg.Request {
		r := leaveOf(group, "")
		r.Members[0].InstanceID = new("two")
		return r
	})
	d.do("the instance leaves", leave, func(s *side) kmsg.Request {
		r := leaveOf(group, "")
		r.Members[0].InstanceID = new("one")
		return r
	})
}

func (d *duel) badJoins(v int16) {
	group := fmt.Sprintf("bad-%d", v)
	cases := map[string]func(r *kmsg.JoinGroupRequest){
		"no group":                 func(r *kmsg.JoinGroupRequest) { r.Group = "" },
		"session too short":        func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 },
		"session too long":         func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 },
		"no protocols":             func(r *kmsg.JoinGroupRequest) { r.Protocols = nil },
		"no type":                  func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" },
		"an unknown member":        func(r *kmsg.JoinGroupRequest) { r.MemberID = "stranger" },
		"an instance with a slash": func(r *kmsg.JoinGroupRequest) { r.InstanceID = new("a/b") },
		"an empty instance":        func(r *kmsg.JoinGroupRequest) { r.InstanceID = new("") },
	}
	for _, name := range []string{"no group", "session too short", "session too long", "no protocols", "no type", "an unknown member", "an instance with a slash", "an empty instance"} {
		if v < 5 && (name == "an instance with a slash" || name == "an empty instance") {
			continue
		}
		d.do(name, v, func(*side) kmsg.Request {
			r := joinOf(group, "", nil, "range")
			cases[name](r)
			return r
		})
	}
}

func commitOf(s *side, group, member string, generation, partition int32, offset int64, metadata *string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = "groups", s.ids["groups"]
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = partition, offset, metadata
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// offsets commits and reads, as the member of generation 1 and without a group.
func (d *duel) offsets(group string) {
	d.each(kmsg.OffsetCommit, func(v int16) {
		commit := func(what string, change func(s *side, r *kmsg.OffsetCommitRequest)) {
			d.do(what, v, func(s *side) kmsg.Request {
				r := commitOf(s, group, member(s), 1, 0, int64(v), new("note"))
				if change != nil {
					change(s, r)
				}
				return r
			})
		}
		commit("commit", nil)
		commit("wrong generation", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Generation = 9 })
		commit("stranger", func(_ *side, r *kmsg.OffsetCommitRequest) { r.MemberID = "stranger" })
		commit("no member while there are members", func(_ *side, r *kmsg.OffsetCommitRequest) { r.MemberID, r.Generation = "", -1 })
		commit("no metadata", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = nil })
		commit("a long note", func(_ *side, r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Partitions[0].Metadata = new(fmt.Sprintf("%5000d", 1))
		})
		commit("negative offset", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Offset = -1 })
		commit("unknown topic", func(_ *side, r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Topic, r.Topics[0].TopicID = "nowhere", [16]byte{15: 9}
		})
		commit("unknown partition", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 7 })
		commit("no topics", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Topics = nil })
		commit("no group", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Group, r.MemberID, r.Generation = "", "", -1 })
		commit("an unknown group", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Group = "nobody" })
		commit("alone", func(_ *side, r *kmsg.OffsetCommitRequest) { r.Group, r.MemberID, r.Generation = "alone", "", -1 })
	})
	d.each(kmsg.OffsetFetch, func(v int16) {
		fetch := func(what, group string, all bool, topics map[string][]int32) {
			d.do(what, v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrOffsetFetchRequest()
				r.Group = group
				g := kmsg.NewOffsetFetchRequestGroup()
				g.Group = group
				if !all {
					r.Topics, g.Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
				}
				for topic, parts := range topics {
					t := kmsg.NewOffsetFetchRequestTopic()
					t.Topic, t.Partitions = topic, parts
					r.Topics = append(r.Topics, t)
					gt := kmsg.NewOffsetFetchRequestGroupTopic()
					gt.Topic, gt.TopicID, gt.Partitions = topic, s.ids[topic], parts
					g.Topics = append(g.Topics, gt)
				}
				r.Groups = append(r.Groups, g)
				return r
			})
		}
		fetch("offsets", group, false, map[string][]int32{"groups": {0, 1, 9}})
		fetch("unknown topic", group, false, map[string][]int32{"nowhere": {0}})
		fetch("no topics", group, false, nil)
		fetch("unknown group", "nobody", false, map[string][]int32{"groups": {0}})
		fetch("no group", "", false, map[string][]int32{"groups": {0}})
		fetch("alone", "alone", false, map[string][]int32{"groups": {0}})
		if v >= 2 {
			fetch("all", group, true, nil)
			fetch("all of an unknown group", "nobody", true, nil)
		}
		if v >= 8 {
			d.do("two groups", v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrOffsetFetchRequest()
				r.RequireStable = true
				for _, name := range []string{group, "nobody", group} {
					g := kmsg.NewOffsetFetchRequestGroup()
					g.Group = name
					r.Groups = append(r.Groups, g)
				}
				return r
			})
			d.do("no groups", v, same(&kmsg.OffsetFetchRequest{}))
		}
	})
}

func (d *duel) offsetDelete(v int16) {
	of := func(group, topic string, partitions ...int32) func(*side) kmsg.Request {
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = group
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = topic
		for _, n := range partitions {
			p := kmsg.NewOffsetDeleteRequestTopicPartition()
			p.Partition = n
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
		return same(r)
	}
	d.do("unknown group", v, of("nobody", "groups", 0))
	d.do("no group", v, of("", "groups", 0))
	d.do("without members", v, of("alone", "groups", 0, 1))
	d.do("unknown partition", v, of("alone", "groups", 9))
	d.do("unknown topic", v, of("alone", "nowhere", 0))
	d.do("nothing", v, same(&kmsg.OffsetDeleteRequest{Group: "alone"}))
	d.do("no partitions", v, of("alone", "groups"))
	join := d.last(kmsg.JoinGroup)
	d.join("first join", join, same(joinOf("subscribed", "", nil, "range")))
	d.join("second join", join, func(s *side) kmsg.Request { return joinOf("subscribed", member(s), nil, "range") })
	d.do("sync", 5, func(s *side) kmsg.Request { return syncOf(s, "subscribed", 1) })
	d.do("a topic that members read", v, of("subscribed", "groups", 0))
	d.do("leave", 5, func(s *side) kmsg.Request { return leaveOf("subscribed", member(s)) })
}
