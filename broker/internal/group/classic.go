package group

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine"
)

// State is where a group of the classic protocol stands.
type State int

// The states of a group. A Dead group is one that does not exist.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String is the name of the state in Kafka's tools.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// classic is the soft state of a group.
type classic struct {
	id           string
	state        State
	since        int64 // when it came into the state, ms; -1 unknown
	generation   int32
	protocolType string // empty for a group that never had members
	protocol     string // empty while there are no members
	leader       string // a member's id; empty while there are no members
	members      []*member
	byID         map[string]*member
	static       map[string]*member // by instance id
	promised     map[string]time.Time
	topics       map[string]bool // what the members subscribe to
	topicsKnown  bool

	// The join phase.
	joinEnd  time.Time     // when the phase, or a step of the initial delay, ends; zero for no timer
	initial  bool          // the group was Empty before: the phase ends by its timer alone
	step     time.Duration // of the initial delay, under way
	rest     time.Duration // of the rebalance timeout, for further steps
	newcomer bool          // somebody joined during this step

	syncEnd time.Time // when members that did not sync are removed; zero for no timer
	armed   time.Time // what the group's timer is set for; zero for none
}

// member is one member of a group, in the order of joining.
type member struct {
	id               string
	instanceID       *string
	clientID         string
	clientHost       string
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []protocol
	assignment       []byte

	join   machine.Token // waits for the end of the join phase; 0 does not
	sync   machine.Token // waits for the leader's assignments; 0 does not
	fresh  bool          // its first join has not ended yet
	synced bool          // has sent SyncGroup in this generation
	silent time.Time     // when it is removed, unless heard of before
}

type protocol struct {
	name     string
	metadata []byte
}

// newClassic makes a group from what the log says about it, which may be nothing.
func newClassic(id string, d *metadata) *classic {
	g := &classic{
		id: id, since: -1,
		byID: make(map[string]*member), static: make(map[string]*member), promised: make(map[string]time.Time),
	}
	if d == nil {
		return g
	}
	g.generation, g.protocolType, g.since = d.Generation, d.ProtocolType, d.Since
	for i := range d.Members {
		r := &d.Members[i]
		if r.ID == "" || g.byID[r.ID] != nil {
			continue // nobody writes such a group
		}
		g.add(&member{
			id: r.ID, instanceID: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
			sessionTimeout:   millis(r.SessionTimeout),
			rebalanceTimeout: millis(r.RebalanceTimeout),
			protocols:        []protocol{{text(d.Protocol), r.Subscription}},
			assignment:       r.Assignment,
			synced:           true,
		})
	}
	if len(g.members) > 0 {
		g.state, g.protocol = Stable, text(d.Protocol)
		if leader := text(d.Leader); g.byID[leader] != nil {
			g.leader = leader
		}
	}
	g.subscribe()
	return g
}

// metadata is the group as the log should have it.
func (g *classic) metadata() *metadata {
	d := &metadata{ProtocolType: g.protocolType, Generation: g.generation, Since: g.since}
	if len(g.members) == 0 {
		return d
	}
	d.Protocol, d.Leader = &g.protocol, &g.leader
	for _, m := range g.members {
		d.Members = append(d.Members, memberRecord{
			ID: m.id, InstanceID: m.instanceID, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeout: int32(m.rebalanceTimeout.Milliseconds()),
			SessionTimeout:   int32(m.sessionTimeout.Milliseconds()),
			Subscription:     m.metadata(g.protocol),
			Assignment:       m.assignment,
		})
	}
	slices.SortFunc(d.Members, func(a, b memberRecord) int { return compare(a.ID, b.ID) })
	return d
}

func (g *classic) enter(s State, now time.Time) { g.state, g.since = s, now.UnixMilli() }

func (g *classic) add(m *member) {
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instanceID != nil {
		g.static[*m.instanceID] = m
	}
	if g.leader == "" {
		g.leader = m.id
	}
}

func (g *classic) remove(m *member) {
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	delete(g.byID, m.id)
	if m.instanceID != nil && g.static[*m.instanceID] == m {
		delete(g.static, *m.instanceID)
	}
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// rename gives a static member the id of its new incarnation.
func (g *classic) rename(m *member, id string) {
	delete(g.byID, m.id)
	if g.leader == m.id {
		g.leader = id
	}
	m.id = id
	g.byID[id] = m
}

func (g *classic) allJoined() bool {
	return len(g.promised) == 0 && g.joining() == len(g.members)
}

func (g *classic) joining() int {
	n := 0
	for _, m := range g.members {
		if m.join != 0 {
			n++
		}
	}
	return n
}

func (g *classic) allSynced() bool {
	return !slices.ContainsFunc(g.members, func(m *member) bool { return !m.synced })
}

// elect keeps the leader if it has joined, or else makes the longest-standing member that has the
// leader. It reports false if nobody has joined.
func (g *classic) elect() bool {
	if l := g.byID[g.leader]; l != nil && l.join != 0 {
		return true
	}
	for _, m := range g.members {
		if m.join != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

func (g *classic) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalanceTimeout)
	}
	return d
}

// supports reports whether somebody with these protocols can be in one group with the members.
func (g *classic) supports(protocolType string, names []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(names) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(names, func(p kmsg.JoinGroupRequestProtocol) bool {
		return g.common(p.Name)
	})
}

// common reports whether all members support a protocol.
func (g *classic) common(name string) bool {
	for _, m := range g.members {
		if m.find(name) == nil {
			return false
		}
	}
	return true
}

// selectProtocol counts a vote of each member for the first of its protocols that all support. Ties
// go to the protocol that the longest-standing voter prefers.
func (g *classic) selectProtocol() string {
	votes := make(map[string]int)
	best := ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.common(p.name) {
				votes[p.name]++
				break
			}
		}
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if votes[p.name] > votes[best] {
				best = p.name
			}
		}
	}
	return best
}

// subscribe works out which topics the members subscribe to, if the group's protocol tells.
func (g *classic) subscribe() {
	g.topics, g.topicsKnown = make(map[string]bool), len(g.members) == 0
	if g.protocolType != consumerProtocol || len(g.members) == 0 {
		return
	}
	for _, m := range g.members {
		topics, ok := subscribedTopics(m.metadata(g.protocol))
		if !ok {
			clear(g.topics)
			return
		}
		for _, topic := range topics {
			g.topics[topic] = true
		}
	}
	g.topicsKnown = true
}

// deadline is the first time at which something in the group runs out; zero for none.
func (g *classic) deadline() time.Time {
	next := earlier(g.joinEnd, g.syncEnd)
	for _, at := range g.promised {
		next = earlier(next, at)
	}
	for _, m := range g.members {
		if m.watched() {
			next = earlier(next, m.silent)
		}
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// watched reports whether silence removes the member. While we owe it an answer it need not send
// heartbeats, except before its first join has ended: it may have gone without having learned its
// id, so that wait is bounded too.
func (m *member) watched() bool { return m.fresh || (m.join == 0 && m.sync == 0) }

func (m *member) find(name string) *protocol {
	for i := range m.protocols {
		if m.protocols[i].name == name {
			return &m.protocols[i]
		}
	}
	return nil
}

func (m *member) metadata(name string) []byte {
	if p := m.find(name); p != nil {
		return p.metadata
	}
	return nil
}

// matches reports whether the member already has just these protocols, in this order.
func (m *member) matches(protocols []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a protocol, b kmsg.JoinGroupRequestProtocol) bool {
		return a.name == b.Name && bytes.Equal(a.metadata, b.Metadata)
	})
}

// update takes over what a join says about the member.
func (m *member) update(e *Join) {
	m.sessionTimeout, m.rebalanceTimeout = e.SessionTimeout, e.RebalanceTimeout
	m.clientID, m.clientHost = e.ClientID, e.ClientHost
	m.protocols = make([]protocol, len(e.Protocols))
	for i, p := range e.Protocols {
		m.protocols[i] = protocol{p.Name, slices.Clone(p.Metadata)}
	}
}

func millis(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
