package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/field"
)

// host is the simplest host of a machine: it commits at once, has a clock that stands until it is told
// to move, and writes down what everybody is answered.
type host struct {
	t       *testing.T
	m       *Machine
	now     time.Time
	log     []machine.Record
	timers  map[machine.TimerKey]time.Time
	token   machine.Token
	who     map[machine.Token]string
	ids     map[string]string // member ids by who has them
	random  int
	out     strings.Builder
	dropped int // records that the log command has shown
	slow    bool
	pending int
	sends   []machine.Send
	markers map[int]machine.Marker // by their place in the log
}

func newHost(t *testing.T, o Options) *host {
	return &host{
		t: t, m: New(o), now: time.Unix(1_700_000_000, 0).UTC(), timers: make(map[machine.TimerKey]time.Time),
		who: make(map[machine.Token]string), ids: make(map[string]string), markers: make(map[int]machine.Marker),
	}
}

// do decides on an event of somebody.
func (h *host) do(who string, event any) {
	h.token++
	h.who[h.token] = who
	token := h.token
	h.decide(machine.Input{Token: token, Event: event})
	if _, ok := h.who[token]; ok {
		fmt.Fprintf(&h.out, "%s: waits\n", who)
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
	fx := h.m.Decide(h.now, in)
	for _, r := range fx.Records {
		if err := h.m.Replay(r); err != nil {
			h.t.Fatal(err)
		}
		h.log = append(h.log, r)
		if h.pending++; !h.slow {
			h.m.Commit(1)
			h.pending--
		}
	}
	for _, timer := range fx.Timers {
		if delete(h.timers, timer.Key); !timer.At.IsZero() {
			h.timers[timer.Key] = timer.At
		}
	}
	for _, s := range fx.Sends {
		h.sends = append(h.sends, s)
		ask := s.Request.(*JoinTransaction)
		how := "verify"
		if ask.Add {
			how = "add"
		}
		fmt.Fprintf(&h.out, "ask: %s %s of %s producer=%d epoch=%d\n", how, ask.Group, ask.TransactionalID, ask.ProducerID, ask.ProducerEpoch)
	}
	for _, r := range fx.Replies {
		who, ok := h.who[r.Token]
		if !ok {
			h.t.Fatalf("token %d answered twice", r.Token)
		}
		delete(h.who, r.Token)
		fmt.Fprintf(&h.out, "%s: %s\n", who, h.show(who, r))
	}
}

// advance moves the clock and fires what runs out, in order.
func (h *host) advance(d time.Duration) {
	end := h.now.Add(d)
	for {
		var next machine.TimerKey
		var at time.Time
		for key, when := range h.timers {
			if at.IsZero() || when.Before(at) || when.Equal(at) && key.ID < next.ID {
				next, at = key, when
			}
		}
		if at.IsZero() || at.After(end) {
			h.now = end
			return
		}
		if at.After(h.now) {
			h.now = at
		}
		delete(h.timers, next)
		h.decide(machine.Input{Event: machine.Fired{Key: next}})
	}
}

// reload gives the log to an empty machine, as another broker would.
func (h *host) reload() {
	h.m = New(h.m.options)
	for i, r := range h.log {
		if m, ok := h.markers[i]; ok {
			h.m.ReplayMarker(m)
		} else if err := h.m.Replay(r); err != nil {
			h.t.Fatal(err)
		}
		h.m.Commit(1)
	}
	clear(h.timers)
	clear(h.who)
	h.decide(machine.Input{Event: machine.Loaded{}})
}

func (h *host) show(who string, r machine.Reply) string {
	var b strings.Builder
	if r.Err != nil {
		b.WriteString(code(r.Err))
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
			fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", min(i, 1)), code(err))
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
				s += " " + code(p.Err)
			}
			parts = append(parts, s)
		}
	}
	if parts == nil {
		return "no offsets"
	}
	return strings.Join(parts, ", ")
}

func code(err error) string {
	if err == nil {
		return "ok"
	}
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Message
	}
	return err.Error()
}

// showLog prints what was appended since it was last shown.
func (h *host) showLog() {
	for i, r := range h.log[h.dropped:] {
		if m, ok := h.markers[h.dropped+i]; ok {
			fmt.Fprintf(&h.out, "log: marker producer=%d commit=%t\n", m.ProducerID, m.Commit)
			continue
		}
		p, err := parse(r)
		switch {
		case err != nil:
			h.t.Fatal(err)
		case p.kind == keyOffset && p.offset == nil:
			fmt.Fprintf(&h.out, "log: offset %s %s/%d tombstone\n", p.key.group, p.key.topic, p.key.partition)
		case p.kind == keyOffset:
			fmt.Fprintf(&h.out, "log: offset %s %s/%d=%d", p.key.group, p.key.topic, p.key.partition, p.offset.Offset)
			if r.Txn != nil {
				fmt.Fprintf(&h.out, " producer=%d epoch=%d", r.Txn.ProducerID, r.Txn.ProducerEpoch)
			}
			h.out.WriteString("\n")
		case p.metadata == nil:
			fmt.Fprintf(&h.out, "log: group %s tombstone\n", p.key.group)
		default:
			d := p.metadata
			fmt.Fprintf(&h.out, "log: group %s generation=%d protocol=%s/%s leader=%s members=[", p.key.group, d.Generation, d.ProtocolType, text(d.Protocol), text(d.Leader))
			for i, m := range d.Members {
				fmt.Fprintf(&h.out, "%s%s:%q", strings.Repeat(" ", min(i, 1)), m.ID, m.Assignment)
			}
			h.out.WriteString("]\n")
		}
	}
	h.dropped = len(h.log)
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
	h *host
	d *datadriven.TestData
}

func (a args) strings(key string) []string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func (a args) string(key, otherwise string) string {
	if vals := a.strings(key); len(vals) == 1 {
		return vals[0]
	}
	return otherwise
}

func (a args) pointer(key string) *string {
	if vals := a.strings(key); len(vals) == 1 {
		return &vals[0]
	}
	return nil
}

func (a args) int(key string, otherwise int) int {
	n := otherwise
	if s := a.string(key, ""); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			a.d.Fatalf(a.h.t, "%v", err)
		}
	}
	return n
}

func (a args) duration(key string, otherwise time.Duration) time.Duration {
	s := a.string(key, "")
	if s == "" {
		return otherwise
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		a.d.Fatalf(a.h.t, "%v", err)
	}
	return v
}

func (a args) has(key string) bool {
	return slices.ContainsFunc(a.d.CmdArgs, func(arg datadriven.CmdArg) bool { return arg.Key == key })
}

// who is the first argument: whom the directive is about.
func (a args) who() string {
	if len(a.d.CmdArgs) == 0 || len(a.d.CmdArgs[0].Vals) > 0 {
		return "client"
	}
	return a.d.CmdArgs[0].Key
}

func (a args) member() string { return a.string("member", a.h.ids[a.who()]) }

func (a args) group() string { return a.string("group", "g") }

func (a args) partitions() []TopicPartitions {
	w := TopicPartitions{Topic: a.string("topic", "t")}
	for _, p := range append(a.strings("p"), []string{"0"}[min(len(a.strings("p")), 1):]...) {
		var n int32
		if _, err := fmt.Sscan(p, &n); err != nil {
			a.d.Fatalf(a.h.t, "%v", err)
		}
		w.Partitions = append(w.Partitions, n)
	}
	if id := a.int("id", 0); id != 0 {
		w.TopicID[15] = byte(id)
	}
	return []TopicPartitions{w}
}
