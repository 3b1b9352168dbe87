package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/internal/deadletter"
	"github.com/weirstream/weir/streams/processor"
)

// readLetter finds the letter among the headers of a record, and the record's own.
func readLetter(t *testing.T, headers []Header) (deadletter.Letter, []deadletter.Header) {
	t.Helper()
	all := make([]deadletter.Header, len(headers))
	for i, h := range headers {
		all[i] = deadletter.Header(h)
	}
	l, d, ok := deadletter.Read(all)
	if !ok || d != deadletter.Weir {
		t.Fatalf("no dead letter in %v", headers)
	}
	return l, deadletter.Original(all)
}

const poison, flaky = 2, 4 // offsets modulo 5

// newFlaky is an application that some messages fail in: poison ones always, flaky
// ones twice, and those only after they were sent on.
func newFlaky(t *testing.T, v *vault) *promise {
	t.Helper()
	p := newPromise(t, v)
	prog := newProgram(t)
	tries := map[string]int{}
	prog.hook = func(h processor.Host, m *Message) error {
		if m.Offset%5 == poison {
			return errors.New("poison")
		}
		err := h.Send(Outgoing{Topic: "each", Partition: m.Partition, Key: m.Key, Value: strconv.AppendInt(nil, m.Offset, 10)})
		if place := fmt.Sprint(m.Partition, m.Offset); err == nil && m.Offset%5 == flaky && tries[place] < 2 {
			tries[place]++
			err = errors.New("not now")
		}
		return err
	}
	p.o.Program = prog
	p.o.ErrorPolicy = ErrorPolicy{Retries: 1000, Backoff: 20 * time.Millisecond, DeadLetters: "dlq.app", OnError: func(e ErrorEvent) Decision {
		if e.Offset%5 == poison {
			return DeadLetter
		}
		return Retry
	}}
	return p
}

// checkLetters wants every poison message in the dead letters once, in order, and
// every other one to have been sent on once.
func (p *promise) checkLetters(what string) {
	p.t.Helper()
	var wantSent, wantDead []int64
	for i := range int64(rounds * perRound) {
		if i%5 == poison {
			wantDead = append(wantDead, i)
		} else {
			wantSent = append(wantSent, i)
		}
	}
	dead := map[int32][]int64{}
	for _, m := range p.vault.read(TP{"dlq.app", 0}, 0, 1<<30).Messages {
		l, _ := readLetter(p.t, m.Headers)
		dead[l.Origin.Partition] = append(dead[l.Origin.Partition], l.Origin.Offset)
	}
	for part := range int32(2) {
		var sent []int64
		for _, m := range p.vault.read(TP{"each", part}, 0, 1<<30).Messages {
			n, err := strconv.ParseInt(string(m.Value), 10, 64)
			must(p.t, err)
			sent = append(sent, n)
		}
		if diff := cmp.Diff(wantSent, sent); diff != "" {
			p.t.Fatalf("%s: sent on of %d: %s", what, part, diff)
		}
		if diff := cmp.Diff(wantDead, dead[part]); diff != "" {
			p.t.Fatalf("%s: dead letters of %d: %s", what, part, diff)
		}
		p.checkCounts(what, part)
	}
}

// TestNoLetterIsLostOrTwice fails every third step of a run once, for now or for
// good, while messages are retried and given up.
func TestNoLetterIsLostOrTwice(t *testing.T) {
	var steps []string
	synctest.Test(t, func(t *testing.T) {
		p := newFlaky(t, newVault())
		p.drive()
		p.checkLetters("undisturbed")
		steps = p.Steps()
	})
	polls := 0
	for i, name := range steps {
		if name == "poll" {
			if polls++; polls > 12 {
				continue
			}
		}
		if i%3 != 0 {
			continue
		}
		if t.Failed() {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			p := newFlaky(t, newVault())
			p.FailAt(i, i%2 == 0)
			p.drive()
			p.checkLetters(fmt.Sprintf("step %d, %s", i, name))
		})
	}
	if !slices.Contains(steps, "ended") {
		t.Errorf("nothing was committed in %v", steps)
	}
}

// TestNoLetterIsLostOrTwiceWithManyFailures fails one step of sixty, in many runs.
func TestNoLetterIsLostOrTwiceWithManyFailures(t *testing.T) {
	runs, _ := often(t, 60, newFlaky, (*promise).checkLetters)
	if runs < 120 {
		t.Errorf("%d starts: the failures show nothing", runs)
	}
}
