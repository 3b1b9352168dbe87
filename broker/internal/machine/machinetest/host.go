package machinetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
)

// Host is what the hosts of transcript tests have in common: a clock that stands until it is told to
// move, a log, what was sent, and a transcript of what everybody is answered. It is for one goroutine.
type Host struct {
	T     *testing.T
	Now   time.Time
	Log   []machine.Record
	Shown int // records that the transcript has shown
	Sends []machine.Send
	Out   strings.Builder

	Timers map[machine.TimerKey]time.Time

	decide func(machine.Input)
	token  machine.Token
	who    map[machine.Token]string
}

// NewHost returns a host that has decide handle inputs.
func NewHost(t *testing.T, decide func(machine.Input)) *Host {
	return &Host{T: t, Now: time.Unix(1_700_000_000, 0).UTC(), Timers: map[machine.TimerKey]time.Time{}, decide: decide, who: map[machine.Token]string{}}
}

// Asks gives a token to somebody who is about to ask something.
func (h *Host) Asks(who string) machine.Token {
	h.token++
	h.who[h.token] = who
	return h.token
}

// Waits tells whether an answer is owed, and writes it down.
func (h *Host) Waits(token machine.Token) bool {
	who, waits := h.who[token]
	if waits {
		fmt.Fprintf(&h.Out, "%s: waits\n", who)
	}
	return waits
}

// Answered tells who gets an answer, which may come once.
func (h *Host) Answered(token machine.Token) (who string) {
	who, ok := h.who[token]
	if !ok {
		h.T.Fatalf("token %d answered twice", token)
	}
	delete(h.who, token)
	return who
}

// Arm sets and stops timers.
func (h *Host) Arm(timers []machine.Timer) {
	for _, timer := range timers {
		if delete(h.Timers, timer.Key); !timer.At.IsZero() {
			h.Timers[timer.Key] = timer.At
		}
	}
}

// Forget drops timers and who waits, as a move to another broker does.
func (h *Host) Forget() {
	clear(h.Timers)
	clear(h.who)
}

// Advance moves the clock and fires what runs out, in order.
func (h *Host) Advance(d time.Duration) {
	end := h.Now.Add(d)
	for {
		var next machine.TimerKey
		var at time.Time
		for key, when := range h.Timers {
			if at.IsZero() || when.Before(at) || when.Equal(at) && key.Kind+key.ID < next.Kind+next.ID {
				next, at = key, when
			}
		}
		if at.IsZero() || at.After(end) {
			h.Now = end
			return
		}
		if at.After(h.Now) {
			h.Now = at
		}
		delete(h.Timers, next)
		h.decide(machine.Input{Event: machine.Fired{Key: next}})
	}
}

// Code is an error as transcripts show it.
func Code(err error) string {
	if err == nil {
		return "ok"
	}
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Message
	}
	return err.Error()
}

// Args reads the arguments of a directive of a transcript.
type Args struct {
	T *testing.T
	D *datadriven.TestData
}

// Strings are the values of an argument.
func (a Args) Strings(key string) []string {
	for _, arg := range a.D.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

// String is the one value of an argument.
func (a Args) String(key, otherwise string) string {
	if vals := a.Strings(key); len(vals) == 1 {
		return vals[0]
	}
	return otherwise
}

// Int is a number.
func (a Args) Int(key string, otherwise int) int {
	n := otherwise
	if s := a.String(key, ""); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			a.D.Fatalf(a.T, "%v", err)
		}
	}
	return n
}

// Duration is a span of time as Go writes it.
func (a Args) Duration(key string, otherwise time.Duration) time.Duration {
	s := a.String(key, "")
	if s == "" {
		return otherwise
	}
	return a.duration(s)
}

// Span is the argument of a directive that has but one, which is a span of time.
func (a Args) Span() time.Duration { return a.duration(a.D.CmdArgs[0].Key) }

func (a Args) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		a.D.Fatalf(a.T, "%v", err)
	}
	return d
}

// Has tells whether an argument is there.
func (a Args) Has(key string) bool {
	return slices.ContainsFunc(a.D.CmdArgs, func(arg datadriven.CmdArg) bool { return arg.Key == key })
}

// Who is the first argument: whom the directive is about.
func (a Args) Who(otherwise string) string {
	if len(a.D.CmdArgs) == 0 || len(a.D.CmdArgs[0].Vals) > 0 {
		return otherwise
	}
	return a.D.CmdArgs[0].Key
}
