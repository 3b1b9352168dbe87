package streams_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// stamps puts the length of each value in its place, twice for long ones: once
// with another time, and null for an empty one. On the wall clock it forwards
// what it may not.
type stamps struct{ ctx streams.FixedContext[int64] }

func (p *stamps) Init(ctx streams.FixedContext[int64]) error {
	p.ctx = ctx
	ctx.Schedule(10*time.Millisecond, streams.WallClock, func(int64) error {
		if !errors.Is(errors.Join(ctx.Forward(1), ctx.ForwardNull(), ctx.ForwardAt(1, 1, nil)), processor.ErrNoKey) {
			return errors.New("a value went on without a key")
		}
		return ctx.Forward(1)
	})
	return nil
}

func (p *stamps) Process(r streams.Record[string, string]) error {
	if r.Value == "" {
		return p.ctx.ForwardNull()
	}
	if err := p.ctx.Forward(int64(len(r.Value))); err != nil || len(r.Value) < 2 {
		return err
	}
	return p.ctx.ForwardAt(-1, r.Timestamp+100, nil)
}

func (p *stamps) Close() error { return nil }

func stamped(s *strs, opts ...streams.Option) *streams.Stream[string, int64] {
	return streams.ProcessValues(s, func() streams.FixedProcessor[string, string, int64] { return &stamps{} }, opts...)
}

// moreOperators are the topologies of the transcripts of operators that turn
// streams into tables and run code of the user.
func moreOperators() map[string]func(b *builder) {
	return map[string]func(b *builder){
		"totable":         func(b *builder) { show(from(b, "in").ToTable(), str) },
		"totable-store":   func(b *builder) { show(from(b, "in").ToTable(store("t")), str) },
		"totable-rekeyed": func(b *builder) { show(rekeyed(from(b, "in")).ToTable(named("t")), str) },
		"totable-read": func(b *builder) {
			to(streams.JoinTable(from(b, "s"), from(b, "in").ToTable(), both), "out", str)
		},
		"timestamp-skip": func(b *builder) {
			to(from(b, "in", streams.TimestampFrom(inValue), streams.OnInvalidTime(streams.LogAndSkip)), "out", str)
		},
		"timestamp-partition": func(b *builder) {
			to(from(b, "in", streams.TimestampFrom(inValue), streams.OnInvalidTime(streams.UsePartitionTime)), "out", str)
		},
		"timestamp-own":         func(b *builder) { to(from(b, "in", streams.OnInvalidTime(streams.UsePartitionTime)), "out", str) },
		"timestamp-wall":        func(b *builder) { show(streams.TableFrom(b, "in", str, str, streams.WallClockTime()), str) },
		"topics":                func(b *builder) { to(fromAll(b, "b", "a"), "out", str) },
		"topics-twice":          func(b *builder) { to(fromAll(b, "b", "a").Merge(fromAll(b, "a", "b")), "out", str) },
		"processvalues":         func(b *builder) { to(stamped(from(b, "in")), "out", digits{}) },
		"processvalues-grouped": func(b *builder) { show(streams.GroupByKey(stamped(from(b, "in"))).Count(), digits{}) },
	}
}

func inValue(m *streams.Message) (int64, error) {
	if string(m.Value) == "panic" {
		panic("no time at all")
	}
	return strconv.ParseInt(string(m.Value), 10, 64)
}

func fromAll(b *builder, topics ...string) *strs { return streams.FromTopics(b, topics, str, str) }

// TestPartitionBy: sinks, repartition topics and the subscriptions of foreign-key
// joins go where the user says.
func TestPartitionBy(t *testing.T) {
	byLength := func(k, v string, n int32) int32 { return int32(len(k)+len(v)) % n }
	d := start(t, func(b *builder) {
		moved := from(b, "in").Repartition(named("r"), streams.PartitionBy(byLength))
		moved.To("out", str, str, streams.PartitionBy(byLength))
	}, streamstest.OutputPartitions(3))
	in := streamstest.Input(d, "in", str, str)
	for _, v := range []string{"", "x", "xx", "xxx"} {
		if err := in.Pipe("k", v, 1); err != nil {
			t.Fatal(err)
		}
	}
	var got []int32
	for _, m := range d.Drain() {
		got = append(got, m.Partition)
	}
	if diff := cmp.Diff([]int32{1, 2, 0, 1}, got); diff != "" {
		t.Error(diff)
	}
	host := &choices{n: 7}
	b := streams.NewBuilder()
	moved := from(b, "in").Repartition(named("r"), streams.PartitionBy(byLength))
	to(moved, "out", str)
	place := streams.PartitionForeignBy(func(k string, n int32) int32 { return n - 1 - int32(len(k)) })
	l := streams.TableFrom(b, "l", str, str, store("l"))
	streams.JoinForeign(l, streams.TableFrom(b, "r", str, str), lastLetter, leftRight, named("j"), place)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	db, err := statestore.Memory().Open("")
	if err != nil {
		t.Fatal(err)
	}
	for i := range topo.Graph().Subtopologies {
		sub := &topo.Graph().Subtopologies[i]
		task, err := runtime.NewTask(topo, processor.TaskID{Subtopology: i}, runtime.TaskOptions{ApplicationID: "app", Disk: db, Memory: db, Collector: host})
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Start(); err != nil {
			t.Fatal(err)
		}
		for _, topic := range sub.Sources {
			if err := task.Enqueue(&streams.Message{Topic: topic, Key: []byte("k"), Value: []byte("abc")}); err != nil {
				t.Fatal(err)
			}
		}
		for more := true; more; {
			if more, err = task.ProcessNext(); err != nil {
				t.Fatal(err)
			}
		}
		if err := task.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int32{"app-r-repartition": 4, "app-j-subscription-registration-topic": 5}, host.chosen); diff != "" {
		t.Error(diff)
	}
}

// choices notes which partition was chosen for a topic.
type choices struct {
	n      int32
	chosen map[string]int32
}

func (c *choices) Send(o *processor.Outgoing) error {
	if o.Choose != nil {
		if c.chosen == nil {
			c.chosen = map[string]int32{}
		}
		c.chosen[o.Topic] = o.Choose(c.n)
	}
	return nil
}

// TestHeadersComeThroughTheCache: what a cached table sends has the headers of the
// last record that changed the row, if it has any.
func TestHeadersComeThroughTheCache(t *testing.T) {
	byKey := func(b *builder) *streams.Grouped[string, string] { return streams.GroupByKey(from(b, "in")) }
	ms := time.Millisecond
	for name, build := range map[string]func(b *builder){
		"rows":     func(b *builder) { show(byKey(b).Count(), digits{}) },
		"windows":  func(b *builder) { frames(byKey(b).WindowedBy(streams.Tumbling(100*ms)).Count(), digits{}) },
		"sessions": func(b *builder) { frames(byKey(b).WindowedBySession(streams.Sessions(ms)).Count(), digits{}) },
		"uncached": func(b *builder) { show(byKey(b).Count(streams.NoCache()), digits{}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, build)
			for i, h := range []string{"a=1", "b=2", "c=3", "a=4", "b="} {
				key, value, _ := strings.Cut(h, "=")
				m := processor.Message{Topic: "in", Offset: int64(i), Key: []byte(key), Value: []byte("v"), Timestamp: int64(10 * i)}
				if name == "sessions" {
					m.Timestamp = 10 // of the same session, or nothing is merged
				}
				if value != "" {
					m.Headers = []processor.Header{{Key: "h", Value: []byte(value)}}
				}
				l.process(t, m)
				if value != "" {
					m.Headers[0].Value[0] = 'x' // the bytes are the caller's again
				}
			}
			if err := l.task.Flush(); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, m := range l.sent {
				if m.Topic == "out" {
					got[string(m.Key[:1])] = fmt.Sprint(m.Headers)
				}
			}
			want := map[string]string{"a": "[{h [52]}]", "b": "[]", "c": "[{h [51]}]"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestProcessValuesKeepsTheKey: no repartition topic follows, and nothing goes on
// without a record.
func TestProcessValuesKeepsTheKey(t *testing.T) {
	d := start(t, moreOperators()["processvalues-grouped"])
	if got := d.Internal("test-KSTREAM-AGGREGATE-STATE-STORE-0000000002-repartition"); got != nil {
		t.Errorf("%d records went through a topic", len(got))
	}
	if err := d.AdvanceWallClock(time.Second); !errors.Is(err, processor.ErrNoKey) || !strings.Contains(err.Error(), "KSTREAM-PROCESSVALUES-0000000001") {
		t.Errorf("error %v", err)
	}
}

// broke is a writer that takes nothing.
type broke struct{}

func (broke) Write([]byte) (int, error) { return 0, errUser }

func TestPrint(t *testing.T) {
	var lines bytes.Buffer
	d := start(t, func(b *builder) {
		s := from(b, "in")
		s.Print(&lines)
		stamped(s).Print(&lines, streams.Label("n"), named("p"))
	})
	pipe(t, d, "in a=x@1 ~=~@2 b=@3", &[]string{})
	want := "[KSTREAM-SOURCE-0000000000]: a, x\n[n]: a, 1\n[KSTREAM-SOURCE-0000000000]: null, null\n[n]: null, null\n" +
		"[KSTREAM-SOURCE-0000000000]: b, \n[n]: b, null\n"
	if diff := cmp.Diff(want, lines.String()); diff != "" {
		t.Error(diff)
	}
	d = start(t, func(b *builder) { from(b, "in").Print(broke{}, named("p")) })
	err := streamstest.Input(d, "in", str, str).Pipe("a", "x", 1)
	if bad := (*processor.Error)(nil); !errors.As(err, &bad) || bad.Operator != "p" || !errors.Is(err, errUser) {
		t.Errorf("error %v", err)
	}
}

// lately keeps the records of each key by time and by visit, and tells what it
// has of the last 10 ms.
type lately struct {
	windows  streams.WindowStoreRef[string, string]
	sessions streams.SessionStoreRef[string, int64]
	ctx      streams.FixedContext[string]
	w        streams.WindowStore[string, string]
	s        streams.SessionStore[string, int64]
}

func (p *lately) Init(ctx streams.FixedContext[string]) (err error) {
	p.ctx = ctx
	if p.w, err = p.windows.Open(ctx); err != nil {
		return err
	}
	p.s, err = p.sessions.Open(ctx)
	return err
}

func (p *lately) Process(r streams.Record[string, string]) error {
	if _, err := p.w.Put(r.Key, r.Timestamp, r.Value, r.Timestamp); err != nil {
		return err
	}
	start, n := r.Timestamp, int64(0)
	for row, err := range p.s.FetchSessions(r.Key, r.Timestamp-10, r.Timestamp, statestore.Ascending) {
		if err != nil {
			return err
		}
		if err := p.s.Remove(r.Key, row.Start, row.End); err != nil {
			return err
		}
		start, n = row.Start, row.Value
	}
	if _, err := p.s.Put(r.Key, start, r.Timestamp, n+1); err != nil {
		return err
	}
	var seen strings.Builder
	for row, err := range p.w.Fetch(r.Key, r.Timestamp-10, r.Timestamp, statestore.Ascending) {
		if err != nil {
			return err
		}
		seen.WriteString(row.Value)
	}
	return p.ctx.Forward(seen.String() + strconv.FormatInt(n+1, 10))
}

func (p *lately) Close() error { return nil }

// TestUserStores: window and session stores of processors forget with time, are
// found under their names and have changelogs in Kafka Streams' format.
func TestUserStores(t *testing.T) {
	d := start(t, func(b *builder) {
		w := streams.NewWindowStore(b, "w", 10*time.Millisecond, str, str, streams.Retention(20*time.Millisecond))
		s := streams.NewSessionStore(b, "s", time.Minute, str, serde.Int64(), streams.InMemory())
		if w.Name() != "w" || s.Name() != "s" {
			t.Errorf("names %s, %s", w.Name(), s.Name())
		}
		to(streams.ProcessValues(from(b, "in"), func() streams.FixedProcessor[string, string, string] {
			return &lately{windows: w, sessions: s}
		}, w, s), "out", str)
	})
	got := pipe(t, d, "in a=x@1 a=y@5 b=z@5 a=w@14 a=v@100", &[]string{})
	if want := "out a=x1@1\nout a=xy2@5\nout b=z1@5\nout a=yw3@14\nout a=v1@100\n"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	rows, err := streamstest.Window(d, "w", str, str)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok, err := rows.Get("a", 14); ok || err != nil {
		t.Errorf("a row is kept longer than its retention (%v)", err)
	}
	if logs := d.Internal("test-w-changelog"); len(logs) != 5 || hexes(logs[0].Key) != "61000000000000000100000000" {
		t.Errorf("changelog %v", logs)
	}
	if logs := d.Internal("test-s-changelog"); hexes(logs[0].Key) != "6100000000000000010000000000000001" {
		t.Errorf("changelog %v", logs)
	}
}
