package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/internal/deadletter"
	"github.com/weirstream/weir/streams/processor"
)

// picky is a collector that refuses what it is told to.
type picky struct {
	sent   []Outgoing
	refuse func(*Outgoing) bool
}

type tooLargeError struct{}

func (tooLargeError) Error() string    { return "too large" }
func (tooLargeError) KafkaCode() int16 { return 10 }

func (p *picky) Send(o *Outgoing) error {
	if p.refuse != nil && p.refuse(o) {
		return fmt.Errorf("%w: %w", ErrRefused, tooLargeError{})
	}
	c := *o
	c.Key, c.Value, c.Headers = slices.Clone(o.Key), slices.Clone(o.Value), slices.Clone(o.Headers)
	p.sent = append(p.sent, c)
	return nil
}

func (p *picky) letters() (sent []Outgoing) {
	for _, o := range p.sent {
		if o.Topic == "dlq.app" {
			sent = append(sent, o)
		}
	}
	return sent
}

// newFailing is a task whose messages fail as their value says: "bad" does, "panic"
// panics, "late" fails after it sent, "large" sends what is refused.
func newFailing(t *testing.T, decide ErrorHandler) (*rig, *picky) {
	t.Helper()
	out := &picky{refuse: func(o *Outgoing) bool { return string(o.Value) == "huge" }}
	r := newRig(t, func(r *rig) {
		r.o.Collector = out
		r.o.Trials = Trials{}
		r.o.ErrorPolicy = ErrorPolicy{OnError: decide, Retries: 3, Backoff: 100 * time.Millisecond, DeadLetters: "dlq.app"}
		r.prog.hook = func(h processor.Host, m *Message) error {
			switch string(m.Value) {
			case "bad":
				return errors.New("bad value")
			case "late":
				return errors.Join(h.Send(Outgoing{Topic: "out", Partition: AnyPartition, Value: []byte("early")}), errors.New("bad value"))
			case "large":
				return h.Send(Outgoing{Topic: "out", Partition: AnyPartition, Value: []byte("huge")})
			case "stop":
				return fmt.Errorf("%w: no more", processor.ErrStop)
			}
			return nil
		}
	})
	return r, out
}

// bad is the message at offset 7.
func bad(value string) *Message {
	return &Message{
		Topic: "in", Offset: 7, Key: []byte{0xff, 0}, Value: []byte(value), Timestamp: 5,
		Headers: []Header{{Key: "trace", Value: []byte{1, 0}}, {Key: "trace"}},
	}
}

// TestDecisions is the table of what each decision does with each failure.
func TestDecisions(t *testing.T) {
	const (
		goesOn  = "goes on"
		waits   = "waits"
		rewinds = "rewinds"
		fails   = "fails, whole"
		torn    = "fails"
	)
	for _, test := range []struct {
		value    string
		at       int64
		decision Decision
		want     string
		letters  int
	}{
		{"bad", 5, Fail, fails, 0},
		{"bad", 5, Continue, goesOn, 0},
		{"bad", 5, DeadLetter, goesOn, 1},
		{"bad", 5, Retry, waits, 0},
		{"bad", 5, Decision(9), fails, 0},
		{"late", 5, Fail, torn, 0},
		{"late", 5, Continue, goesOn, 0},
		{"late", 5, DeadLetter, goesOn, 1},
		{"late", 5, Retry, rewinds, 0},
		{"large", 5, Fail, torn, 0},
		{"large", 5, Continue, goesOn, 0},
		{"large", 5, DeadLetter, goesOn, 1},
		{"large", 5, Retry, rewinds, 0},
		{"time", -1, Fail, fails, 0},
		{"time", -1, Continue, goesOn, 0},
		{"time", -1, DeadLetter, goesOn, 1},
		{"time", -1, Retry, waits, 0},
		{"stop", 5, DeadLetter, fails, 0},
	} {
		t.Run(fmt.Sprintf("%s %d", test.value, test.decision), func(t *testing.T) {
			r, out := newFailing(t, func(ErrorEvent) Decision { return test.decision })
			m := bad(test.value)
			m.Timestamp = test.at
			must(t, r.Enqueue(m))
			r.put(t, "in", 8, "next", 6)
			_, err := r.ProcessNext()
			got := goesOn
			whole := (*failure)(nil)
			_, retries := r.RetryAt()
			switch {
			case errors.Is(err, ErrRetry):
				got = rewinds
			case errors.As(err, &whole) && whole.clean:
				got = fails
			case err != nil:
				got = torn
			case retries:
				got = waits
			}
			if got != test.want || len(out.letters()) != test.letters {
				t.Errorf("%s with %d letters, want %s: %v", got, len(out.letters()), test.want, err)
			}
			if err != nil && got != rewinds && (!strings.Contains(err.Error(), "task 0_0: in-0 at offset 7: ")) {
				t.Errorf("the error does not name the record: %v", err)
			}
			if o := r.Offsets(); got != goesOn && o[0].Offset != 7 {
				t.Errorf("commits %v past what failed", o)
			}
			if got == goesOn {
				r.drain(t)
				if o := r.Offsets(); o[0].Offset != 9 || r.Dropped() != min(1, r.Dropped()) {
					t.Errorf("offsets %v, dropped %d", o, r.Dropped())
				}
			}
		})
	}
}

func TestLetterTellsWhatFailed(t *testing.T) {
	for value, want := range map[string]deadletter.Letter{
		"bad": {
			Stage: "process", Operator: "count", Attempts: 1,
			Error: deadletter.Error{Class: "*errors.errorString", Message: "count: process: bad value"},
		},
		"large": {
			Stage: "produce", Operator: "sink", Attempts: 1,
			Error: deadletter.Error{Class: "runtime.tooLargeError", Message: "sink: produce: record refused: too large", Code: 10},
		},
	} {
		r, out := newFailing(t, func(ErrorEvent) Decision { return DeadLetter })
		must(t, r.Enqueue(bad(value)))
		r.now = time.UnixMilli(90_000)
		r.drain(t)
		letters := out.letters()
		if len(letters) != 1 || string(letters[0].Key) != "\xff\x00" || string(letters[0].Value) != value || letters[0].Timestamp != 90_000 {
			t.Fatalf("%s: letters %v", value, letters)
		}
		l, own := readLetter(t, letters[0].Headers)
		if diff := cmp.Diff([]deadletter.Header{{Key: "trace", Value: []byte{1, 0}}, {Key: "trace"}}, own); diff != "" {
			t.Error(diff)
		}
		if len(l.ID) != 36 || len(l.Fingerprint) != 16 {
			t.Errorf("id %q, fingerprint %q", l.ID, l.Fingerprint)
		}
		want.ID, want.Fingerprint, want.Component, want.Task = l.ID, l.Fingerprint, "app", "0_0"
		want.Origin = deadletter.Origin{Topic: "in", Offset: 7, Timestamp: 5}
		want.FirstFailedAt, want.LastFailedAt = 90_000, 90_000
		if diff := cmp.Diff(want, l); diff != "" {
			t.Errorf("%s: %s", value, diff)
		}
		if !slices.ContainsFunc(letters[0].Headers, func(h Header) bool { return h.Key == "__streams.errors.topic" && string(h.Value) == "in" }) {
			t.Error("the names of Kafka Streams are missing")
		}
	}
}

func TestReplaysAreCounted(t *testing.T) {
	r, out := newFailing(t, func(ErrorEvent) Decision { return DeadLetter })
	m := bad("bad")
	m.Headers = append(m.Headers, Header{Key: "dlq.replays", Value: []byte("2")}, Header{Key: "dlq.replayed.from", Value: []byte("x")})
	must(t, r.Enqueue(m))
	r.drain(t)
	if l, _ := readLetter(t, out.letters()[0].Headers); l.Replays != 2 || l.ReplayedFrom != "x" {
		t.Errorf("replayed %d times from %s", l.Replays, l.ReplayedFrom)
	}
}

// A dead letter that cannot be written ends the task, whatever else fails.
func TestLostLetterIsAFailure(t *testing.T) {
	for name, change := range map[string]func(*rig, *picky){
		"refused": func(_ *rig, out *picky) { out.refuse = func(o *Outgoing) bool { return o.Topic == "dlq.app" } },
		"no name": func(r *rig, _ *picky) { r.Task.o.DeadLetters = "" },
	} {
		r, out := newFailing(t, func(ErrorEvent) Decision { return DeadLetter })
		change(r, out)
		must(t, r.Enqueue(bad("bad")))
		_, err := r.ProcessNext()
		if err == nil || !strings.Contains(err.Error(), "dead") || !strings.Contains(err.Error(), "bad value") || !strings.Contains(err.Error(), "in-0 at offset 7") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	r, out := newFailing(t, func(ErrorEvent) Decision { return DeadLetter })
	r.prog.hook = func(processor.Host, *Message) error {
		return &processor.Error{Operator: "count", Stage: processor.Process, Err: errors.New("panic: boom"), Stack: []byte("goroutine 1 [running]:\nmain.f()\n")}
	}
	out.refuse = func(o *Outgoing) bool {
		return slices.ContainsFunc(o.Headers, func(h Header) bool { return h.Key == "dlq.error.stack" })
	}
	must(t, r.Enqueue(bad("bad")))
	r.drain(t)
	if n := len(out.letters()); n != 1 {
		t.Errorf("%d letters where one fits without its stack", n)
	}
}

func TestHandlerThatPanicsFails(t *testing.T) {
	r, _ := newFailing(t, func(ErrorEvent) Decision { panic("oops") })
	must(t, r.Enqueue(bad("bad")))
	_, err := r.ProcessNext()
	if err == nil || !strings.Contains(err.Error(), "oops") || !strings.Contains(err.Error(), "bad value") || !strings.Contains(err.Error(), "failure_test.go") {
		t.Errorf("got %v", err)
	}
}

// TestRetriesBackOffAndEnd tries a record again until it may not be tried more.
func TestRetriesBackOffAndEnd(t *testing.T) {
	var events []ErrorEvent
	r, _ := newFailing(t, func(e ErrorEvent) Decision { events = append(events, e); return Retry })
	must(t, r.Enqueue(bad("bad")))
	r.put(t, "in", 8, "next", 6)
	r.put(t, "in2", 0, "beside", 9)
	begun := r.now
	var waits []time.Duration
	for {
		more, err := r.ProcessNext()
		if err != nil {
			if !strings.Contains(err.Error(), "given up after 4 attempts") || errors.Is(err, ErrRetry) {
				t.Errorf("ended with %v", err)
			}
			break
		}
		at, ok := r.RetryAt()
		if more || !ok {
			t.Fatal("a record overtook the one that waits")
		}
		waits = append(waits, at.Sub(begun))
		if more, err := r.ProcessNext(); more || err != nil || len(events) != len(waits) {
			t.Fatalf("tried before its time: %v", err)
		}
		r.now = at
	}
	ms := time.Millisecond
	if diff := cmp.Diff([]time.Duration{100 * ms, 300 * ms, 700 * ms}, waits); diff != "" {
		t.Error(diff)
	}
	for i, e := range events {
		if e.Attempts != i+1 || !e.FirstFailed.Equal(begun) || e.Offset != 7 || string(e.Message.Value) != "bad" {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if r.Processed() != 0 {
		t.Errorf("%d records went past it", r.Processed())
	}
}

// A record that acted before it failed is tried again at the start of a unit, by
// the next life of the task, which knows of the tries before.
func TestRetryAfterEffectsStartsAUnit(t *testing.T) {
	attempts := 0
	r, out := newFailing(t, func(e ErrorEvent) Decision { attempts = e.Attempts; return Retry })
	r.put(t, "in", 6, "before", 4)
	must(t, r.Enqueue(bad("late")))
	more, err := r.ProcessNext()
	if !more || err != nil {
		t.Fatal(err)
	}
	if _, err = r.ProcessNext(); !errors.Is(err, ErrRetry) {
		t.Fatalf("got %v", err)
	}
	must(t, r.Close())
	r.open(t)
	r.now = r.now.Add(time.Second)
	r.put(t, "in", 6, "before", 4)
	must(t, r.Enqueue(bad("late")))
	if more, err = r.ProcessNext(); !more || err != nil {
		t.Fatal(err)
	}
	if more, err = r.ProcessNext(); more || err != nil || !r.CommitRequested() {
		t.Fatalf("no commit before the next try: %v", err)
	}
	must(t, r.Flush())
	must(t, r.Applied(nil))
	out.sent = nil
	if _, err = r.ProcessNext(); !errors.Is(err, ErrRetry) || attempts != 2 {
		t.Errorf("attempt %d: %v", attempts, err)
	}
}

// A refused changelog record leaves a store without its truth: nobody is asked.
func TestRefusedChangelogFails(t *testing.T) {
	r, out := newFailing(t, func(ErrorEvent) Decision { t.Error("asked"); return Continue })
	out.refuse = func(o *Outgoing) bool { return strings.HasSuffix(o.Topic, "-changelog") }
	r.put(t, "in", 0, "a", 1)
	r.drain(t)
	if err := r.Flush(); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), changelogTopic) {
		t.Errorf("flushed with %v", err)
	}
}

// TestFailuresOutsideOfARecord are those of punctuations and of flushes.
func TestFailuresOutsideOfARecord(t *testing.T) {
	for _, test := range []struct {
		decision Decision
		want     string
	}{{Fail, "fails"}, {Continue, "goes on"}, {DeadLetter, "goes on"}, {Retry, "rewinds"}} {
		var events []ErrorEvent
		r, out := newFailing(t, func(e ErrorEvent) Decision { events = append(events, e); return test.decision })
		r.Schedule(time.Millisecond, processor.WallClock, func(int64) error {
			return &processor.Error{Operator: "tick", Stage: processor.Process, Err: errors.New("boom")}
		})
		r.now = r.now.Add(time.Second)
		err := r.Punctuate()
		got := "goes on"
		if errors.Is(err, ErrRetry) {
			got = "rewinds"
		} else if err != nil {
			got = "fails"
		}
		if got != test.want || len(events) != 1 || events[0].Topic != "" || events[0].Message != nil || events[0].Offset != -1 {
			t.Errorf("%d: %s: %v, %+v", test.decision, got, err, events)
		}
		if got == "fails" && !strings.Contains(err.Error(), "outside of a record: tick: process: boom") {
			t.Error(err)
		}
		if letters := out.letters(); test.decision == DeadLetter {
			if l, _ := readLetter(t, letters[0].Headers); letters[0].Key != nil || l.Origin != deadletter.Nowhere() || l.Operator != "tick" {
				t.Errorf("letter %+v", l)
			}
		}
	}
	if r, _ := newFailing(t, nil); r.Handle(nil) != nil {
		t.Error("nothing failed")
	}
}

// TestRefusedAtFlush has no record that was read: the letter is what was to be sent.
func TestRefusedAtFlush(t *testing.T) {
	r, out := newFailing(t, func(ErrorEvent) Decision { return DeadLetter })
	out.refuse = func(o *Outgoing) bool { return o.Topic == "out" }
	r.put(t, "in", 0, "a", 1)
	r.drain(t)
	must(t, r.Flush())
	letters := out.letters()
	if len(letters) != 1 || string(letters[0].Key) != "a" || string(letters[0].Value) != "1" {
		t.Fatalf("letters %v", letters)
	}
	if l, _ := readLetter(t, letters[0].Headers); l.Origin.Topic != "out" || l.Origin.Offset != -1 || l.Origin.Timestamp != 1 || l.Stage != "produce" {
		t.Errorf("letter %+v", l)
	}
}

// TestRetryLeavesOthersAlone has one partition wait while another goes on, a commit
// falls in and a rebalance passes.
func TestRetryLeavesOthersAlone(t *testing.T) {
	inBubble(t, func(b *bench) {
		var works atomic.Bool
		b.o.ErrorPolicy = ErrorPolicy{OnError: func(ErrorEvent) Decision { return Retry }, Retries: 1000, Backoff: 10 * time.Second}
		b.prog.hook = func(_ processor.Host, m *Message) error {
			if m.Partition == 0 && m.Offset == 2 && !works.Load() {
				return errors.New("not now")
			}
			return nil
		}
		b.feed(6)
		b.start()
		b.log.assign(b.t.Context(), TP{"in", 1}, TP{"in2", 1})
		synctest.Wait()
		b.settle()
		for i := range 300 {
			b.cluster.add(TP{"in", 1}, "other", "v", int64(i))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := b.committed(); n != 2 || b.aborts() != 0 {
			t.Errorf("committed %d of the partition that waits, %d aborts", n, b.aborts())
		}
		if n := b.cluster.last()["other"]; n != "300" {
			t.Errorf("counted %s of the other partition", n)
		}
		b.log.revoke(b.t.Context(), false, TP{"in", 1}, TP{"in2", 1}) // returns when the poll takes it
		synctest.Wait()
		works.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := b.committed(); n != 6 {
			t.Errorf("committed %d after the next try", n)
		}
		b.end()
	})
}

// TestFailureCommitsWhatIsWhole ends a worker for a record that did nothing, or
// something, before it failed.
func TestFailureCommitsWhatIsWhole(t *testing.T) {
	for acts, want := range map[bool]int64{false: 4, true: 0} {
		inBubble(t, func(b *bench) {
			b.prog.hook = func(h processor.Host, m *Message) error {
				if m.Offset != 4 {
					return nil
				}
				if acts {
					must(t, h.Send(Outgoing{Topic: "out"}))
				}
				return errors.New("boom")
			}
			b.feed(6)
			b.start()
			b.settle()
			err := <-b.done
			if err == nil || !strings.Contains(err.Error(), "worker 0: task 0_0: in-0 at offset 4: count: process: boom") {
				t.Errorf("ended with %v", err)
			}
			if n := b.committed(); n != want || !b.log.left {
				t.Errorf("acts %v: committed %d, left %v", acts, n, b.log.left)
			}
			b.stop()
		})
	}
}

// Workers that stop because another one failed leave the group too.
func TestFailureElsewhereLeavesTheGroup(t *testing.T) {
	for _, fails := range []bool{true, false} {
		inBubble(t, func(b *bench) {
			ctx, stop := context.WithCancelCause(b.t.Context())
			b.w = NewWorker(b.o)
			done := make(chan error, 1)
			go func() { done <- b.w.Run(ctx) }()
			synctest.Wait()
			cause := error(nil)
			if fails {
				cause = errors.New("another worker failed")
			}
			stop(cause)
			must(t, <-done)
			if b.log.left != fails {
				t.Errorf("failed %v, left %v", fails, b.log.left)
			}
		})
	}
}

func TestPrepareMakesTheDeadLetterTopic(t *testing.T) {
	inBubble(t, func(b *bench) {
		a := &admin{cluster: b.cluster, names: map[string]Topic{"in": {Name: "in", Partitions: 2}, "in2": {Name: "in2", Partitions: 3}}}
		prepare := func(letters string) error {
			_, err := Prepare(b.t.Context(), a, "app", b.prog.graph, SetupOptions{DeadLetters: letters})
			return err
		}
		must(t, prepare(""))
		must(t, prepare("dlq.app"))
		if made := a.names["dlq.app"]; made.Partitions != 3 || made.Config["cleanup.policy"] != "delete" {
			t.Errorf("made %+v", made)
		}
		a.names["old"] = Topic{Name: "old", Partitions: 1}
		must(t, prepare("old"))
		if n := a.names["old"].Partitions; n != 1 {
			t.Errorf("one that existed has %d partitions", n)
		}
		if err := prepare("in2"); err == nil || !strings.Contains(err.Error(), "in2") {
			t.Errorf("letters that come back as records: %v", err)
		}
	})
}
