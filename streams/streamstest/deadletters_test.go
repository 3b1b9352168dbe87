package streamstest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// halves is a topology that counts words, after it sent them on, and fails for some.
func halves(t *testing.T, check func(string) error) *streams.Topology {
	t.Helper()
	b := streams.NewBuilder()
	words := streams.From(b, "words", serde.String(), serde.String())
	words.To("seen", serde.String(), serde.String())
	checked := streams.MapValues(words, func(_, v string) string {
		if err := check(v); err != nil {
			panic(err)
		}
		return v
	}, streams.Named("check"))
	streams.GroupByKey(checked).Count(streams.Store("counts")).ToStream().To("counts", serde.String(), serde.Int64())
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sent lists what went to the topics of a driver.
func sent(d *streamstest.Driver) string {
	var list []string
	for _, m := range d.Drain() {
		value := string(m.Value)
		if m.Topic == "counts" {
			value = fmt.Sprint(m.Value[len(m.Value)-1])
		}
		list = append(list, m.Topic+":"+string(m.Key)+"="+value)
	}
	return strings.Join(list, " ")
}

func TestDeadLettersHoldTheRecordAsItCame(t *testing.T) {
	topology := halves(t, func(v string) error {
		if v == "bad" {
			return errors.New("a bad word")
		}
		return nil
	})
	d, err := streamstest.New(topology, streamstest.OnError(func(e streams.ErrorEvent) streams.Decision {
		if e.Err.Stage == processor.Process {
			return streams.DeadLetter
		}
		return streams.Fail
	}))
	must(t, err)
	in := streamstest.Input(d, "words", serde.String(), serde.String())
	must(t, in.Pipe("k", "good", 1))
	bad := processor.Message{Topic: "words", Key: []byte("k"), Value: []byte("bad"), Timestamp: 2, Headers: []processor.Header{{Key: "trace", Value: []byte("1")}}}
	must(t, d.PipeMessage(bad))
	must(t, in.Pipe("k", "good", 3))
	letters := d.DeadLetters()
	if len(letters) != 1 {
		t.Fatalf("%d letters", len(letters))
	}
	bad.Offset = 1
	if diff := cmp.Diff(bad, letters[0].Record); diff != "" {
		t.Error(diff)
	}
	l := letters[0].Letter
	if l.Stage != "process" || l.Operator != "check" || l.Error.Message != "check: process: panic: a bad word" || !strings.Contains(l.Error.Stack, "deadletters_test.go") || l.Component != "test" {
		t.Errorf("letter %+v", l)
	}
	if got := sent(d); got != "seen:k=good counts:k=1 seen:k=bad seen:k=good counts:k=2" {
		t.Errorf("sent %s", got)
	}
	if again := d.DeadLetters(); len(again) != 0 {
		t.Errorf("%d letters twice", len(again))
	}
	must(t, d.Close())
}

// TestRetriesWaitForTheClock retries a record that was sent on before it failed: it
// is sent on once.
func TestRetriesWaitForTheClock(t *testing.T) {
	down := true
	topology := halves(t, func(v string) error {
		if v == "slow" && down {
			return errors.New("not now")
		}
		return nil
	})
	attempts := 0
	d, err := streamstest.New(topology, streamstest.OnError(func(e streams.ErrorEvent) streams.Decision {
		attempts = e.Attempts
		return streams.Retry
	}))
	must(t, err)
	in := streamstest.Input(d, "words", serde.String(), serde.String())
	must(t, in.Pipe("k", "first", 1))
	must(t, in.Pipe("k", "slow", 2))
	must(t, in.Pipe("k", "last", 3))
	if got := sent(d); got != "seen:k=first counts:k=1" || attempts != 1 {
		t.Errorf("sent %s after %d attempts", got, attempts)
	}
	must(t, d.AdvanceWallClock(100*time.Millisecond))
	if attempts != 2 || sent(d) != "" {
		t.Errorf("%d attempts", attempts)
	}
	down = false
	must(t, d.AdvanceWallClock(199*time.Millisecond))
	if got := sent(d); got != "" {
		t.Errorf("sent %s before its time", got)
	}
	must(t, d.AdvanceWallClock(time.Millisecond))
	if got := sent(d); got != "seen:k=slow counts:k=2 seen:k=last counts:k=3" {
		t.Errorf("sent %s", got)
	}
	down = true
	must(t, in.Pipe("k", "slow", 4))
	for range 10 {
		if err = d.AdvanceWallClock(time.Minute); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "given up after 11 attempts") {
		t.Errorf("ended with %v", err)
	}
}
