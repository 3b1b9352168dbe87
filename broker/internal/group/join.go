package group

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine/field"
)

// join decides on a JoinGroup request.
func (t *turn) join(e *Join) {
	g := t.find(e.Group)
	switch {
	case e.SessionTimeout < t.options.MinSessionTimeout || e.SessionTimeout > t.options.MaxSessionTimeout:
		t.refuse(kerr.InvalidSessionTimeout)
		return
	case !e.fits():
		t.refuse(kerr.InvalidRequest)
		return
	case g == nil && e.MemberID != "":
		t.refuse(kerr.UnknownMemberID)
		return
	case g == nil:
		g = t.create(e.Group)
	}
	defer t.settle(g)
	if !t.accepts(g, e.MemberID) {
		t.refuse(kerr.GroupMaxSizeReached)
		if m := g.byID[e.MemberID]; m != nil {
			t.expel(g, m)
		}
		delete(g.promised, e.MemberID)
		t.maybeCompleteJoin(g)
		return
	}
	if !g.supports(e.ProtocolType, e.Protocols) {
		t.refuse(kerr.InconsistentGroupProtocol)
		return
	}
	if e.MemberID == "" {
		t.joinNew(g, e)
	} else {
		t.joinAgain(g, e)
	}
}

// fits reports whether the log's formats can hold all that the request would make them hold.
func (e *Join) fits() bool {
	longest := max(len(e.Group), len(e.MemberID), len(e.ProtocolType), len(e.ClientHost),
		len(e.prefix())+1+len(e.Random))
	for _, p := range e.Protocols {
		longest = max(longest, len(p.Name))
	}
	return longest <= field.MaxString
}

func (e *Join) prefix() string {
	if e.InstanceID != nil {
		return *e.InstanceID
	}
	return e.ClientID
}

// accepts reports whether the group has room for whoever asks.
func (t *turn) accepts(g *classic, memberID string) bool {
	m := g.byID[memberID]
	switch g.state {
	case PreparingRebalance:
		return (m != nil && m.join != 0) || g.joining() < t.options.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < t.options.MaxSize
	case Empty, Dead:
	}
	return true
}

// joinNew admits somebody without a member id. Since version 4 it only gets one at first, so that a
// client that never reads the answer leaves no member behind (KIP-394).
func (t *turn) joinNew(g *classic, e *Join) {
	id := e.prefix() + "-" + e.Random
	if e.InstanceID != nil {
		if old := g.static[*e.InstanceID]; old != nil {
			t.replaceStatic(g, old, id, e)
			return
		}
	} else if e.Version >= 4 {
		if len(g.promised) >= t.options.MaxPromisedMembers {
			t.refuse(kerr.GroupMaxSizeReached)
			return
		}
		g.promised[id] = t.now.Add(e.SessionTimeout)
		t.reply(t.token, Joined{MemberID: id}, kerr.MemberIDRequired)
		return
	}
	t.admit(g, id, e)
}

// joinAgain lets somebody join who has a member id: a promised one, or that of a member.
func (t *turn) joinAgain(g *classic, e *Join) {
	if _, ok := g.promised[e.MemberID]; ok && e.InstanceID == nil {
		t.admit(g, e.MemberID, e)
		return
	}
	m, err := g.validate(e.MemberID, e.InstanceID)
	if err != nil {
		t.refuse(err)
		return
	}
	switch g.state {
	case PreparingRebalance:
		t.rejoin(g, m, e)
	case CompletingRebalance:
		// Nothing new: the answer to an earlier join was lost.
		if m.matches(e.Protocols) {
			t.answer(t.joined(g, m))
			return
		}
		t.rejoin(g, m, e)
	case Stable:
		// The leader rejoins to have everything assigned anew.
		if m.id != g.leader && m.matches(e.Protocols) {
			t.answer(t.joined(g, m))
			return
		}
		t.rejoin(g, m, e)
	case Empty, Dead:
		t.refuse(kerr.UnknownMemberID)
	}
}

// admit adds a member.
func (t *turn) admit(g *classic, id string, e *Join) {
	delete(g.promised, id)
	m := &member{id: strings.Clone(id), fresh: true, join: t.token, silent: t.now.Add(t.options.NewMemberTimeout)}
	if e.InstanceID != nil {
		instance := strings.Clone(*e.InstanceID)
		m.instanceID = &instance
	}
	m.update(e)
	if len(g.members) == 0 {
		g.protocolType = e.ProtocolType
	}
	g.newcomer = g.newcomer || (g.state == PreparingRebalance && g.initial)
	g.add(m)
	t.rebalanceOrComplete(g)
}

// rejoin takes over a member's new metadata and lets it wait for the next generation.
func (t *turn) rejoin(g *classic, m *member, e *Join) {
	t.reply(m.join, nil, kerr.RebalanceInProgress) // of a connection that is gone, most likely
	m.update(e)
	m.join = t.token
	t.rebalanceOrComplete(g)
}

// replaceStatic puts a new incarnation in the place of a static member (KIP-345). The old one is
// fenced. In a stable group nobody else needs to know, as long as the protocol stays.
func (t *turn) replaceStatic(g *classic, m *member, id string, e *Join) {
	t.reply(m.join, nil, kerr.FencedInstanceID)
	t.reply(m.sync, nil, kerr.FencedInstanceID)
	m.join, m.sync = t.token, 0
	oldLeader := g.leader
	g.rename(m, id)
	m.update(e)
	t.touch(m)
	if g.state != Stable {
		t.rebalanceOrComplete(g)
		return
	}
	if g.selectProtocol() != g.protocol {
		t.prepareRebalance(g)
		return
	}
	g.subscribe()
	if !t.persist(g) {
		t.prepareRebalance(g)
		return
	}
	j := t.joined(g, m)
	if e.Version >= 9 {
		j.SkipAssignment = g.leader == m.id // it learns that it leads, but has nothing to assign (KIP-814)
	} else {
		j.Leader, j.Members = oldLeader, nil // an older client would assign: it must not know that it leads
	}
	m.join, m.fresh = 0, false
	t.answer(j)
}

// joined is what a member learns at the end of its join.
func (t *turn) joined(g *classic, m *member) Joined {
	j := Joined{
		MemberID: m.id, Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader,
	}
	if m.id != g.leader {
		return j
	}
	for _, m := range g.members {
		r := kmsg.NewJoinGroupResponseMember()
		r.MemberID, r.InstanceID, r.ProtocolMetadata = m.id, m.instanceID, m.metadata(g.protocol)
		j.Members = append(j.Members, r)
	}
	return j
}

// validate finds a member by id. With an instance id, both must name the same one.
func (g *classic) validate(memberID string, instanceID *string) (*member, *kerr.Error) {
	if instanceID != nil {
		switch m := g.static[*instanceID]; {
		case m == nil:
			return nil, kerr.UnknownMemberID
		case m.id != memberID:
			return nil, kerr.FencedInstanceID
		}
	}
	if m := g.byID[memberID]; m != nil {
		return m, nil
	}
	return nil, kerr.UnknownMemberID
}

// rebalanceOrComplete begins a join phase, or ends the one under way if this was all it waited for.
func (t *turn) rebalanceOrComplete(g *classic) {
	if g.state == PreparingRebalance {
		t.maybeCompleteJoin(g)
		return
	}
	t.prepareRebalance(g)
}

// prepareRebalance begins a join phase. It lasts until all members have joined, at most for the
// longest of their rebalance timeouts. Where the group was empty, it lasts for the initial delay, so
// that members that start together get into one generation.
func (t *turn) prepareRebalance(g *classic) {
	for _, m := range g.members {
		if m.sync != 0 {
			t.reply(m.sync, nil, kerr.RebalanceInProgress)
			m.sync = 0
			t.touch(m)
		}
	}
	g.syncEnd = zeroTime()
	g.initial = g.state == Empty
	g.enter(PreparingRebalance, t.now)
	if !g.initial {
		g.joinEnd = t.now.Add(g.rebalanceTimeout())
		t.maybeCompleteJoin(g)
		return
	}
	g.newcomer = false
	g.step = t.options.InitialDelay
	g.rest = max(g.rebalanceTimeout()-g.step, 0)
	g.joinEnd = t.now.Add(g.step)
	if g.step <= 0 {
		t.completeJoin(g)
	}
}

// maybeCompleteJoin ends a join phase that waits for nobody. An initial delay waits for whoever may
// come, unless all that came are gone.
func (t *turn) maybeCompleteJoin(g *classic) {
	if g.state == PreparingRebalance && (!g.initial || len(g.members) == 0) && g.allJoined() {
		t.completeJoin(g)
	}
}

// joinOverdue ends a join phase whose time is up, or a step of the initial delay, which goes on for
// as long as members keep coming and nobody's rebalance timeout is exceeded.
func (t *turn) joinOverdue(g *classic) {
	if g.initial && g.newcomer && g.rest != 0 {
		last := g.step
		g.newcomer = false
		g.step = min(t.options.InitialDelay, g.rest)
		g.rest = max(g.rest-last, 0)
		g.joinEnd = t.now.Add(g.step)
		return
	}
	t.completeJoin(g)
}

// completeJoin ends a join phase. Members that did not rejoin are out, except static ones: these
// have until their session ends.
func (t *turn) completeJoin(g *classic) {
	g.joinEnd = zeroTime()
	for _, m := range slices.Clone(g.members) {
		if m.join == 0 && m.instanceID == nil {
			t.expel(g, m)
		}
	}
	if len(g.members) > 0 && !g.elect() {
		g.joinEnd = t.now.Add(max(g.rebalanceTimeout(), time.Second)) // clients may say 0
		return
	}
	g.initial = false
	g.generation++
	if len(g.members) == 0 {
		g.protocol = ""
		g.enter(Empty, t.now)
		g.subscribe()
		t.persist(g)
		return
	}
	g.protocol = g.selectProtocol()
	g.enter(CompletingRebalance, t.now)
	g.subscribe()
	for _, m := range g.members {
		t.reply(m.join, t.joined(g, m), nil)
		m.join, m.fresh, m.synced = 0, false, false
		t.touch(m)
	}
	g.syncEnd = t.now.Add(g.rebalanceTimeout())
}
