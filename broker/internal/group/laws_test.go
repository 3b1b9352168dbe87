package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/machinetest"
)

func TestLaws(t *testing.T) {
	for _, delay := range []time.Duration{0, 3 * time.Second} {
		t.Run("initial delay "+delay.String(), func(t *testing.T) {
			o := DefaultOptions()
			o.InitialDelay, o.OffsetsRetention, o.OffsetsCheck = delay, time.Minute, 20*time.Second
			o.MaxSize, o.MaxCommitBytes, o.MaxPromisedMembers = 3, 300, 2
			machinetest.Check(t, machinetest.Subject{
				New:    func() machine.Machine { return New(o) },
				Event:  drawEvent,
				Record: drawRecord,
				Durable: func(m machine.Machine) any {
					return portrait(&m.(*Machine).durable)
				},
				Agrees: func(m machine.Machine) error { return agrees(m.(*Machine)) },
				Waits: func(event any) bool {
					switch event.(type) {
					case *Join, *Sync, *TopicsDeleted:
						return true
					}
					return false
				},
			})
		})
	}
}

// portrait is a durable state in comparable form: what decisions and queries see.
func portrait(d *durable) any {
	out := map[string]string{}
	for id, g := range d.groups {
		out["group "+id] = fmt.Sprintf("%q", encodeMetadata(g))
	}
	for id, g := range d.offsets {
		for topic, slots := range g.topics {
			for p, s := range slots {
				for name, o := range map[string]*Offset{"latest": s.latest, "committed": s.committed} {
					if o != nil {
						out[fmt.Sprintf("%s %s/%s/%d", name, id, topic, p)] = fmt.Sprintf("%q", encodeOffset(o))
					}
				}
			}
		}
	}
	for id, txn := range d.txns {
		for key, o := range txn.offsets {
			out[fmt.Sprintf("txn %d %v", id, key)] = fmt.Sprintf("%q", encodeOffset(o))
		}
	}
	return out
}

// agrees says where soft state rests on durable state: a group is in the log just as it is while it is
// stable, and while it is empty if it ever had members.
func agrees(m *Machine) error {
	for id, g := range m.groups {
		if g.state != Stable && (g.state != Empty || g.generation == 0) {
			continue
		}
		want, got := g.metadata(), m.durable.groups[id]
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("group %s is not in the log as it is (-soft +log):\n%s", id, diff)
		}
		if g.state == Stable && g.byID[g.leader] == nil {
			return fmt.Errorf("group %s is led by %q, who is no member", id, g.leader)
		}
	}
	return nil
}

func drawEvent(t *rapid.T, answers []machine.Reply) any {
	group := rapid.SampledFrom([]string{"g", "g", "g", "g", "h"}).Draw(t, "group")
	last := Joined{MemberID: "nobody"}
	ids := []string{"", "nobody"}
	for _, a := range answers {
		if j, ok := a.Value.(Joined); ok {
			last = j
			ids = append(ids, j.MemberID)
		}
	}
	ids = ids[max(0, len(ids)-5):]
	id, generation := last.MemberID, last.Generation
	if rapid.IntRange(0, 2).Draw(t, "any") == 0 {
		id = rapid.SampledFrom(ids).Draw(t, "member")
		generation -= int32(rapid.IntRange(0, 6).Draw(t, "stale") / 6)
	}
	var instance *string
	if prefix, _, ok := strings.Cut(id, "-"); ok && prefix[0] == 'i' {
		instance = &prefix
	} else if i := rapid.IntRange(0, 3).Draw(t, "instance"); i < 2 {
		instance = new(fmt.Sprint("i", i))
		id = ""
	}
	topics := []TopicPartitions{{Topic: rapid.SampledFrom([]string{"t", "u"}).Draw(t, "topic"), Partitions: []int32{0, 1}}}
	switch rapid.IntRange(0, 14).Draw(t, "event") {
	case 0, 1, 2, 3, 4:
		return drawJoin(t, group, id, instance)
	case 5, 6, 7:
		s := &Sync{Group: group, MemberID: id, InstanceID: instance, Generation: generation}
		for _, id := range ids {
			s.Assignments = append(s.Assignments, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte(id)})
		}
		return s
	case 8:
		return &Heartbeat{Group: group, MemberID: id, InstanceID: instance, Generation: generation}
	case 9:
		return &Leave{Group: group, Members: []LeavingMember{{MemberID: id, InstanceID: instance}}}
	case 10:
		e := &CommitOffsets{Version: 9, Group: group, MemberID: id, Generation: generation - 1, Retention: -1}
		for p := range rapid.IntRange(0, 3).Draw(t, "offsets") {
			e.Offsets = append(e.Offsets, CommitOffset{Topic: topics[0].Topic, Partition: int32(p), Offset: int64(p), LeaderEpoch: -1})
		}
		return e
	case 11:
		return &FetchOffsets{Group: group, All: true, RequireStable: true}
	case 12:
		return &DeleteOffsets{Group: group, Topics: topics}
	case 13:
		return rapid.SampledFrom([]any{&List{}, &Describe{Group: group}, &DeleteGroup{Group: group}}).Draw(t, "admin")
	default:
		return &TopicsDeleted{Topics: []DeletedTopic{{Name: topics[0].Topic}}}
	}
}

func drawJoin(t *rapid.T, group, id string, instance *string) *Join {
	e := &Join{
		Version: rapid.SampledFrom([]int16{3, 8, 9}).Draw(t, "version"), Group: group, MemberID: id, InstanceID: instance,
		ClientID: "c", ClientHost: "/h", Random: fmt.Sprint(rapid.IntRange(0, 1<<30).Draw(t, "random")),
		SessionTimeout:   time.Duration(rapid.IntRange(5, 20).Draw(t, "session")) * time.Second,
		RebalanceTimeout: time.Duration(rapid.IntRange(0, 20).Draw(t, "rebalance")) * time.Second,
		ProtocolType:     rapid.SampledFrom([]string{"consumer", "consumer", "consumer", "connect"}).Draw(t, "type"),
	}
	names := rapid.SampledFrom([][]string{{"range"}, {"range", "sticky"}, {"sticky", "range"}, {}}).Draw(t, "protocols")
	for _, name := range names {
		e.Protocols = append(e.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: subscription("t")})
	}
	return e
}

// drawRecord draws bytes of any kind: random ones, and good ones that were cut or changed.
func drawRecord(t *rapid.T) machine.Record {
	group := rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")
	var r machine.Record
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		r = machine.Record{Key: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "key"), Value: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "value")}
	case 1:
		r = machine.Record{Key: encodeOffsetKey(offsetKey{group, "t", 0}), Value: encodeOffset(&Offset{
			Offset: rapid.Int64().Draw(t, "offset"), ExpireTime: rapid.Int64Range(-1, 1).Draw(t, "expire"),
		})}
	default:
		r = machine.Record{Key: encodeMetadataKey(group), Value: encodeMetadata(drawMetadata(t))}
	}
	if rapid.IntRange(0, 3).Draw(t, "tombstone") == 0 {
		r.Value = nil
	}
	for _, b := range [][]byte{r.Key, r.Value} {
		if len(b) > 0 && rapid.IntRange(0, 4).Draw(t, "broken") == 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
	}
	if n := len(r.Value); n > 0 && rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
		r.Value = slices.Clone(r.Value[:rapid.IntRange(0, n-1).Draw(t, "length")])
	}
	return r
}

func drawMetadata(t *rapid.T) *metadata {
	d := &metadata{
		ProtocolType: rapid.SampledFrom([]string{"", "consumer"}).Draw(t, "type"),
		Generation:   rapid.Int32().Draw(t, "generation"), Since: rapid.Int64().Draw(t, "since"),
	}
	if rapid.Bool().Draw(t, "protocol") {
		d.Protocol, d.Leader = new("range"), new("m0")
	}
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		d.Members = append(d.Members, memberRecord{
			ID:               rapid.SampledFrom([]string{"m0", "m1", ""}).Draw(t, "id"),
			RebalanceTimeout: rapid.Int32().Draw(t, "rebalance"), SessionTimeout: rapid.Int32().Draw(t, "session"),
			InstanceID: rapid.SampledFrom([]*string{nil, new("i0")}).Draw(t, "instance"),
		})
	}
	return d
}
