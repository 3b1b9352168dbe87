package streams_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// broker returns the address of a Kafka to test on, Apache's or Weir's.
func broker(t *testing.T) []string {
	t.Helper()
	brokers := os.Getenv("WEIR_TEST_BROKERS")
	if brokers == "" {
		t.Skip("WEIR_TEST_BROKERS is not set")
	}
	return strings.Split(brokers, ",")
}

// wordCount is an application that sends lines on and counts their words, through a
// repartition topic.
type wordCount struct {
	t         *testing.T
	brokers   []string
	prefix    string
	cl        *kgo.Client
	dir       string
	guarantee streams.Guarantee
}

// withGuarantees runs a test at least once and exactly once.
func withGuarantees(t *testing.T, test func(t *testing.T, w *wordCount)) {
	t.Helper()
	for _, g := range []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnceV2} {
		t.Run(g.String(), func(t *testing.T) { test(t, newWordCount(t, g)) })
	}
}

func newWordCount(t *testing.T, g streams.Guarantee) *wordCount {
	t.Helper()
	return wordCountOn(t, broker(t), g)
}

func wordCountOn(t *testing.T, brokers []string, g streams.Guarantee) *wordCount {
	t.Helper()
	w := &wordCount{t: t, brokers: brokers, prefix: fmt.Sprintf("weir-test-%d", time.Now().UnixNano()), dir: t.TempDir(), guarantee: g}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	w.cl = cl
	resp, err := kadm.NewClient(cl).CreateTopics(t.Context(), 3, 1, nil, w.prefix+"-lines", w.prefix+"-counts", w.prefix+"-each")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Error(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wordCount) feed(lines int) {
	w.t.Helper()
	for i := range lines {
		r := &kgo.Record{Topic: w.prefix + "-lines", Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "w%d all", i%100)}
		w.cl.Produce(w.t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				w.t.Error(err)
			}
		})
	}
	if err := w.cl.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wordCount) app(change func(*streams.Config)) *streams.App {
	w.t.Helper()
	app, err := w.build(func(c *streams.Config) {
		c.Logger = slog.New(slog.NewTextHandler(w.t.Output(), nil))
		if change != nil {
			change(c)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return app
}

func (w *wordCount) build(change func(*streams.Config)) (*streams.App, error) {
	b := streams.NewBuilder()
	lines := streams.From(b, w.prefix+"-lines", serde.String(), serde.String())
	lines.To(w.prefix+"-each", serde.String(), serde.String())
	single := streams.FlatMap(lines, func(_, line string) iter.Seq2[string, string] {
		return func(yield func(string, string) bool) {
			for f := range strings.FieldsSeq(line) {
				if !yield(f, f) {
					return
				}
			}
		}
	})
	counts := streams.GroupByKey(single, streams.Named("by-word")).Count(streams.Store("counts"))
	counts.ToStream().To(w.prefix+"-counts", serde.String(), serde.Int64())
	topology, err := b.Build()
	if err != nil {
		return nil, err
	}
	cfg := streams.Config{
		ApplicationID: w.prefix, Brokers: w.brokers, Workers: 2, StateDir: w.dir,
		CommitInterval: 200 * time.Millisecond, PurgeInterval: 500 * time.Millisecond, Guarantee: w.guarantee,
	}
	change(&cfg)
	return streams.NewApp(topology, cfg)
}

// running is an app at work. It ends with the test, before the folders of the test go.
type running struct {
	stop  context.CancelFunc
	ended chan struct{}
	err   error // once it has ended
}

func runApp(t *testing.T, app *streams.App) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = app.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.end() })
	return r
}

// end stops the app and waits for it.
func (r *running) end() error {
	r.stop()
	<-r.ended
	return r.err
}

// run runs an app until its input is drained, and returns how long it took to
// get ready.
func (w *wordCount) run(app *streams.App) time.Duration {
	w.t.Helper()
	begun := time.Now()
	r := runApp(w.t, app)
	select {
	case <-app.Ready():
	case <-r.ended:
		w.t.Fatal(r.err)
	case <-time.After(time.Minute):
		w.t.Fatal("the app did not get ready")
	}
	ready := time.Since(begun)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		drained, err := app.Drained(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if drained {
			break
		}
		if time.Since(begun) > time.Minute {
			w.t.Fatalf("not drained: %v", app.Tasks())
		}
	}
	if err := r.end(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("ready after %v, drained after %v", ready, time.Since(begun))
	return ready
}

// counts returns the last count of every word.
func (w *wordCount) counts() map[string]int64 {
	w.t.Helper()
	counts := map[string]int64{}
	w.read("counts", func(r *kgo.Record) {
		n, err := serde.Int64().Decode("", r.Value)
		if err != nil {
			w.t.Error(err)
		}
		if w.guarantee == streams.ExactlyOnceV2 && n <= counts[string(r.Key)] {
			w.t.Errorf("%s was counted to %d after %d", r.Key, n, counts[string(r.Key)])
		}
		counts[string(r.Key)] = n
	})
	return counts
}

// read reads what is committed of a topic of the application up to its end.
func (w *wordCount) read(topic string, f func(r *kgo.Record)) {
	w.t.Helper()
	w.readTopic(w.prefix+"-"+topic, f)
}

func (w *wordCount) readTopic(topic string, f func(r *kgo.Record)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(w.cl).ListEndOffsets(ctx, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	at := map[int32]int64{}
	for slices.ContainsFunc(ends.Offsets().Sorted(), func(o kadm.Offset) bool { return at[o.Partition] < o.At }) {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				f(r)
			}
		})
	}
}

func (w *wordCount) want(lines int) map[string]int64 {
	want := map[string]int64{"all": int64(lines)}
	for i := range 100 {
		want[fmt.Sprintf("w%d", i)] = int64(lines / 100)
	}
	return want
}

func TestAppOnBroker(t *testing.T) { withGuarantees(t, testApp) }

func testApp(t *testing.T, w *wordCount) {
	w.feed(10_000)
	w.run(w.app(nil))
	if diff := cmp.Diff(w.want(10_000), w.counts()); diff != "" {
		t.Fatal("first run", diff)
	}
	w.feed(10_000)
	leaves := func(c *streams.Config) { c.LeaveOnStop = true }
	if ready := w.run(w.app(leaves)); ready > 10*time.Second {
		t.Errorf("a restart got its tasks after %v", ready)
	}
	if diff := cmp.Diff(w.want(20_000), w.counts()); diff != "" {
		t.Fatal("second run", diff)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	w.dir = t.TempDir()
	w.feed(10_000)
	if ready := w.run(w.app(func(c *streams.Config) { c.Workers = 1 })); ready > 10*time.Second {
		t.Errorf("another process got the tasks after %v, although the first one left", ready)
	}
	if diff := cmp.Diff(w.want(30_000), w.counts()); diff != "" {
		t.Fatal("after the state was lost", diff)
	}
}

// TestMain runs the app of a test in a process of its own, for the test to kill.
func TestMain(m *testing.M) {
	prefix, dir := os.Getenv("WEIR_TEST_APP_PREFIX"), os.Getenv("WEIR_TEST_APP_DIR")
	if prefix == "" {
		os.Exit(m.Run())
	}
	w := &wordCount{brokers: strings.Split(os.Getenv("WEIR_TEST_BROKERS"), ","), prefix: prefix, dir: dir}
	err := w.guarantee.UnmarshalText([]byte(os.Getenv("WEIR_TEST_APP_GUARANTEE")))
	var app *streams.App
	if err == nil {
		app, err = w.build(func(c *streams.Config) { c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)) })
	}
	if err == nil {
		err = app.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestAppSurvivesKillOnBroker(t *testing.T) { withGuarantees(t, testKills) }

func testKills(t *testing.T, w *wordCount) {
	const lines = 200_000
	w.feed(lines)
	committed := func() (n int64) {
		offsets, err := kadm.NewClient(w.cl).FetchOffsets(t.Context(), w.prefix)
		if err != nil {
			return 0
		}
		offsets.Each(func(o kadm.OffsetResponse) { n += o.At })
		return n
	}
	for kill := range int64(3) {
		before := committed()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "WEIR_TEST_APP_PREFIX="+w.prefix, "WEIR_TEST_APP_DIR="+w.dir,
			"WEIR_TEST_APP_GUARANTEE="+w.guarantee.String())
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for tick := time.NewTicker(5 * time.Millisecond); committed() == before; <-tick.C {
			if time.Since(begun) > 30*time.Second {
				t.Fatal("the app commits nothing")
			}
		}
		t.Logf("first commit after %v, of %d", time.Since(begun), committed())
		<-time.After(time.Duration(kill) * 30 * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	if ready := w.run(w.app(func(c *streams.Config) { c.LeaveOnStop = true })); ready > 10*time.Second {
		t.Errorf("after a kill the app got its tasks after %v", ready)
	}
	got := w.counts()
	for word, n := range w.want(lines) {
		if got[word] < n || w.guarantee == streams.ExactlyOnceV2 && got[word] != n {
			t.Errorf("%s was counted %d times, %d were fed", word, got[word], n)
		}
	}
	t.Logf("counted %d of %d", got["all"], lines)
}

func TestAppNamesMissingTopicOnBroker(t *testing.T) {
	w := newWordCount(t, streams.AtLeastOnce)
	w.prefix += "-other"
	err := w.app(nil).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), w.prefix+"-lines") {
		t.Fatalf("got %v, want the name of the topic", err)
	}
}
