package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
)

func joinOf(group string, instance *string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.InstanceID = 9, group, instance
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 10_000, 10_000, "consumer"
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"subscribed"}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

// stable makes a group of one member that has the assignment "mine".
func stable(r *raw, group string, instance *string) (member string, generation int32) {
	r.t.Helper()
	join := joinOf(group, instance)
	joined := call[*kmsg.JoinGroupResponse](r, join)
	if is(joined.ErrorCode, kerr.MemberIDRequired) {
		join.MemberID = joined.MemberID
		joined = call[*kmsg.JoinGroupResponse](r, join)
	}
	wantCode(r.t, "join "+group, joined.ErrorCode, nil)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation, sync.InstanceID = 5, group, joined.MemberID, joined.Generation, instance
	sync.ProtocolType, sync.Protocol = joined.ProtocolType, joined.Protocol
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = joined.MemberID, []byte("mine")
	sync.GroupAssignment = append(sync.GroupAssignment, a)
	synced := call[*kmsg.SyncGroupResponse](r, sync)
	wantCode(r.t, "sync "+group, synced.ErrorCode, nil)
	if string(synced.MemberAssignment) != "mine" {
		r.t.Errorf("assignment %q", synced.MemberAssignment)
	}
	return joined.MemberID, joined.Generation
}

func commitOf(group, member string, generation int32, topic string, offset int64, metadata string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 8, group, member, generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata, p.LeaderEpoch = offset, &metadata, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (r *raw) commit(req *kmsg.OffsetCommitRequest) int16 {
	r.t.Helper()
	return call[*kmsg.OffsetCommitResponse](r, req).Topics[0].Partitions[0].ErrorCode
}

func (r *raw) heartbeat(group, member string, generation int32, instance *string) int16 {
	r.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation, req.InstanceID = 4, group, member, generation, instance
	return call[*kmsg.HeartbeatResponse](r, req).ErrorCode
}

// TestWhoMayCommit: each row is a commit and what the coordinator says to it.
func TestWhoMayCommit(t *testing.T) {
	r := startRaw(t, nil)
	r.create("subscribed", 1)
	coordinate(r, "live")
	coordinate(r, "alone")
	member, generation := stable(r, "live", nil)
	odd := strings.Repeat("é", 2000)
	rows := []struct {
		rule string
		req  *kmsg.OffsetCommitRequest
		want error
	}{
		{"a member", commitOf("live", member, generation, "subscribed", 1, ""), nil},
		{"a stranger of a live group", commitOf("live", "", -1, "subscribed", 1, ""), kerr.UnknownMemberID},
		{"an unknown member", commitOf("live", "nobody", generation, "subscribed", 1, ""), kerr.UnknownMemberID},
		{"an old generation", commitOf("live", member, generation-1, "subscribed", 1, ""), kerr.IllegalGeneration},
		{"an unknown topic", commitOf("live", member, generation, "nowhere", 1, ""), kerr.UnknownTopicOrPartition},
		{"somebody who assigns by hand", commitOf("alone", "", -1, "subscribed", 7, odd), nil},
		{"metadata too large", commitOf("alone", "", -1, "subscribed", 8, strings.Repeat("x", 4097)), kerr.OffsetMetadataTooLarge},
		{"a generation of a group that is not there", commitOf("nobody", "", 3, "subscribed", 1, ""), kerr.IllegalGeneration},
		{"no group", commitOf("", "", -1, "subscribed", 1, ""), nil},
		{"a group id that is no text", commitOf("\xff\xfe", "", -1, "subscribed", 1, ""), kerr.InvalidGroupID},
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) { wantCode(t, "commit", r.commit(row.req), row.want) })
	}
	r.fetchesOffset("alone", 7, odd)
}

// fetchesOffset asks for the offset of "subscribed" in every version there is.
func (r *raw) fetchesOffset(group string, want int64, metadata string) {
	r.t.Helper()
	md := r.metadata("subscribed", false)
	for version := int16(1); version <= 10; version++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version = version
		if version < 8 {
			req.Group = group
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "subscribed", Partitions: []int32{0}}}
		} else {
			g := kmsg.NewOffsetFetchRequestGroup()
			top := kmsg.NewOffsetFetchRequestGroupTopic()
			top.Topic, top.TopicID, top.Partitions = "subscribed", md.TopicID, []int32{0}
			g.Group, g.Topics = group, append(g.Topics, top)
			req.Groups = append(req.Groups, g)
		}
		resp := call[*kmsg.OffsetFetchResponse](r, req)
		var offset int64
		var text *string
		var codes [3]int16
		if version < 8 {
			p := resp.Topics[0].Partitions[0]
			offset, text, codes = p.Offset, p.Metadata, [3]int16{resp.ErrorCode, p.ErrorCode}
		} else {
			p := resp.Groups[0].Topics[0].Partitions[0]
			offset, text, codes = p.Offset, p.Metadata, [3]int16{resp.ErrorCode, resp.Groups[0].ErrorCode, p.ErrorCode}
		}
		if offset != want || text == nil || *text != metadata || codes != [3]int16{} {
			r.t.Errorf("version %d of %s: offset %d, metadata %v, codes %v; want %d", version, group, offset, text, codes, want)
		}
	}
}

func TestAGroupThatNeverWasHasReadNothing(t *testing.T) {
	r := startRaw(t, nil)
	r.create("subscribed", 1)
	coordinate(r, "never")
	r.fetchesOffset("never", -1, "")
	wantCode(t, "heartbeat", r.heartbeat("never", "m", 0, nil), kerr.UnknownMemberID)
	d := kmsg.NewPtrDeleteGroupsRequest()
	d.Version, d.Groups = 2, []string{"never"}
	wantCode(t, "delete", call[*kmsg.DeleteGroupsResponse](r, d).Groups[0].ErrorCode, kerr.GroupIDNotFound)
}

// TestJoiningIsHeldToTheRules of ids, sessions and protocols.
func TestJoiningIsHeldToTheRules(t *testing.T) {
	r := startRaw(t, map[string]string{"group.max.size": "1"})
	r.create("subscribed", 1)
	coordinate(r, "g")
	stable(r, "g", nil)
	rows := []struct {
		rule   string
		change func(*kmsg.JoinGroupRequest)
		want   error
	}{
		{"no group id", func(j *kmsg.JoinGroupRequest) { j.Group = "" }, kerr.InvalidGroupID},
		{"a group id that is no text", func(j *kmsg.JoinGroupRequest) { j.Group = "\xff" }, kerr.InvalidGroupID},
		{"session too short", func(j *kmsg.JoinGroupRequest) { j.SessionTimeoutMillis = 5999 }, kerr.InvalidSessionTimeout},
		{"session too long", func(j *kmsg.JoinGroupRequest) { j.SessionTimeoutMillis = 1_800_001 }, kerr.InvalidSessionTimeout},
		{"session negative", func(j *kmsg.JoinGroupRequest) { j.SessionTimeoutMillis = -1 }, kerr.InvalidSessionTimeout},
		{"no protocols", func(j *kmsg.JoinGroupRequest) { j.Group, j.Protocols = "new", nil }, kerr.InconsistentGroupProtocol},
		{"no protocol type", func(j *kmsg.JoinGroupRequest) { j.Group, j.ProtocolType = "new", "" }, kerr.InconsistentGroupProtocol},
		{"a member nobody knows", func(j *kmsg.JoinGroupRequest) { j.Group, j.MemberID = "new", "nobody" }, kerr.UnknownMemberID},
		{"an instance id that is no text", func(j *kmsg.JoinGroupRequest) { id := "\xff"; j.InstanceID = &id }, kerr.InvalidRequest},
		{"the group is full", func(*kmsg.JoinGroupRequest) {}, kerr.GroupMaxSizeReached},
		{"first without an id", func(j *kmsg.JoinGroupRequest) { j.Group = "new" }, kerr.MemberIDRequired},
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			j := joinOf("g", nil)
			row.change(j)
			wantCode(t, "join", call[*kmsg.JoinGroupResponse](r, j).ErrorCode, row.want)
		})
	}
}

// TestAStaticMemberSurvivesTheBroker: members, generation and assignment come back from the log, a
// new incarnation of the instance takes the old one's place without a rebalance.
func TestAStaticMemberSurvivesTheBroker(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	r := dialRaw(t, addr)
	r.create("subscribed", 1)
	coordinate(r, "fixed")
	instance := "i-1"
	member, generation := stable(r, "fixed", &instance)
	commit := commitOf("fixed", member, generation, "subscribed", 5, "m")
	commit.InstanceID = &instance
	wantCode(t, "commit", r.commit(commit), nil)
	stop()

	addr, _, _ = start(t, broker.Config{Dir: dir})
	r = dialRaw(t, addr)
	coordinate(r, "fixed")
	wantCode(t, "heartbeat after a restart", r.heartbeat("fixed", member, generation, &instance), nil)
	r.fetchesOffset("fixed", 5, "m")
	joined := call[*kmsg.JoinGroupResponse](r, joinOf("fixed", &instance))
	wantCode(t, "join again", joined.ErrorCode, nil)
	if joined.Generation != generation || joined.MemberID == member {
		t.Errorf("generation %d, want %d; member %s", joined.Generation, generation, joined.MemberID)
	}
	wantCode(t, "the old incarnation", r.heartbeat("fixed", member, generation, &instance), kerr.FencedInstanceID)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation, sync.InstanceID = 5, "fixed", joined.MemberID, generation, &instance
	sync.ProtocolType, sync.Protocol = joined.ProtocolType, joined.Protocol
	if synced := call[*kmsg.SyncGroupResponse](r, sync); synced.ErrorCode != 0 || string(synced.MemberAssignment) != "mine" {
		t.Errorf("assignment %q, %v", synced.MemberAssignment, kerr.ErrorForCode(synced.ErrorCode))
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group = 5, "fixed"
	who := kmsg.NewLeaveGroupRequestMember()
	who.InstanceID = &instance
	leave.Members = append(leave.Members, who)
	wantCode(t, "leave by instance", call[*kmsg.LeaveGroupResponse](r, leave).Members[0].ErrorCode, nil)
	d := kmsg.NewPtrDescribeGroupsRequest()
	d.Version, d.Groups = 5, []string{"fixed"}
	if state := call[*kmsg.DescribeGroupsResponse](r, d).Groups[0].State; state != "Empty" {
		t.Errorf("state %s", state)
	}
}

// TestOffsetsOfALiveSubscriptionStay, others can be deleted, and a group once it is empty.
func TestOffsetsOfALiveSubscriptionStay(t *testing.T) {
	r := startRaw(t, nil)
	r.create("subscribed", 1)
	r.create("other", 1)
	coordinate(r, "g")
	member, generation := stable(r, "g", nil)
	for _, topic := range []string{"subscribed", "other"} {
		wantCode(t, "commit", r.commit(commitOf("g", member, generation, topic, 1, "")), nil)
	}
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = "g"
	for _, topic := range []string{"subscribed", "other"} {
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		top := kmsg.NewOffsetDeleteRequestTopic()
		top.Topic, top.Partitions = topic, append(top.Partitions, p)
		req.Topics = append(req.Topics, top)
	}
	resp := call[*kmsg.OffsetDeleteResponse](r, req)
	wantCode(t, "offset of a subscribed topic", resp.Topics[0].Partitions[0].ErrorCode, kerr.GroupSubscribedToTopic)
	wantCode(t, "offset of another", resp.Topics[1].Partitions[0].ErrorCode, nil)
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Version, del.Groups = 2, []string{"g"}
	wantCode(t, "delete a live group", call[*kmsg.DeleteGroupsResponse](r, del).Groups[0].ErrorCode, kerr.NonEmptyGroup)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 1, "g", member
	wantCode(t, "leave", call[*kmsg.LeaveGroupResponse](r, leave).ErrorCode, nil)
	wantCode(t, "delete", call[*kmsg.DeleteGroupsResponse](r, del).Groups[0].ErrorCode, nil)
	r.fetchesOffset("g", -1, "")
}

// TestOffsetsExpire once the group is empty, by the request's own retention where an old version has
// one; a deleted topic takes its offsets along.
func TestOffsetsExpire(t *testing.T) {
	r := startRaw(t, map[string]string{"offsets.retention.check.interval.ms": "20"})
	r.create("subscribed", 1)
	coordinate(r, "g")
	old := commitOf("g", "", -1, "subscribed", 3, "")
	old.Version, old.RetentionTimeMillis = 2, 1
	wantCode(t, "commit", r.commit(old), nil)
	wantCode(t, "commit", r.commit(commitOf("kept", "", -1, "subscribed", 4, "")), nil)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 7, "g"
	for deadline := time.Now().Add(10 * time.Second); ; {
		if len(call[*kmsg.OffsetFetchResponse](r, req).Topics) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the offset does not expire")
		}
	}
	r.fetchesOffset("kept", 4, "")
	r.delete("subscribed")
	r.create("subscribed", 1)
	r.fetchesOffset("kept", -1, "")
}

func TestGroupsAreListedByState(t *testing.T) {
	r := startRaw(t, nil)
	r.create("subscribed", 1)
	coordinate(r, "a")
	stable(r, "a", nil)
	wantCode(t, "commit", r.commit(commitOf("b", "", -1, "subscribed", 1, "")), nil)
	list := func(states, types []string) (out []string) {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = 5, states, types
		for _, g := range call[*kmsg.ListGroupsResponse](r, req).Groups {
			out = append(out, fmt.Sprintf("%s %s %s %s", g.Group, g.GroupState, g.GroupType, g.ProtocolType))
		}
		return out
	}
	rows := []struct {
		states, types []string
		want          []string
	}{
		{nil, nil, []string{"a Stable classic consumer", "b Empty classic "}},
		{[]string{"stable"}, nil, []string{"a Stable classic consumer"}},
		{[]string{"Empty"}, []string{"Classic"}, []string{"b Empty classic "}},
		{nil, []string{"consumer"}, nil},
	}
	for _, row := range rows {
		if diff := cmp.Diff(row.want, list(row.states, row.types)); diff != "" {
			t.Errorf("%v %v: %s", row.states, row.types, diff)
		}
	}
}

func TestFindCoordinatorAnswersEveryKey(t *testing.T) {
	r := startRaw(t, nil)
	for _, row := range []struct {
		kind int8
		want error
	}{{0, nil}, {1, nil}, {2, kerr.InvalidRequest}, {9, kerr.InvalidRequest}} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorType, req.CoordinatorKeys = 4, row.kind, []string{"x", "y", "x"}
		resp := call[*kmsg.FindCoordinatorResponse](r, req)
		if len(resp.Coordinators) != 3 {
			t.Fatalf("type %d: %d answers", row.kind, len(resp.Coordinators))
		}
		for _, c := range resp.Coordinators {
			wantCode(t, fmt.Sprintf("type %d key %s", row.kind, c.Key), c.ErrorCode, row.want)
		}
	}
}
