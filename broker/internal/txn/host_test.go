package txn

import (
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
)

// host is the simplest host of a machine: it commits at once, has a clock that stands until it is told
// to move, keeps what is sent until it is told how that ends, and writes down what everybody is
// answered.
type host struct {
	t      *testing.T
	m      *Machine
	now    time.Time
	log    []machine.Record
	shown  int // records that the log command has shown
	timers map[machine.TimerKey]time.Time
	token  machine.Token
	who    map[machine.Token]string
	asked  map[machine.Token]any
	holds  map[string]Producer // by who has it
	nextID int64
	sends  []machine.Send
	out    strings.Builder
}

func newHost(t *testing.T) *host {
	return &host{
		t: t, m: New(DefaultOptions(), 7), now: time.Unix(1_700_000_000, 0).UTC(), timers: make(map[machine.TimerKey]time.Time),
		who: make(map[machine.Token]string), asked: make(map[machine.Token]any), holds: make(map[string]Producer), nextID: 1000,
	}
}

// do decides on an event of somebody.
func (h *host) do(who string, event any) {
	h.token++
	token := h.token
	h.who[token], h.asked[token] = who, event
	h.decide(machine.Input{Token: token, Event: event})
	if _, ok := h.who[token]; ok {
		fmt.Fprintf(&h.out, "%s: waits\n", who)
	}
}

func (h *host) decide(in machine.Input) {
	fx := h.m.Decide(h.now, in)
	for _, r := range fx.Records {
		if err := h.m.Replay(r); err != nil {
			h.t.Fatal(err)
		}
		h.log = append(h.log, r)
		h.m.Commit(1)
	}
	for _, timer := range fx.Timers {
		if delete(h.timers, timer.Key); !timer.At.IsZero() {
			h.timers[timer.Key] = timer.At
		}
	}
	for _, r := range fx.Replies {
		h.reply(r)
	}
	for _, s := range fx.Sends {
		fmt.Fprintf(&h.out, "send: %s\n", showMarkers(s))
		h.sends = append(h.sends, s)
	}
}

// reply writes an answer down. A producer id that is needed is given, as the handlers do.
func (h *host) reply(r machine.Reply) {
	who, ok := h.who[r.Token]
	if !ok {
		h.t.Fatalf("token %d answered twice", r.Token)
	}
	event := h.asked[r.Token]
	delete(h.who, r.Token)
	delete(h.asked, r.Token)
	if errors.Is(r.Err, ErrProducerIDNeeded) {
		h.nextID++
		switch e := event.(type) {
		case *InitProducer:
			e.NewProducerID = h.nextID
		case *EndTxn:
			e.NewProducerID = h.nextID
		}
		fmt.Fprintf(&h.out, "%s: is given producer id %d\n", who, h.nextID)
		h.do(who, event)
		return
	}
	if p, ok := r.Value.(Producer); ok && bumps(event) {
		h.holds[who] = p
	}
	fmt.Fprintf(&h.out, "%s: %s\n", who, show(r))
}

func bumps(event any) bool {
	e, isEnd := event.(*EndTxn)
	return !isEnd || e.Bump
}

func showMarkers(s machine.Send) string {
	w, ok := s.Request.(*WriteMarkers)
	if !ok {
		return fmt.Sprintf("%T", s.Request)
	}
	var b strings.Builder
	b.WriteString(map[bool]string{true: "commit", false: "abort"}[w.Commit])
	fmt.Fprintf(&b, " %s producer=%d/%d coordinator=%d", w.TransactionalID, w.ProducerID, w.ProducerEpoch, w.CoordinatorEpoch)
	if w.Bumped {
		b.WriteString(" bumped")
	}
	for _, p := range w.Partitions {
		fmt.Fprintf(&b, " %s/%d", p.Topic, p.Partition)
	}
	return b.String()
}

// deliver ends the oldest send: every marker is written but those that have an error.
func (h *host) deliver(a args) {
	if len(h.sends) == 0 {
		a.d.Fatalf(h.t, "nothing was sent")
	}
	s := h.sends[0]
	h.sends = h.sends[1:]
	if a.has("lost") {
		h.decide(machine.Input{Event: machine.Answered{Send: s, Err: errors.New("lost")}})
		return
	}
	errs := make([]error, len(s.Request.(*WriteMarkers).Partitions))
	for i, p := range s.Request.(*WriteMarkers).Partitions {
		if name := a.string(fmt.Sprintf("%s/%d", p.Topic, p.Partition), ""); name != "" {
			errs[i] = errorNamed(name)
		}
	}
	h.decide(machine.Input{Event: machine.Answered{Send: s, Value: errs}})
}

func errorNamed(name string) error {
	for code := range int16(200) {
		if e := kerr.TypedErrorForCode(code); e != nil && e.Message == name {
			return e
		}
	}
	return errors.New(name)
}

// advance moves the clock and fires what runs out, in order.
func (h *host) advance(d time.Duration) {
	end := h.now.Add(d)
	for {
		var next machine.TimerKey
		var at time.Time
		for key, when := range h.timers {
			if at.IsZero() || when.Before(at) || when.Equal(at) && key.Kind+key.ID < next.Kind+next.ID {
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

// move gives the log to an empty machine, as another broker would. Who waits is told by the host.
func (h *host) move(epoch int32) {
	h.m = New(h.m.options, epoch)
	for _, r := range h.log {
		if err := h.m.Replay(r); err != nil {
			h.t.Fatal(err)
		}
		h.m.Commit(1)
	}
	clear(h.timers)
	clear(h.who)
	clear(h.asked)
	h.sends = nil
	h.decide(machine.Input{Event: machine.Loaded{}})
}

func show(r machine.Reply) string {
	if r.Err != nil {
		return code(r.Err)
	}
	var b strings.Builder
	switch v := r.Value.(type) {
	case Producer:
		fmt.Fprintf(&b, "ok, producer %d/%d", v.ID, v.Epoch)
	case []error:
		for i, err := range v {
			fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", min(i, 1)), code(err))
		}
	case *kmsg.DescribeTransactionsResponseTransactionState:
		fmt.Fprintf(&b, "%s %s producer=%d/%d timeout=%d started=%d", v.TransactionalID, v.State, v.ProducerID, v.ProducerEpoch, v.TimeoutMillis, v.StartTimestamp)
		for _, t := range v.Topics {
			fmt.Fprintf(&b, " %s%v", t.Topic, t.Partitions)
		}
	case []kmsg.ListTransactionsResponseTransactionState:
		for i, x := range v {
			fmt.Fprintf(&b, "%s%s %s %d", strings.Repeat(", ", min(i, 1)), x.TransactionalID, x.TransactionState, x.ProducerID)
		}
		if len(v) == 0 {
			b.WriteString("nothing")
		}
	default:
		fmt.Fprintf(&b, "%T", v)
	}
	return b.String()
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
	for _, r := range h.log[h.shown:] {
		id, x, _, err := parse(r)
		switch {
		case err != nil:
			h.t.Fatal(err)
		case x == nil:
			fmt.Fprintf(&h.out, "log: %s tombstone\n", id)
		default:
			fmt.Fprintf(&h.out, "log: %s %s producer=%d/%d previous=%d", id, x.state, x.producerID, x.epoch, x.previousID)
			if x.nextID != noProducer {
				fmt.Fprintf(&h.out, " next=%d", x.nextID)
			}
			fmt.Fprintf(&h.out, " version=%d", x.version)
			for _, p := range x.partitions {
				fmt.Fprintf(&h.out, " %s/%d", p.Topic, p.Partition)
			}
			h.out.WriteString("\n")
		}
	}
	h.shown = len(h.log)
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
		return "admin"
	}
	return a.d.CmdArgs[0].Key
}

func (a args) id() string {
	if a.has("no-id") {
		return ""
	}
	return a.string("id", "tx")
}

// producer is what somebody holds, unless the directive says otherwise.
func (a args) producer() Producer {
	p := a.h.holds[a.who()]
	return Producer{int64(a.int("producer", int(p.ID))), int16(a.int("epoch", int(p.Epoch)))}
}

// partitions are those of p, of topic t or as topic/number.
func (a args) partitions() []TopicPartition {
	var all []TopicPartition
	for _, s := range a.strings("p") {
		p := TopicPartition{Topic: "t"}
		if topic, number, ok := strings.Cut(s, "/"); ok {
			p.Topic, s = topic, number
		}
		if _, err := fmt.Sscan(s, &p.Partition); err != nil {
			a.d.Fatalf(a.h.t, "%v", err)
		}
		all = append(all, p)
	}
	return all
}
