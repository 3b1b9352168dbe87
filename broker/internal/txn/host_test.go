package txn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/machinetest"
)

// host is the simplest host of a machine: it commits at once, has a clock that stands until it is told
// to move, keeps what is sent until it is told how that ends, and writes down what everybody is
// answered.
type host struct {
	*machinetest.Host
	m      *Machine
	asked  map[machine.Token]any
	holds  map[string]Producer // by who has it
	nextID int64
}

func newHost(t *testing.T) *host {
	h := &host{m: New(DefaultOptions(), 7), asked: make(map[machine.Token]any), holds: make(map[string]Producer), nextID: 1000}
	h.Host = machinetest.NewHost(t, h.decide)
	return h
}

// do decides on an event of somebody.
func (h *host) do(who string, event any) {
	token := h.Asks(who)
	h.asked[token] = event
	h.decide(machine.Input{Token: token, Event: event})
	h.Waits(token)
}

func (h *host) decide(in machine.Input) {
	fx := h.m.Decide(h.Now, in)
	for _, r := range fx.Records {
		if err := h.m.Replay(r); err != nil {
			h.T.Fatal(err)
		}
		h.Log = append(h.Log, r)
		h.m.Commit(1)
	}
	h.Arm(fx.Timers)
	for _, r := range fx.Replies {
		h.reply(r)
	}
	for _, s := range fx.Sends {
		fmt.Fprintf(&h.Out, "send: %s\n", showMarkers(s))
		h.Sends = append(h.Sends, s)
	}
}

// reply writes an answer down. A producer id that is needed is given, as the handlers do.
func (h *host) reply(r machine.Reply) {
	who, event := h.Answered(r.Token), h.asked[r.Token]
	delete(h.asked, r.Token)
	if errors.Is(r.Err, ErrProducerIDNeeded) {
		h.nextID++
		switch e := event.(type) {
		case *InitProducer:
			e.NewProducerID = h.nextID
		case *EndTxn:
			e.NewProducerID = h.nextID
		}
		fmt.Fprintf(&h.Out, "%s: is given producer id %d\n", who, h.nextID)
		h.do(who, event)
		return
	}
	if p, ok := r.Value.(Producer); ok && bumps(event) {
		h.holds[who] = p
	}
	fmt.Fprintf(&h.Out, "%s: %s\n", who, show(r))
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
	if len(h.Sends) == 0 {
		a.D.Fatalf(h.T, "nothing was sent")
	}
	s := h.Sends[0]
	h.Sends = h.Sends[1:]
	if a.Has("lost") {
		h.decide(machine.Input{Event: machine.Answered{Send: s, Err: errors.New("lost")}})
		return
	}
	errs := make([]error, len(s.Request.(*WriteMarkers).Partitions))
	for i, p := range s.Request.(*WriteMarkers).Partitions {
		if name := a.String(fmt.Sprintf("%s/%d", p.Topic, p.Partition), ""); name != "" {
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

// move gives the log to an empty machine, as another broker would. Who waits is told by the host.
func (h *host) move(epoch int32) {
	h.m = New(h.m.options, epoch)
	for _, r := range h.Log {
		if err := h.m.Replay(r); err != nil {
			h.T.Fatal(err)
		}
		h.m.Commit(1)
	}
	h.Forget()
	clear(h.asked)
	h.Sends = nil
	h.decide(machine.Input{Event: machine.Loaded{}})
}

func show(r machine.Reply) string {
	if r.Err != nil {
		return machinetest.Code(r.Err)
	}
	var b strings.Builder
	switch v := r.Value.(type) {
	case Producer:
		fmt.Fprintf(&b, "ok, producer %d/%d", v.ID, v.Epoch)
	case []error:
		for i, err := range v {
			fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", min(i, 1)), machinetest.Code(err))
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

// showLog prints what was appended since it was last shown.
func (h *host) showLog() {
	for _, r := range h.Log[h.Shown:] {
		id, x, _, err := parse(r)
		switch {
		case err != nil:
			h.T.Fatal(err)
		case x == nil:
			fmt.Fprintf(&h.Out, "log: %s tombstone\n", id)
		default:
			fmt.Fprintf(&h.Out, "log: %s %s producer=%d/%d previous=%d", id, x.state, x.producerID, x.epoch, x.previousID)
			if x.nextID != noProducer {
				fmt.Fprintf(&h.Out, " next=%d", x.nextID)
			}
			fmt.Fprintf(&h.Out, " version=%d", x.version)
			for _, p := range x.partitions {
				fmt.Fprintf(&h.Out, " %s/%d", p.Topic, p.Partition)
			}
			h.Out.WriteString("\n")
		}
	}
	h.Shown = len(h.Log)
}

// args reads the arguments of a directive.
type args struct {
	machinetest.Args
	h *host
}

func (a args) who() string { return a.Who("admin") }

func (a args) id() string {
	if a.Has("no-id") {
		return ""
	}
	return a.String("id", "tx")
}

// producer is what somebody holds, unless the directive says otherwise.
func (a args) producer() Producer {
	p := a.h.holds[a.who()]
	return Producer{int64(a.Int("producer", int(p.ID))), int16(a.Int("epoch", int(p.Epoch)))}
}

// partitions are those of p, of topic t or as topic/number.
func (a args) partitions() []TopicPartition {
	var all []TopicPartition
	for _, s := range a.Strings("p") {
		p := TopicPartition{Topic: "t"}
		if topic, number, ok := strings.Cut(s, "/"); ok {
			p.Topic, s = topic, number
		}
		if _, err := fmt.Sscan(s, &p.Partition); err != nil {
			a.D.Fatalf(a.T, "%v", err)
		}
		all = append(all, p)
	}
	return all
}
