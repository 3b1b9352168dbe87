package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// topologyCase is one topology, written for Kafka Streams in Topologies.java and for
// Weir's streams here, with its input and what must come of it, counted by hand.
type topologyCase struct {
	name  string
	build func(b *streams.Builder) *streams.Stream[string, string]
	input func(r *rand.Rand) []*kgo.Record
	want  func(input []*kgo.Record) []string
	every bool // all results count, not only the last of each key
}

// TestTopologiesAlike runs four topologies with exactly_once_v2 on Kafka Streams and on
// Weir's streams, over the same input on one broker of ours.
func TestTopologiesAlike(t *testing.T) {
	for _, c := range []topologyCase{words(), views(), joined(), sessions()} {
		t.Run(c.name, func(t *testing.T) {
			onCard(t, "Kafka Streams 4.3.1 and Weir's streams", does(c.name+" with exactly_once_v2 give the same"))
			libs, b := kafkaLibs(t), newBroker(t)
			input := c.input(rand.New(rand.NewPCG(5, 7)))
			b.fill(input)
			want := c.want(input)
			for engine, run := range map[string]func(t *testing.T, id string) (stop func()){
				"Kafka Streams": func(t *testing.T, id string) func() { return runJavaStreams(t, libs, c.name, b.addr, id) },
				"Weir":          func(t *testing.T, id string) func() { return runWeirStreams(t, c, b.addr, id) },
			} {
				id := c.name + "-" + strings.ToLower(strings.Fields(engine)[0])
				b.createTopic(id+"-out", 4)
				stop := run(t, id)
				if diff := b.becomes(id+"-out", c.every, want); diff != "" {
					t.Errorf("%s: %s", engine, diff)
				}
				stop()
			}
		})
	}
}

// fill creates the topics of records and produces these, in order.
func (b *broker) fill(records []*kgo.Record) {
	b.t.Helper()
	seen := map[string]bool{}
	for _, r := range records {
		if !seen[r.Topic] {
			b.createTopic(r.Topic, 4)
			seen[r.Topic] = true
		}
	}
	marked := kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		hashed := kgo.StickyKeyPartitioner(nil).ForTopic("")
		return func(r *kgo.Record, n int) int {
			if r.Context != nil {
				return int(r.Partition)
			}
			return hashed.Partition(r, n)
		}
	})
	client := b.client(kgo.RecordPartitioner(marked))
	if err := client.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// becomes waits until committed results are as wanted, and returns how they differ when
// they do not become so.
func (b *broker) becomes(topic string, every bool, want []string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 90*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	var all []string
	last := map[string]string{}
	for {
		got := slices.Clone(all)
		if !every {
			got = got[:0]
			for k, v := range last {
				got = append(got, k+"="+v)
			}
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return ""
		}
		if len(got) > len(want) || ctx.Err() != nil {
			return fmt.Sprintf("%d results, want %d\n got %.600v\nwant %.600v", len(got), len(want), got, want)
		}
		for _, r := range client.PollFetches(ctx).Records() {
			all = append(all, string(r.Key)+"="+string(r.Value))
			last[string(r.Key)] = string(r.Value)
		}
	}
}

// runJavaStreams starts Topologies.java; the stop wants it to end on its own.
func runJavaStreams(t *testing.T, libs, name, addr, id string) (stop func()) {
	t.Helper()
	var said strings.Builder
	cmd := exec.Command("java", "-Xmx512m", "-cp", libs+"/*", "testdata/Topologies.java", name, addr, id, t.TempDir(), "exactly_once_v2")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%.3000s", said.String())
		}
	}
}

func runWeirStreams(t *testing.T, c topologyCase, addr, id string) (stop func()) {
	t.Helper()
	b := streams.NewBuilder()
	c.build(b).To(id+"-out", serde.String(), serde.String())
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.NewApp(topology, streams.Config{ApplicationID: id, Brokers: []string{addr}, StateDir: t.TempDir(), Guarantee: streams.ExactlyOnceV2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

const day = 24 * time.Hour

func text(b *streams.Builder, topic string) *streams.Stream[string, string] {
	return streams.From(b, topic, serde.String(), serde.String())
}

// record is one input record, so many milliseconds after a fixed moment.
func record(topic, key, value string, ms int) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(1_700_000_040_000 + int64(ms))}
}

// lines sorts the last value of each key.
func lines(rows map[string]string) []string {
	out := make([]string, 0, len(rows))
	for k, v := range rows {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

func words() topologyCase {
	return topologyCase{
		name: "words",
		build: func(b *streams.Builder) *streams.Stream[string, string] {
			each := streams.FlatMapValues(text(b, "words-in"), func(_, line string) iter.Seq[string] { return slices.Values(strings.Split(line, " ")) })
			counts := streams.GroupBy(each, func(_, word string) string { return word }, serde.String()).Count().ToStream()
			return streams.MapValues(counts, func(_ string, n int64) string { return fmt.Sprint(n) })
		},
		input: func(r *rand.Rand) (in []*kgo.Record) {
			for i := range 2000 {
				line := make([]string, 5)
				for j := range line {
					line[j] = fmt.Sprint("word", r.IntN(200))
				}
				in = append(in, record("words-in", fmt.Sprint(i), strings.Join(line, " "), i))
			}
			return in
		},
		want: func(in []*kgo.Record) []string {
			counts, rows := map[string]int{}, map[string]string{}
			for _, r := range in {
				for word := range strings.SplitSeq(string(r.Value), " ") {
					counts[word]++
					rows[word] = fmt.Sprint(counts[word])
				}
			}
			return lines(rows)
		},
	}
}

func views() topologyCase {
	type seen struct {
		Views    int
		Visitors map[string]bool
	}
	return topologyCase{
		name: "views",
		build: func(b *streams.Builder) *streams.Stream[string, string] {
			windows := streams.GroupByKey(text(b, "views-in")).WindowedBy(streams.Tumbling(time.Minute).Grace(day))
			pages := streams.AggregateWindow(windows, func() seen { return seen{} }, func(_, visitor string, s seen) seen {
				visitors := maps.Clone(s.Visitors)
				if visitors == nil {
					visitors = map[string]bool{}
				}
				visitors[visitor] = true
				return seen{s.Views + 1, visitors}
			}, serde.JSON[seen]()).ToStream()
			return streams.Map(pages, func(w streams.Windowed[string], s seen) (string, string) {
				return fmt.Sprintf("%s@%d", w.Key, w.Start), fmt.Sprintf("%d views by %d", s.Views, len(s.Visitors))
			})
		},
		input: func(r *rand.Rand) (in []*kgo.Record) {
			for range 2000 {
				in = append(in, record("views-in", fmt.Sprint("page", r.IntN(20)), fmt.Sprint("visitor", r.IntN(50)), r.IntN(600_000)))
			}
			return in
		},
		want: func(in []*kgo.Record) []string {
			count, visitors, rows := map[string]int{}, map[string]map[string]bool{}, map[string]string{}
			for _, r := range in {
				key := fmt.Sprintf("%s@%d", r.Key, r.Timestamp.UnixMilli()/60_000*60_000)
				if visitors[key] == nil {
					visitors[key] = map[string]bool{}
				}
				count[key]++
				visitors[key][string(r.Value)] = true
				rows[key] = fmt.Sprintf("%d views by %d", count[key], len(visitors[key]))
			}
			return lines(rows)
		},
	}
}

func joined() topologyCase {
	return topologyCase{
		name: "join", every: true,
		build: func(b *streams.Builder) *streams.Stream[string, string] {
			return streams.Join(text(b, "join-left"), text(b, "join-right"), func(_, l, r string) string { return l + "+" + r },
				streams.Within(5*time.Second).Grace(day))
		},
		input: func(r *rand.Rand) (in []*kgo.Record) {
			for i := range 500 {
				in = append(in, record("join-left", fmt.Sprint("k", r.IntN(20)), fmt.Sprint("l", i), r.IntN(300_000)),
					record("join-right", fmt.Sprint("k", r.IntN(20)), fmt.Sprint("r", i), r.IntN(300_000)))
			}
			return in
		},
		want: func(in []*kgo.Record) (out []string) {
			for _, l := range in {
				for _, r := range in {
					if l.Topic == "join-left" && r.Topic == "join-right" && string(l.Key) == string(r.Key) && l.Timestamp.Sub(r.Timestamp).Abs() <= 5*time.Second {
						out = append(out, fmt.Sprintf("%s=%s+%s", l.Key, l.Value, r.Value))
					}
				}
			}
			slices.Sort(out)
			return out
		},
	}
}

func sessions() topologyCase {
	return topologyCase{
		name: "sessions", every: true,
		build: func(b *streams.Builder) *streams.Stream[string, string] {
			counts := streams.GroupByKey(text(b, "sessions-in")).WindowedBySession(streams.Sessions(10 * time.Second).Grace(time.Minute)).Count()
			final := counts.Suppress(streams.UntilWindowCloses(streams.Unbounded())).ToStream()
			return streams.Map(final, func(w streams.Windowed[string], n int64) (string, string) {
				return fmt.Sprintf("%s@%d-%d", w.Key, w.Start, w.End), fmt.Sprint(n)
			})
		},
		input: func(r *rand.Rand) (in []*kgo.Record) {
			for i := range 1500 {
				in = append(in, record("sessions-in", fmt.Sprint("user", r.IntN(12)), fmt.Sprint(i), i*400+r.IntN(20_000)))
			}
			for p := range 4 { // time goes on in every partition, so that all sessions close
				end := record("sessions-in", "end", "end", 3_600_000)
				end.Partition, end.Context = int32(p), context.Background()
				in = append(in, end)
			}
			return in
		},
		want: func(in []*kgo.Record) (out []string) {
			times := map[string][]int64{}
			for _, r := range in {
				if string(r.Key) != "end" {
					times[string(r.Key)] = append(times[string(r.Key)], r.Timestamp.UnixMilli())
				}
			}
			for key, at := range times {
				slices.Sort(at)
				for first, i := 0, 1; i <= len(at); i++ {
					if i == len(at) || at[i]-at[i-1] > 10_000 {
						out = append(out, fmt.Sprintf("%s@%d-%d=%d", key, at[first], at[i-1], i-first))
						first = i
					}
				}
			}
			slices.Sort(out)
			return out
		},
	}
}

// TestJavaTransactions runs the transactional producer of Kafka's own client.
func TestJavaTransactions(t *testing.T) {
	onCard(t, "Java client 4.3.1, transactions", does("commit, abort, offsets in transactions, fencing, list, describe, abort by force"))
	libs := kafkaLibs(t)
	out := runTool(t, "", "", "java", "-Xmx512m", "-cp", libs+"/*", "testdata/Txn.java", newBroker(t).addr)
	if !strings.Contains(out, "all is well") {
		t.Error(out)
	}
}
