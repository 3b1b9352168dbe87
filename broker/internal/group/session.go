package group

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func zeroTime() time.Time { return time.Time{} }

func compare(a, b string) int { return strings.Compare(a, b) }

// touch says that the member was heard of.
func (t *turn) touch(m *member) { m.silent = t.now.Add(m.sessionTimeout) }

// expel removes a member and tells it so if it waits.
func (t *turn) expel(g *classic, m *member) {
	t.reply(m.join, nil, kerr.UnknownMemberID)
	t.reply(m.sync, nil, kerr.UnknownMemberID)
	m.join, m.sync = 0, 0
	g.remove(m)
}

// persist writes the group's record. It reports false, without writing, where the log would not
// take it.
func (t *turn) persist(g *classic) bool {
	key, value := encodeMetadataKey(g.id), encodeMetadata(g.metadata())
	if len(key)+len(value) > t.options.MaxRecordBytes {
		return false
	}
	t.write(key, value)
	return true
}

// sync decides on a SyncGroup request: followers wait for the leader's assignments, which make the
// group stable once they are in the log.
func (t *turn) sync(e *Sync) {
	g := t.find(e.Group)
	if g == nil {
		t.refuse(kerr.UnknownMemberID)
		return
	}
	defer t.settle(g)
	m, err := g.validate(e.MemberID, e.InstanceID)
	switch {
	case err != nil:
		t.refuse(err)
		return
	case e.Generation != g.generation:
		t.refuse(kerr.IllegalGeneration)
		return
	case e.ProtocolType != nil && *e.ProtocolType != g.protocolType,
		e.Protocol != nil && *e.Protocol != g.protocol:
		t.refuse(kerr.InconsistentGroupProtocol)
		return
	}
	switch g.state {
	case PreparingRebalance:
		t.refuse(kerr.RebalanceInProgress)
	case CompletingRebalance:
		t.reply(m.sync, nil, kerr.RebalanceInProgress)
		m.sync = t.token
		g.heardSync(m)
		if m.id == g.leader {
			t.assign(g, e)
		}
	case Stable:
		g.heardSync(m)
		t.touch(m)
		t.answer(g.syncedOf(m))
	case Empty, Dead:
		t.refuse(kerr.UnknownMemberID)
	}
}

func (g *classic) heardSync(m *member) {
	m.synced = true
	if g.allSynced() {
		g.syncEnd = zeroTime()
	}
}

func (g *classic) syncedOf(m *member) Synced {
	return Synced{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// assign takes over what the leader assigned. Members it did not name get nothing.
func (t *turn) assign(g *classic, e *Sync) {
	assigned := make(map[string][]byte, len(e.Assignments))
	for _, a := range e.Assignments {
		assigned[a.MemberID] = a.MemberAssignment
	}
	for _, m := range g.members {
		m.assignment = slices.Clone(assigned[m.id])
	}
	state, since := g.state, g.since
	g.enter(Stable, t.now)
	if !t.persist(g) {
		g.state, g.since = state, since
		t.unassign(g)
		return
	}
	for _, m := range g.members {
		if m.sync != 0 {
			t.reply(m.sync, g.syncedOf(m), nil)
			m.sync = 0
			t.touch(m)
		}
	}
}

// unassign gives up a generation whose assignments are too large for the log.
func (t *turn) unassign(g *classic) {
	for _, m := range g.members {
		m.assignment = nil
		if m.sync != 0 {
			t.reply(m.sync, nil, kerr.UnknownServerError)
			m.sync = 0
			t.touch(m)
		}
	}
	t.prepareRebalance(g)
}

// heartbeat decides on a Heartbeat request.
func (t *turn) heartbeat(e *Heartbeat) {
	g := t.find(e.Group)
	if g == nil {
		t.refuse(kerr.UnknownMemberID)
		return
	}
	m, err := g.validate(e.MemberID, e.InstanceID)
	switch {
	case err != nil:
		t.refuse(err)
	case e.Generation != g.generation:
		t.refuse(kerr.IllegalGeneration)
	case g.state == PreparingRebalance:
		t.touch(m)
		t.refuse(kerr.RebalanceInProgress)
	default:
		t.touch(m)
		t.answer(nil)
	}
}

// leave decides on a LeaveGroup request.
func (t *turn) leave(e *Leave) {
	g := t.find(e.Group)
	if g == nil {
		t.refuse(kerr.UnknownMemberID)
		return
	}
	defer t.settle(g)
	errs := make([]error, len(e.Members))
	left := false
	for i, l := range e.Members {
		if err := t.leaveOne(g, l); err != nil {
			errs[i] = err
		} else {
			left = true
		}
	}
	t.answer(errs)
	if left {
		t.after(g)
	}
}

// leaveOne removes one member. Operators remove static members by their instance id alone.
func (t *turn) leaveOne(g *classic, l LeavingMember) *kerr.Error {
	if l.MemberID == "" {
		if l.InstanceID == nil || g.static[*l.InstanceID] == nil {
			return kerr.UnknownMemberID
		}
		t.expel(g, g.static[*l.InstanceID])
		return nil
	}
	if _, ok := g.promised[l.MemberID]; ok {
		delete(g.promised, l.MemberID)
		return nil
	}
	m, err := g.validate(l.MemberID, l.InstanceID)
	if err != nil {
		return err
	}
	t.expel(g, m)
	return nil
}

// after goes on when members are gone.
func (t *turn) after(g *classic) {
	switch g.state {
	case Stable, CompletingRebalance:
		t.prepareRebalance(g)
	case PreparingRebalance:
		t.maybeCompleteJoin(g)
	case Empty, Dead:
	}
}

// overdue does all whose time has come in a group.
func (t *turn) overdue(g *classic) {
	gone := false
	for id, at := range g.promised {
		if !at.After(t.now) {
			delete(g.promised, id)
			gone = true
		}
	}
	lost := false
	for _, m := range slices.Clone(g.members) {
		if m.watched() && !m.silent.After(t.now) {
			t.expel(g, m)
			lost = true
		}
	}
	switch {
	case lost:
		t.after(g)
	case gone:
		t.maybeCompleteJoin(g)
	}
	if reached(g.joinEnd, t.now) {
		t.joinOverdue(g)
	}
	if reached(g.syncEnd, t.now) {
		t.syncOverdue(g)
	}
}

func reached(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }

// syncOverdue removes the members that joined a generation and never asked for their assignment.
func (t *turn) syncOverdue(g *classic) {
	g.syncEnd = zeroTime()
	for _, m := range slices.Clone(g.members) {
		if !m.synced {
			t.expel(g, m)
		}
	}
	t.prepareRebalance(g)
}
