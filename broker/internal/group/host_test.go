package group

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/field"
	"github.com/weirstream/weir/broker/internal/machine/machinetest"
)

// host is the simplest host of a machine: it commits at once, has a clock that stands until it is told
// to move, and writes down what everybody is answered.
type host struct {
	*machinetest.Host
	m       *Machine
	ids     map[string]string // member ids by who has them
	random  int
	slow    bool
	pending int
	markers map[int]machine.Marker // by their place in the log
}

func newHost(t *testing.T, o Options) *host {
	h := &host{m: New(o), ids: make(map[string]string), markers: make(map[int]machine.Marker)}
	h.Host = machinetest.NewHost(t, h.decide)
	return h
}

// do decides on an event of somebody.
func (h *host) do(who string, event any) {
	token := h.Asks(who)
	h.decide(machine.Input{Token: token, Event: event})
	if h.Waits(token) {
		h.remember(who, token)
	}
}

// remember notes the id of somebody who waits and does not know it.
func (h *host) remember(who string, token machine.Token) {
	for _, g := range h.m.groups {
		for _, m := range g.members {
			if m.join == token {
				h.ids[who] = m.id
			}
		}
	}
}

func (h *host) decide(in machine.Input) {
	fx := h.m.Decide(h.Now, in)
	for _, r := range fx.Records {
		if err := h.m.Replay(r); err != nil {
			h.T.Fatal(err)
		}
		h.Log = append(h.Log, r)
		if h.pending++; !h.slow {
			h.m.Commit(1)
			h.pending--
		}
	}
	h.Arm(fx.Timers)
	for _, s := range fx.Sends {
		h.Sends = append(h.Sends, s)
		ask := s.Request.(*JoinTransaction)
		how := "verify"
		if ask.Add {
			how = "add"
		}
		fmt.Fprintf(&h.Out, "ask: %s %s of %s producer=%d epoch=%d\n", how, ask.Group, ask.TransactionalID, ask.ProducerID, ask.ProducerEpoch)
	}
	for _, r := range fx.Replies {
		who := h.Answered(r.Token)
		fmt.Fprintf(&h.Out, "%s: %s\n", who, h.show(who, r))
	}
}

// reload gives the log to an empty machine, as another broker would.
func (h *host) reload() {
	h.m = New(h.m.options)
	for i, r := range h.Log {
		if m, ok := h.markers[i]; ok {
			h.m.ReplayMarker(m)
		} else if err := h.m.Replay(r); err != nil {
			h.T.Fatal(err)
		}
		h.m.Commit(1)
	}
	h.Forget()
	h.decide(machine.Input{Event: machine.Loaded{}})
}

func (h *host) show(who string, r machine.Reply) string {
	var b strings.Builder
	if r.Err != nil {
		b.WriteString(machinetest.Code(r.Err))
	}
	switch v := r.Value.(type) {
	case Joined:
		h.ids[who] = v.MemberID
		if r.Err != nil {
			return b.String() + " " + v.MemberID
		}
		fmt.Fprintf(&b, "joined %s generation=%d protocol=%s/%s leader=%s", v.MemberID, v.Generation, v.ProtocolType, v.Protocol, v.Leader)
		if v.Members != nil {
			b.WriteString(" members=[")
			for i, m := range v.Members {
				fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", min(i, 1)), m.MemberID)
				if m.InstanceID != nil {
					fmt.Fprintf(&b, "(%s)", *m.InstanceID)
				}
			}
			b.WriteString("]")
		}
		if v.SkipAssignment {
			b.WriteString(" skip-assignment")
		}
	case Synced:
		fmt.Fprintf(&b, "synced %s/%s assignment=%q", v.ProtocolType, v.Protocol, v.Assignment)
	case []error:
		for i, err := range v {
			fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", min(i, 1)), machinetest.Code(err))
		}
	case []FetchedTopic:
		b.WriteString(showOffsets(v))
	case *kmsg.DescribeGroupsResponseGroup:
		fmt.Fprintf(&b, "%s %s type=%q protocol=%q", v.Group, v.State, v.ProtocolType, v.Protocol)
		for _, m := range v.Members {
			fmt.Fprintf(&b, "\n  %s client=%s host=%s metadata=%q assignment=%q", m.MemberID, m.ClientID, m.ClientHost, m.ProtocolMetadata, m.MemberAssignment)
		}
	case []kmsg.ListGroupsResponseGroup:
		for i, g := range v {
			fmt.Fprintf(&b, "%s%s %s %q %s", strings.Repeat(", ", min(i, 1)), g.Group, g.GroupState, g.ProtocolType, g.GroupType)
		}
		if len(v) == 0 {
			b.WriteString("no groups")
		}
	case nil:
		if r.Err == nil {
			b.WriteString("ok")
		}
	}
	return b.String()
}

func showOffsets(topics []FetchedTopic) string {
	var parts []string
	for _, topic := range topics {
		for _, p := range topic.Partitions {
			s := fmt.Sprintf("%s/%d=%d", topic.Topic, p.Partition, p.Offset)
			if p.LeaderEpoch >= 0 {
				s += fmt.Sprintf(" epoch=%d", p.LeaderEpoch)
			}
			if p.Metadata != "" {
				s += fmt.Sprintf(" metadata of %d", len(p.Metadata))
			}
			if p.Err != nil {
				s += " " + machinetest.Code(p.Err)
			}
			parts = append(parts, s)
		}
	}
	if parts == nil {
		return "no offsets"
	}
	return strings.Join(parts, ", ")
}

// showLog prints what was appended since it was last shown.
func (h *host) showLog() {
	for i, r := range h.Log[h.Shown:] {
		if m, ok := h.markers[h.Shown+i]; ok {
			fmt.Fprintf(&h.Out, "log: marker producer=%d commit=%t\n", m.ProducerID, m.Commit)
			continue
		}
		p, err := parse(r)
		switch {
		case err != nil:
			h.T.Fatal(err)
		case p.kind == keyOffset && p.offset == nil:
			fmt.Fprintf(&h.Out, "log: offset %s %s/%d tombstone\n", p.key.group, p.key.topic, p.key.partition)
		case p.kind == keyOffset:
			fmt.Fprintf(&h.Out, "log: offset %s %s/%d=%d", p.key.group, p.key.topic, p.key.partition, p.offset.Offset)
			if r.Txn != nil {
				fmt.Fprintf(&h.Out, " producer=%d epoch=%d", r.Txn.ProducerID, r.Txn.ProducerEpoch)
			}
			h.Out.WriteString("\n")
		case p.metadata == nil:
			fmt.Fprintf(&h.Out, "log: group %s tombstone\n", p.key.group)
		default:
			d := p.metadata
			fmt.Fprintf(&h.Out, "log: group %s generation=%d protocol=%s/%s leader=%s members=[", p.key.group, d.Generation, d.ProtocolType, text(d.Protocol), text(d.Leader))
			for i, m := range d.Members {
				fmt.Fprintf(&h.Out, "%s%s:%q", strings.Repeat(" ", min(i, 1)), m.ID, m.Assignment)
			}
			h.Out.WriteString("]\n")
		}
	}
	h.Shown = len(h.Log)
}

// subscription is the metadata of a consumer that subscribes to topics.
func subscription(topics ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 1}, uint32(len(topics)))
	for _, topic := range topics {
		b = field.AppendString(b, topic)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff)
}

// args reads the arguments of a directive.
type args struct {
	machinetest.Args
	h *host
}

func (a args) who() string { return a.Who("client") }

func (a args) pointer(key string) *string {
	if vals := a.Strings(key); len(vals) == 1 {
		return &vals[0]
	}
	return nil
}

func (a args) member() string { return a.String("member", a.h.ids[a.who()]) }

func (a args) group() string { return a.String("group", "g") }

func (a args) partitions() []TopicPartitions {
	w := TopicPartitions{Topic: a.String("topic", "t")}
	for _, p := range append(a.Strings("p"), []string{"0"}[min(len(a.Strings("p")), 1):]...) {
		var n int32
		if _, err := fmt.Sscan(p, &n); err != nil {
			a.D.Fatalf(a.T, "%v", err)
		}
		w.Partitions = append(w.Partitions, n)
	}
	if id := a.Int("id", 0); id != 0 {
		w.TopicID[15] = byte(id)
	}
	return []TopicPartitions{w}
}
