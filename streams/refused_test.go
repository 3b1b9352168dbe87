package streams_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/internal/deadletter"
	"github.com/weirstream/weir/streams"
)

// refusing is an application that writes to topics that refuse some of its records:
// one that is too large, one of the far future, one without a key.
type refusing struct {
	*wordCount
}

// refusedKinds are the topics, and the code that each refuses its bad records with.
func refusedKinds() map[string]*kerr.Error {
	return map[string]*kerr.Error{"large": kerr.MessageTooLarge, "future": kerr.InvalidTimestamp, "keyless": kerr.InvalidRecord}
}

const (
	refusedInput = 90
	farFuture    = int64(4_000_000_000_000)
)

// newRefusing makes the topics and the input: each kind gets a third, of which one in
// six is bad.
func newRefusing(t *testing.T, brokers []string, g streams.Guarantee) *refusing {
	t.Helper()
	w := &refusing{wordCountOn(t, brokers, g)}
	adm := kadm.NewClient(w.cl)
	value := func(s string) *string { return &s }
	for topic, config := range map[string]map[string]*string{
		"in":      nil,
		"large":   {"max.message.bytes": value("2000")},
		"future":  {"message.timestamp.after.max.ms": value("3600000")},
		"keyless": {"cleanup.policy": value("compact")},
	} {
		if _, err := adm.CreateTopic(t.Context(), 1, 1, config, w.prefix+"-"+topic); err != nil {
			t.Fatal(err)
		}
	}
	for i := range refusedInput {
		r := &kgo.Record{Topic: w.prefix + "-in", Key: strconv.AppendInt(nil, int64(i), 10), Value: []byte(kindOf(i))}
		if i/3%6 == 4 {
			r.Value = append(r.Value, " bad"...)
		}
		if err := w.cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func kindOf(i int) string { return [...]string{"large", "future", "keyless"}[i%3] }

// good returns the numbers of the records of a kind that its topic takes, or of the
// others.
func good(kind string, yes bool) map[string]int {
	numbers := map[string]int{}
	for i := range refusedInput {
		if kindOf(i) == kind && (i/3%6 != 4) == yes {
			numbers[strconv.Itoa(i)] = 1
		}
	}
	return numbers
}

// spoil changes records for the topic of a kind so that it refuses them.
type spoil struct {
	ctx  streams.Context[string, string]
	kind string
}

func (s *spoil) Init(ctx streams.Context[string, string]) error { s.ctx = ctx; return nil }
func (s *spoil) Close() error                                   { return nil }

func (s *spoil) Process(r streams.Record[string, string]) error {
	kind, bad, _ := strings.Cut(r.Value, " ")
	if kind != s.kind {
		return nil
	}
	r.Value = r.Key
	switch {
	case bad == "":
	case kind == "large":
		for range 200 { // what no compression makes small
			r.Value += " " + rand.Text()
		}
	case kind == "future":
		r.Timestamp = farFuture
	default:
		r.NullKey = true
	}
	return s.ctx.Forward(r)
}

// start runs the application with an error handler.
func (w *refusing) start(onError streams.ErrorHandler) *streams.App {
	w.t.Helper()
	b := streams.NewBuilder()
	in := from(b, w.prefix+"-in")
	for kind := range refusedKinds() {
		spoiled := streams.Process(in, func() streams.Processor[string, string, string, string] { return &spoil{kind: kind} }, streams.Named("spoil-"+kind))
		spoiled.To(w.prefix+"-"+kind, str, str, streams.Named("to-"+kind))
	}
	out(streams.GroupByKey(in).Count(store("counts")), w.prefix+"-counts", i64)
	topology, err := b.Build()
	if err != nil {
		w.t.Fatal(err)
	}
	app, err := streams.NewApp(topology, streams.Config{
		ApplicationID: w.prefix, Brokers: w.brokers, StateDir: w.dir, CommitInterval: 100 * time.Millisecond, Guarantee: w.guarantee,
		OnError: onError, Retries: 3, RetryBackoff: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return app
}

// numbers returns how often the number of each input record is in a topic.
func (w *refusing) numbers(topic string) map[string]int {
	w.t.Helper()
	seen := map[string]int{}
	w.read(topic, func(r *kgo.Record) {
		number, _, _ := strings.Cut(string(r.Value), " ")
		if seen[number]++; w.guarantee == streams.AtLeastOnce {
			seen[number] = 1
		}
	})
	return seen
}

// wantGood wants that each topic has what it takes, and of the rest what more says,
// and that every record counts once.
func (w *refusing) wantGood(more ...string) {
	w.t.Helper()
	for kind := range refusedKinds() {
		want := good(kind, true)
		for _, k := range more {
			if k == kind {
				for number := range good(kind, false) {
					want[number] = 1
				}
			}
		}
		if diff := cmp.Diff(want, w.numbers(kind)); diff != "" {
			w.t.Errorf("%s: %s", kind, diff)
		}
	}
	got := w.counts()
	for i := range refusedInput {
		if n := got[strconv.Itoa(i)]; n < 1 || n > 1 && w.guarantee == streams.ExactlyOnceV2 {
			w.t.Errorf("record %d counts %d times", i, n)
		}
	}
}

// refusedBy checks that an event is about a bad record of its kind.
func (w *refusing) refusedBy(e streams.ErrorEvent) (kind string) {
	kind, bad, _ := strings.Cut(string(e.Message.Value), " ")
	if bad == "" || e.Err.Operator != "to-"+kind || e.Topic != w.prefix+"-in" || !errors.Is(e.Err, refusedKinds()[kind]) {
		w.t.Errorf("%s-%d at %d, which is %q, failed in %s with %v", e.Topic, e.Partition, e.Offset, e.Message.Value, e.Err.Operator, e.Err)
	}
	return kind
}

// TestRefusedRecordsOnBroker lets the handler decide about records that the broker
// refuses one by one, in the middle of those that it takes.
func TestRefusedRecordsOnBroker(t *testing.T) {
	brokers := embedded(t)
	for _, g := range []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnceV2} {
		for name, test := range map[string]func(w *refusing){
			"continue": testRefusedContinue, "dead letter": testRefusedDeadLetter, "retry": testRefusedRetry, "retry in vain": testRefusedInVain, "fail": testRefusedFail,
		} {
			t.Run(fmt.Sprintf("%s, %s", g, name), func(t *testing.T) { test(newRefusing(t, brokers, g)) })
		}
	}
}

func testRefusedContinue(w *refusing) {
	w.run(w.start(func(e streams.ErrorEvent) streams.Decision {
		w.refusedBy(e)
		return streams.Continue
	}))
	w.wantGood()
}

func testRefusedDeadLetter(w *refusing) {
	w.run(w.start(func(e streams.ErrorEvent) streams.Decision {
		w.refusedBy(e)
		return streams.DeadLetter
	}))
	w.wantGood()
	letters := map[string]map[string]int{}
	w.readTopic("dlq."+w.prefix, func(r *kgo.Record) {
		kind, bad, _ := strings.Cut(string(r.Value), " ")
		headers := make([]deadletter.Header, len(r.Headers))
		for i, h := range r.Headers {
			headers[i] = deadletter.Header(h)
		}
		l, _, ok := deadletter.Read(headers)
		if !ok || bad != "bad" || l.Error.Code != int32(refusedKinds()[kind].Code) || l.Operator != "to-"+kind || l.Origin.Topic != w.prefix+"-in" {
			w.t.Errorf("letter %+v of %q", l, r.Value)
		}
		if letters[kind] == nil {
			letters[kind] = map[string]int{}
		}
		if letters[kind][string(r.Key)]++; w.guarantee == streams.AtLeastOnce {
			letters[kind][string(r.Key)] = 1
		}
	})
	for kind := range refusedKinds() {
		if diff := cmp.Diff(good(kind, false), letters[kind]); diff != "" {
			w.t.Errorf("letters of %s: %s", kind, diff)
		}
	}
}

// testRefusedRetry lets the topic take what it refused at the next try.
func testRefusedRetry(w *refusing) {
	adm := kadm.NewClient(w.cl)
	w.run(w.start(func(e streams.ErrorEvent) streams.Decision {
		kind := w.refusedBy(e)
		if kind == "keyless" {
			return streams.Continue
		}
		larger, later := "100000", "9223372036854775807"
		config := map[string]kadm.AlterConfig{"large": {Name: "max.message.bytes", Value: &larger}, "future": {Name: "message.timestamp.after.max.ms", Value: &later}}[kind]
		answers, err := adm.AlterTopicConfigs(w.t.Context(), []kadm.AlterConfig{config}, w.prefix+"-"+kind)
		if err == nil {
			_, err = answers.On(w.prefix+"-"+kind, nil)
		}
		if err != nil {
			w.t.Error(err)
		}
		return streams.Retry
	}))
	w.wantGood("large", "future")
}

// wantRefused wants an error that names one of the first bad records, of each kind
// one, and why it was refused.
func (w *refusing) wantRefused(err error) {
	w.t.Helper()
	for i, kind := range []string{"large", "future", "keyless"} {
		if errors.Is(err, refusedKinds()[kind]) && strings.Contains(err.Error(), fmt.Sprintf("%s-in-0 at offset %d", w.prefix, 12+i)) && strings.Contains(err.Error(), w.prefix+"-"+kind) {
			return
		}
	}
	w.t.Errorf("got %v", err)
}

// testRefusedInVain retries what is refused each time.
func testRefusedInVain(w *refusing) {
	most := 0
	err := w.start(func(e streams.ErrorEvent) streams.Decision {
		w.refusedBy(e)
		most = max(most, e.Attempts)
		return streams.Retry
	}).Run(w.t.Context())
	if w.wantRefused(err); most != 4 || !strings.Contains(err.Error(), "given up after 4 attempts") {
		w.t.Errorf("after %d attempts: %v", most, err)
	}
}

// testRefusedFail: exactly once, nothing behind the bad record is done.
func testRefusedFail(w *refusing) {
	w.wantRefused(w.start(nil).Run(w.t.Context()))
	for kind := range refusedKinds() {
		for number := range w.numbers(kind) {
			if n, err := strconv.Atoi(number); err != nil || n >= 12 && w.guarantee == streams.ExactlyOnceV2 {
				w.t.Errorf("%s has %s, %v", kind, number, err)
			}
		}
	}
}
