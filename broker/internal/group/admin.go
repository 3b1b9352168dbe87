package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupType is what this protocol's groups are called in ListGroups (KIP-848).
const GroupType = "classic"

// describe answers DescribeGroups for one group. Members' metadata is told only while it is settled
// which protocol it is of.
func (t *turn) describe(e *Describe) {
	g := t.find(e.Group)
	if g == nil {
		t.refuse(kerr.GroupIDNotFound)
		return
	}
	r := kmsg.NewDescribeGroupsResponseGroup()
	r.Group, r.State, r.ProtocolType = g.id, g.state.String(), g.protocolType
	if g.state == Stable {
		r.Protocol = g.protocol
	}
	for _, m := range g.members {
		d := kmsg.NewDescribeGroupsResponseGroupMember()
		d.MemberID, d.InstanceID, d.ClientID, d.ClientHost = m.id, m.instanceID, m.clientID, m.clientHost
		d.MemberAssignment = m.assignment
		if g.state == Stable {
			d.ProtocolMetadata = m.metadata(g.protocol)
		}
		r.Members = append(r.Members, d)
	}
	t.answer(&r)
}

// list answers ListGroups for the groups of this partition.
func (t *turn) list(e *List) {
	groups := []kmsg.ListGroupsResponseGroup{}
	ids := make(map[string]bool, len(t.groups))
	for id := range t.groups {
		ids[id] = true
	}
	for id := range t.durable.offsets {
		if t.durable.has(id) {
			ids[id] = true
		}
	}
	for _, id := range sortedKeys(ids) {
		g := t.groups[id]
		if g == nil {
			g = newClassic(id, nil)
		}
		if !admits(e.States, g.state.String()) || !admits(e.Types, GroupType) {
			continue
		}
		r := kmsg.NewListGroupsResponseGroup()
		r.Group, r.ProtocolType, r.GroupState, r.GroupType = id, g.protocolType, g.state.String(), GroupType
		groups = append(groups, r)
	}
	t.answer(groups)
}

func admits(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return strings.EqualFold(strings.TrimSpace(f), value)
	})
}

// deleteGroup removes a group without members, and its offsets.
func (t *turn) deleteGroup(e *DeleteGroup) {
	g := t.find(e.Group)
	switch {
	case g == nil:
		t.refuse(kerr.GroupIDNotFound)
		return
	case g.state != Empty:
		t.refuse(kerr.NonEmptyGroup)
		return
	}
	for _, w := range t.durable.slots(g.id, func(s *slot) bool { return s.latest != nil || len(s.open) > 0 }) {
		for _, partition := range w.Partitions {
			t.dropOffset(offsetKey{g.id, w.Topic, partition})
		}
	}
	t.write(encodeMetadataKey(g.id), nil)
	t.forget(g)
	t.answer(nil)
}
