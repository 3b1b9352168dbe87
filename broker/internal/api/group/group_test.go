package group

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// TestVersions pins the ranges to those of Apache Kafka 4.3.1.
func TestVersions(t *testing.T) {
	c := &cluster{T: t}
	want := map[int16][2]int16{
		8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 28: {0, 5}, 42: {0, 2}, 47: {0, 0},
	}
	got := map[int16][2]int16{}
	for key, r := range c.routes() {
		got[key] = [2]int16{r.Min, r.Max}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// TestLifeOfAMember joins, syncs, commits, fetches and leaves in every version.
func TestLifeOfAMember(t *testing.T) {
	for version := range int16(11) {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				c.load()
				upTo := func(highest int16) int16 { return min(version, highest) }
				j := ask[*kmsg.JoinGroupResponse](c, joinRequest(upTo(9), ""))
				if upTo(9) >= 4 {
					if j.ErrorCode != kerr.MemberIDRequired.Code || !strings.HasPrefix(j.MemberID, "client-") || j.Generation != -1 {
						t.Fatalf("first join: %+v", j)
					}
					j = ask[*kmsg.JoinGroupResponse](c, joinRequest(upTo(9), j.MemberID))
				}
				if j.ErrorCode != 0 || j.Generation != 1 || j.LeaderID != j.MemberID || len(j.Members) != 1 || *j.Protocol != "range" {
					t.Fatalf("join: %+v", j)
				}
				if upTo(9) >= 7 && *j.ProtocolType != "consumer" {
					t.Errorf("protocol type %v", j.ProtocolType)
				}
				s := at(kmsg.NewPtrSyncGroupRequest(), upTo(5))
				s.Group, s.MemberID, s.Generation = "g", j.MemberID, 1
				s.ProtocolType, s.Protocol = new("consumer"), new("range")
				s.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: j.MemberID, MemberAssignment: []byte("all")}}
				synced := ask[*kmsg.SyncGroupResponse](c, s)
				if synced.ErrorCode != 0 || string(synced.MemberAssignment) != "all" || upTo(5) >= 5 && *synced.Protocol != "range" {
					t.Fatalf("sync: %+v", synced)
				}
				h := at(kmsg.NewPtrHeartbeatRequest(), upTo(4))
				h.Group, h.MemberID, h.Generation = "g", j.MemberID, 1
				if r := ask[*kmsg.HeartbeatResponse](c, h); r.ErrorCode != 0 {
					t.Errorf("heartbeat: %d", r.ErrorCode)
				}
				if r := ask[*kmsg.OffsetCommitResponse](c, commitRequest(max(version, 2), j.MemberID, 1, 42, 0, 1)); r.Topics[0].Partitions[0].ErrorCode != 0 || r.Topics[0].Partitions[1].Partition != 1 {
					t.Errorf("commit: %+v", r)
				}
				c.checkFetched(version, 42)
				c.checkDescribed(upTo(6), j.MemberID)
				l := at(kmsg.NewPtrLeaveGroupRequest(), upTo(5))
				l.Group, l.MemberID = "g", j.MemberID
				l.Members = []kmsg.LeaveGroupRequestMember{{MemberID: j.MemberID}}
				if r := ask[*kmsg.LeaveGroupResponse](c, l); r.ErrorCode != 0 || upTo(5) >= 3 && (len(r.Members) != 1 || r.Members[0].ErrorCode != 0) {
					t.Errorf("leave: %+v", r)
				}
				wantCode := kerr.UnknownMemberID.Code
				if r := ask[*kmsg.LeaveGroupResponse](c, l); upTo(5) < 3 && r.ErrorCode != wantCode || upTo(5) >= 3 && r.Members[0].ErrorCode != wantCode {
					t.Errorf("second leave: %+v", r)
				}
				c.checkDeleted(upTo(2))
			})
		})
	}
}

func (c *cluster) checkFetched(version int16, want int64) {
	c.Helper()
	version = max(version, 1)
	r := ask[*kmsg.OffsetFetchResponse](c, fetchRequest(version, 0))
	if version < 8 {
		p := r.Topics[0].Partitions[0]
		if r.ErrorCode != 0 || p.Offset != want || *p.Metadata != "meta" {
			c.Errorf("fetch: %+v", r)
		}
		return
	}
	p := r.Groups[0].Topics[0].Partitions[0]
	if r.Groups[0].ErrorCode != 0 || p.Offset != want || *p.Metadata != "meta" || p.LeaderEpoch != -1 {
		c.Errorf("fetch: %+v", r)
	}
}

func (c *cluster) checkDescribed(version int16, member string) {
	c.Helper()
	d := at(kmsg.NewPtrDescribeGroupsRequest(), version)
	d.Groups, d.IncludeAuthorizedOperations = []string{"g", "nowhere"}, true
	r := ask[*kmsg.DescribeGroupsResponse](c, d)
	g := r.Groups[0]
	if g.ErrorCode != 0 || g.State != "Stable" || g.Protocol != "range" || len(g.Members) != 1 || g.Members[0].MemberID != member {
		c.Errorf("describe: %+v", g)
	}
	if g.Members[0].ClientHost != "/10.0.0.1" || g.Members[0].ClientID != "client" || string(g.Members[0].MemberAssignment) != "all" {
		c.Errorf("member: %+v", g.Members[0])
	}
	if bits := int32(1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11); version >= 3 && g.AuthorizedOperations != bits {
		c.Errorf("operations: %b", g.AuthorizedOperations)
	}
	nowhere := r.Groups[1]
	if nowhere.State != "Dead" || (nowhere.ErrorCode == kerr.GroupIDNotFound.Code) != (version >= 6) || (nowhere.ErrorMessage != nil) != (version >= 6) {
		c.Errorf("describe nowhere: %+v", nowhere)
	}
	l := at(kmsg.NewPtrListGroupsRequest(), min(version, 5))
	list := ask[*kmsg.ListGroupsResponse](c, l)
	if list.ErrorCode != 0 || len(list.Groups) != 1 || list.Groups[0].Group != "g" || list.Groups[0].ProtocolType != "consumer" {
		c.Errorf("list: %+v", list)
	}
	if v := l.Version; v >= 4 && list.Groups[0].GroupState != "Stable" || v >= 5 && list.Groups[0].GroupType != "classic" {
		c.Errorf("list: %+v", list)
	}
}

func (c *cluster) checkDeleted(version int16) {
	c.Helper()
	od := kmsg.NewPtrOffsetDeleteRequest()
	od.Group = "g"
	od.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}, {Partition: 9}}}, {Topic: "x", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
	deleted := ask[*kmsg.OffsetDeleteResponse](c, od)
	if deleted.ErrorCode != 0 || deleted.Topics[0].Partitions[0].ErrorCode != 0 || deleted.Topics[0].Partitions[1].ErrorCode != kerr.UnknownTopicOrPartition.Code || deleted.Topics[1].Partitions[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		c.Errorf("offset delete: %+v", deleted)
	}
	d := at(kmsg.NewPtrDeleteGroupsRequest(), version)
	d.Groups = []string{"g", "nowhere", "g"}
	r := ask[*kmsg.DeleteGroupsResponse](c, d)
	if len(r.Groups) != 2 || r.Groups[0].ErrorCode != 0 || r.Groups[1].ErrorCode != kerr.GroupIDNotFound.Code {
		c.Errorf("delete: %+v", r)
	}
	od.Group = "nowhere"
	if r := ask[*kmsg.OffsetDeleteResponse](c, od); r.ErrorCode != kerr.GroupIDNotFound.Code || len(r.Topics) != 0 {
		c.Errorf("offset delete nowhere: %+v", r)
	}
	od.Group = ""
	if r := ask[*kmsg.OffsetDeleteResponse](c, od); r.ErrorCode != kerr.InvalidGroupID.Code {
		c.Errorf("a group without a name: %d", r.ErrorCode)
	}
}

// TestWaitingJoin answers a join when a second member has joined.
func TestWaitingJoin(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.load()
		first, _ := c.member()
		second := c.start(joinRequest(3, ""))
		synctest.Wait()
		select {
		case <-second.ready:
			t.Fatal("answered before the first member has rejoined")
		default:
		}
		rejoined := ask[*kmsg.JoinGroupResponse](c, joinRequest(3, first))
		j := c.await(second).(*kmsg.JoinGroupResponse)
		if rejoined.Generation != 2 || j.Generation != 2 || j.LeaderID != first || len(j.Members) != 0 || len(rejoined.Members) != 2 {
			t.Errorf("first %+v, second %+v", rejoined, j)
		}
	})
}

func TestFindCoordinator(t *testing.T) {
	find := func(c *cluster, version int16, kind int8, keys ...string) *kmsg.FindCoordinatorResponse {
		r := at(kmsg.NewPtrFindCoordinatorRequest(), version)
		r.CoordinatorType, r.CoordinatorKey, r.CoordinatorKeys = kind, keys[0], keys
		return ask[*kmsg.FindCoordinatorResponse](c, r)
	}
	t.Run("every version", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			for version := range int16(7) {
				r := find(c, version, 0, "g", "h")
				if version < 4 {
					if r.ErrorCode != 0 || r.NodeID != 1 || r.Host != "here" || r.Port != 9092 {
						t.Errorf("version %d: %+v", version, r)
					}
				} else if len(r.Coordinators) != 2 || r.Coordinators[1].Key != "h" || r.Coordinators[1].NodeID != 1 || r.Coordinators[1].Host != "here" {
					t.Errorf("version %d: %+v", version, r)
				}
			}
		})
	})
	refusals := map[string]struct {
		version int16
		kind    int8
		deny    deny
		setup   func(c *cluster)
		want    *kerr.Error
	}{
		"id beyond the partitions": {4, 1, nil, func(c *cluster) { c.create(metadata.TransactionState, metadata.ID{15: 9}) }, kerr.CoordinatorNotAvailable},
		"share groups":             {6, 2, nil, nil, kerr.InvalidRequest},
		"no such type":             {4, 3, nil, nil, kerr.InvalidRequest},
		"group not seen":           {4, 0, deny{{route.Describe, route.Group, "g"}: true}, nil, kerr.GroupAuthorizationFailed},
		"id not seen":              {2, 1, deny{{route.Describe, route.TransactionalID, "g"}: true}, nil, kerr.TransactionalIDAuthorizationFailed},
		"another listener":         {4, 0, nil, func(c *cluster) { c.session.Listener = "OTHER" }, kerr.CoordinatorNotAvailable},
		"no such broker": {4, 0, nil, func(c *cluster) {
			image := metadata.Empty()
			c.image, _ = metadata.ApplyCommand(image, 1, metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{ID: 2}})
			c.topics = func(context.Context, string) error { return errors.New("no room") }
		}, kerr.CoordinatorNotAvailable},
		"too few partitions": {4, 0, nil, func(c *cluster) {
			c.apply(metadata.DeleteTopics{IDs: []metadata.ID{{15: 8}}})
			c.apply(metadata.CreateTopics{Topics: []metadata.NewTopic{{Name: metadata.ConsumerOffsets, ID: metadata.ID{15: 9}, Assignments: [][]int32{{1}}}}})
		}, kerr.CoordinatorNotAvailable},
		"not seen and not there": {4, 0, deny{{route.Describe, route.Group, "g"}: true}, func(c *cluster) {
			c.apply(metadata.DeleteTopics{IDs: []metadata.ID{{15: 8}}})
		}, kerr.GroupAuthorizationFailed},
	}
	for name, test := range refusals {
		t.Run(name, func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				c.deny = test.deny
				if test.setup != nil {
					test.setup(c)
				}
				r := find(c, test.version, test.kind, "g")
				code, id := r.ErrorCode, r.NodeID
				if test.version >= 4 {
					code, id = r.Coordinators[0].ErrorCode, r.Coordinators[0].NodeID
				}
				if code != test.want.Code || id != -1 {
					t.Errorf("code %d, node %d", code, id)
				}
			})
		})
	}
	t.Run("of transactions", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			var made string
			c.topics = func(_ context.Context, name string) error {
				made = name
				c.create(name, metadata.ID{15: 9})
				return nil
			}
			r := find(c, 4, 1, "", "t") // the harness keeps all ids but the empty one beyond the partitions
			if made != metadata.TransactionState || r.Coordinators[0].NodeID != 1 || r.Coordinators[0].ErrorCode != 0 {
				t.Errorf("made %q, %+v", made, r)
			}
		})
	})
	t.Run("makes the topic", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.apply(metadata.DeleteTopics{IDs: []metadata.ID{{15: 8}}})
			c.topics = func(_ context.Context, name string) error {
				c.create(name, metadata.ID{15: 9})
				return nil
			}
			if r := find(c, 4, 0, "g"); r.Coordinators[0].ErrorCode != 0 || r.Coordinators[0].NodeID != 1 {
				t.Errorf("%+v", r)
			}
		})
	})
}

// TestUnavailable tells what each request is answered while its partition is loaded, and when it is
// nobody's.
func TestUnavailable(t *testing.T) {
	requests := func() []kmsg.Request {
		join, sync, leave := joinRequest(9, "m"), kmsg.NewPtrSyncGroupRequest(), at(kmsg.NewPtrLeaveGroupRequest(), 3)
		heartbeat, describe, list := kmsg.NewPtrHeartbeatRequest(), kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrListGroupsRequest()
		sync.Group, leave.Group, heartbeat.Group, describe.Groups = "g", "g", "g", []string{"g"}
		del, od := kmsg.NewPtrDeleteGroupsRequest(), kmsg.NewPtrOffsetDeleteRequest()
		del.Groups, od.Group = []string{"g"}, "g"
		stable := fetchRequest(7, 0)
		stable.RequireStable = true
		return []kmsg.Request{
			join, sync, leave, heartbeat, describe, list, del, od, commitRequest(9, "", -1, 1, 0),
			fetchRequest(1, 0), fetchRequest(2, 0), stable, fetchRequest(10, 0),
		}
	}
	code := func(resp kmsg.Response) int16 {
		switch r := resp.(type) {
		case *kmsg.JoinGroupResponse:
			return r.ErrorCode
		case *kmsg.SyncGroupResponse:
			return r.ErrorCode
		case *kmsg.LeaveGroupResponse:
			return r.ErrorCode
		case *kmsg.HeartbeatResponse:
			return r.ErrorCode
		case *kmsg.DescribeGroupsResponse:
			return r.Groups[0].ErrorCode
		case *kmsg.ListGroupsResponse:
			return r.ErrorCode
		case *kmsg.DeleteGroupsResponse:
			return r.Groups[0].ErrorCode
		case *kmsg.OffsetDeleteResponse:
			return r.ErrorCode
		case *kmsg.OffsetCommitResponse:
			return r.Topics[0].Partitions[0].ErrorCode
		case *kmsg.OffsetFetchResponse:
			switch {
			case r.Version >= 8:
				return r.Groups[0].ErrorCode
			case r.Version >= 2:
				return r.ErrorCode
			}
			return r.Topics[0].Partitions[0].ErrorCode
		}
		return -2
	}
	inCluster(t, func(c *cluster) {
		for _, req := range requests() {
			want := kerr.NotCoordinator.Code
			if req.Key() == int16(kmsg.ListGroups) {
				want = 0
			}
			if got := code(c.await(c.start(req))); got != want {
				t.Errorf("%T, nobody's: %d, want %d", req, got, want)
			}
		}
		hold := make(chan struct{})
		for _, l := range c.logs {
			l.hold, l.next = hold, 1
		}
		c.load()
		for _, req := range requests() {
			want := kerr.CoordinatorLoadInProgress.Code
			if req.Key() == int16(kmsg.Heartbeat) {
				want = 0
			}
			if got := code(c.await(c.start(req))); got != want {
				t.Errorf("%T, loading: %d, want %d", req, got, want)
			}
		}
		close(hold)
	})
	inCluster(t, func(c *cluster) {
		c.load()
		c.deny = deny{}
		for _, op := range []route.Operation{route.Read, route.Describe, route.Delete} {
			c.deny[denied{op, route.Group, "g"}] = true
		}
		for _, req := range requests() {
			want := kerr.GroupAuthorizationFailed.Code
			if req.Key() == int16(kmsg.ListGroups) {
				want = 0
			}
			if got := code(c.await(c.start(req))); got != want {
				t.Errorf("%T, denied: %d, want %d", req, got, want)
			}
		}
	})
	inCluster(t, func(c *cluster) {
		c.load()
		for _, req := range []kmsg.Request{kmsg.NewPtrJoinGroupRequest(), kmsg.NewPtrSyncGroupRequest(), kmsg.NewPtrHeartbeatRequest(), kmsg.NewPtrLeaveGroupRequest()} {
			if got := code(c.await(c.start(req))); got != kerr.InvalidGroupID.Code {
				t.Errorf("%T without a group id: %d", req, got)
			}
		}
		c.random = iotest.ErrReader(errors.New("no entropy"))
		if got := code(c.await(c.start(joinRequest(9, "")))); got != kerr.UnknownServerError.Code {
			t.Errorf("join without randomness: %d", got)
		}
	})
}

func TestOffsetCommitErrors(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.load()
		id, generation := c.member()
		r := ask[*kmsg.OffsetCommitResponse](c, commitRequest(9, id, generation, 5, 0, 2, -1))
		if p := r.Topics[0].Partitions; p[0].ErrorCode != 0 || p[1].ErrorCode != kerr.UnknownTopicOrPartition.Code || p[2].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("partitions: %+v", p)
		}
		unknown := commitRequest(9, id, generation, 5, 0)
		unknown.Topics[0].Topic = "x"
		if r := ask[*kmsg.OffsetCommitResponse](c, unknown); r.Topics[0].Partitions[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("topic: %+v", r)
		}
		unknown = commitRequest(10, id, generation, 5, 0)
		unknown.Topics[0].TopicID = [16]byte{1}
		if r := ask[*kmsg.OffsetCommitResponse](c, unknown); r.Topics[0].Partitions[0].ErrorCode != kerr.UnknownTopicID.Code || r.Topics[0].TopicID != [16]byte{1} {
			t.Errorf("topic id: %+v", r)
		}
		if r := ask[*kmsg.OffsetCommitResponse](c, commitRequest(9, id, generation+1, 5, 0, 1)); r.Topics[0].Partitions[1].ErrorCode != kerr.IllegalGeneration.Code {
			t.Errorf("generation: %+v", r)
		}
		c.deny = deny{{route.Read, route.Topic, "t"}: true}
		for _, version := range []int16{9, 10} {
			if r := ask[*kmsg.OffsetCommitResponse](c, commitRequest(version, id, generation, 5, 0)); r.Topics[0].Partitions[0].ErrorCode != kerr.TopicAuthorizationFailed.Code {
				t.Errorf("denied: %+v", r)
			}
		}
	})
}

func TestOffsetCommitRetention(t *testing.T) {
	for _, test := range []struct {
		version int16
		millis  int64
		want    int64
	}{{4, 1000, 1000}, {4, -1, -1}, {5, 1000, -1}, {2, 1<<63 - 1, int64(1<<62) / 1_000_000}} {
		r := at(kmsg.NewPtrOffsetCommitRequest(), test.version)
		r.RetentionTimeMillis = test.millis
		if got := retention(r); test.want < 0 && got >= 0 || test.want >= 0 && got.Milliseconds() != test.want {
			t.Errorf("version %d, %d ms: %v", test.version, test.millis, got)
		}
	}
}

func TestOffsetFetch(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.load()
		if r := ask[*kmsg.OffsetFetchResponse](c, fetchRequest(9, 0, 1)); r.Groups[0].ErrorCode != 0 || r.Groups[0].Topics[0].Partitions[1].Offset != -1 || *r.Groups[0].Topics[0].Partitions[1].Metadata != "" {
			t.Errorf("a group that never was: %+v", r)
		}
		ask[*kmsg.OffsetCommitResponse](c, commitRequest(9, "", -1, 5, 1, 0))
		c.create("u", metadata.ID{15: 9})
		u := commitRequest(9, "", -1, 6, 0)
		u.Topics[0].Topic = "u"
		ask[*kmsg.OffsetCommitResponse](c, u)

		all := fetchRequest(9)
		all.Groups[0].Topics = nil
		r := ask[*kmsg.OffsetFetchResponse](c, all)
		if g := r.Groups[0]; len(g.Topics) != 2 || g.Topics[0].Topic != "t" || len(g.Topics[0].Partitions) != 2 || g.Topics[0].Partitions[1].Offset != 5 {
			t.Errorf("all: %+v", g)
		}
		old := fetchRequest(2)
		old.Topics = nil
		if r := ask[*kmsg.OffsetFetchResponse](c, old); len(r.Topics) != 2 || r.Topics[1].Partitions[0].Offset != 6 {
			t.Errorf("all, version 2: %+v", r)
		}
		none := fetchRequest(9)
		none.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{}
		if r := ask[*kmsg.OffsetFetchResponse](c, none); len(r.Groups[0].Topics) != 0 {
			t.Errorf("none: %+v", r)
		}
		all = fetchRequest(10)
		all.Groups[0].Topics, all.RequireStable = nil, true
		if g := ask[*kmsg.OffsetFetchResponse](c, all).Groups[0]; len(g.Topics) != 2 || g.Topics[1].TopicID != [16]byte{15: 9} {
			t.Errorf("all with ids: %+v", g)
		}
		c.deny = deny{{route.Describe, route.Topic, "t"}: true}
		if g := ask[*kmsg.OffsetFetchResponse](c, all).Groups[0]; len(g.Topics) != 1 || g.Topics[0].TopicID != [16]byte{15: 9} {
			t.Errorf("all that may be seen: %+v", g)
		}
		if g := ask[*kmsg.OffsetFetchResponse](c, fetchRequest(9, 0)).Groups[0]; g.Topics[0].Partitions[0].ErrorCode != kerr.TopicAuthorizationFailed.Code || g.Topics[0].Partitions[0].Offset != -1 {
			t.Errorf("denied: %+v", g)
		}
		c.deny = nil
		c.apply(metadata.DeleteTopics{IDs: []metadata.ID{{15: 7}}})
		if g := ask[*kmsg.OffsetFetchResponse](c, fetchRequest(9, 0)).Groups[0]; g.Topics[0].Partitions[0].Offset != 5 {
			t.Errorf("a topic that is gone, by name: %+v", g)
		}
		if g := ask[*kmsg.OffsetFetchResponse](c, fetchRequest(10, 0)).Groups[0]; g.Topics[0].Partitions[0].ErrorCode != kerr.UnknownTopicID.Code {
			t.Errorf("a topic that is gone, by id: %+v", g)
		}
		if g := ask[*kmsg.OffsetFetchResponse](c, all).Groups[0]; len(g.Topics) != 1 {
			t.Errorf("all that there are: %+v", g)
		}
		c.create("t", metadata.ID{15: 10})
		if g := ask[*kmsg.OffsetFetchResponse](c, fetchRequest(9, 0)).Groups[0]; g.Topics[0].Partitions[0].Offset != -1 {
			t.Errorf("another topic of that name: %+v", g)
		}
		several := fetchRequest(8, 0)
		several.Groups = append(several.Groups, kmsg.OffsetFetchRequestGroup{Group: "h"})
		if r := ask[*kmsg.OffsetFetchResponse](c, several); len(r.Groups) != 2 || r.Groups[1].Group != "h" || r.Groups[1].ErrorCode != 0 {
			t.Errorf("several: %+v", r)
		}
		several.Groups = nil
		if r := ask[*kmsg.OffsetFetchResponse](c, several); len(r.Groups) != 0 {
			t.Errorf("no groups: %+v", r)
		}
	})
}

func TestListGroupsShowsWhatMayBeSeen(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.load()
		for _, id := range []string{"b", "a", "c"} {
			r := commitRequest(9, "", -1, 1, 0)
			r.Group = id
			ask[*kmsg.OffsetCommitResponse](c, r)
		}
		list := func() (ids []string) {
			for _, g := range ask[*kmsg.ListGroupsResponse](c, at(kmsg.NewPtrListGroupsRequest(), 4)).Groups {
				ids = append(ids, g.Group)
			}
			return ids
		}
		if diff := cmp.Diff([]string{"a", "b", "c"}, list()); diff != "" {
			t.Error(diff)
		}
		c.deny = deny{{route.Describe, route.Group, "b"}: true}
		if diff := cmp.Diff([]string{"a", "b", "c"}, list()); diff != "" {
			t.Errorf("who may describe the cluster sees all: %s", diff)
		}
		c.deny[denied{route.Describe, route.Cluster, route.ClusterName}] = true
		if diff := cmp.Diff([]string{"a", "c"}, list()); diff != "" {
			t.Error(diff)
		}
	})
}
