package streams_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
)

// life is a task whose process dies and comes back: it keeps what a Kafka and a
// disk would keep, the committed offset, the changelogs and the database.
type life struct {
	topo *streams.Topology
	disk statestore.DB
	logs map[string][]processor.Message // changelogs, as committed
	at   runtime.Offset                 // as committed
	in   []processor.Message

	task *runtime.Task
	sent []processor.Message // not committed
	out  []string            // committed
}

func newLife(t *testing.T, build func(b *builder)) *life {
	t.Helper()
	b := streams.NewBuilder()
	build(b)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	l := &life{topo: topo, logs: map[string][]processor.Message{}, at: runtime.Offset{TP: runtime.TP{Topic: "in"}}}
	if l.disk, err = statestore.Memory().Open(""); err != nil {
		t.Fatal(err)
	}
	l.start(t)
	return l
}

// Send implements runtime.Collector.
func (l *life) Send(o *processor.Outgoing) error {
	l.sent = append(l.sent, processor.Message{
		Topic: o.Topic, Key: bytes.Clone(o.Key), Value: bytes.Clone(o.Value), Timestamp: o.Timestamp, Headers: cloned(o.Headers),
	})
	return nil
}

func cloned(headers []processor.Header) []processor.Header {
	var own []processor.Header
	for _, h := range headers {
		own = append(own, processor.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return own
}

// start opens the task as a new process would, and reads on from the commit.
func (l *life) start(t *testing.T) {
	t.Helper()
	memory, err := statestore.Memory().Open("")
	if err != nil {
		t.Fatal(err)
	}
	l.sent = nil
	if l.task, err = runtime.NewTask(l.topo, processor.TaskID{}, runtime.TaskOptions{
		ApplicationID: "app", Disk: l.disk, Memory: memory, Collector: l, EmitInterval: 0,
	}); err != nil {
		t.Fatal(err)
	}
	l.task.Resume(l.at, l.at.Metadata != "")
	for _, c := range l.task.Changelogs() {
		log := l.logs[c.Topic]
		if err := l.task.Restore(c.Topic, log[max(0, c.Position):], int64(len(log))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.task.Restored(); err != nil {
		t.Fatal(err)
	}
	if err := l.task.Start(); err != nil {
		t.Fatal(err)
	}
	for i := int(l.at.Offset); i < len(l.in); i++ {
		l.process(t, l.in[i])
	}
}

func (l *life) process(t *testing.T, m processor.Message) {
	t.Helper()
	if err := l.task.Enqueue(&m); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = l.task.ProcessNext(); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *life) pipe(t *testing.T, recs string) {
	t.Helper()
	for w := range strings.FieldsSeq(recs) {
		var at int64
		key, rest, _ := strings.Cut(w, "@")
		if _, err := fmt.Sscan(rest, &at); err != nil {
			t.Fatal(err)
		}
		m := processor.Message{Topic: "in", Offset: int64(len(l.in)), Key: []byte(key), Value: []byte("v"), Timestamp: at}
		l.in = append(l.in, m)
		l.process(t, m)
	}
}

// commit commits everything that was processed.
func (l *life) commit(t *testing.T) {
	t.Helper()
	if err := l.task.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, o := range l.task.Offsets() {
		l.at = o
	}
	acked := map[string]int64{}
	for _, m := range l.sent {
		if !strings.HasSuffix(m.Topic, "-changelog") {
			l.out = append(l.out, fmt.Sprintf("%s=%s@%d", m.Key, m.Value, m.Timestamp))
			continue
		}
		m.Offset = int64(len(l.logs[m.Topic]))
		l.logs[m.Topic] = append(l.logs[m.Topic], m)
		acked[m.Topic] = m.Offset
	}
	l.sent = nil
	if err := l.task.Applied(acked); err != nil {
		t.Fatal(err)
	}
}

// crash ends the process: what was not committed is gone, and so is the disk if
// wipe says so.
func (l *life) crash(t *testing.T, wipe bool) {
	t.Helper()
	if err := l.task.Close(); err != nil {
		t.Fatal(err)
	}
	if wipe {
		var err error
		if l.disk, err = statestore.Memory().Open(""); err != nil {
			t.Fatal(err)
		}
	}
	l.start(t)
}

func pending() map[string]func(b *builder) {
	ms := time.Millisecond
	byKey := func(b *builder) *streams.Grouped[string, string] { return streams.GroupByKey(from(b, "in")) }
	return map[string]func(b *builder){
		"time windows on close": func(b *builder) {
			frames(byKey(b).WindowedBy(streams.Tumbling(10*ms)).EmitStrategy(streams.OnWindowClose).Count(), digits{})
		},
		"sliding windows on close": func(b *builder) {
			frames(byKey(b).WindowedBy(streams.Sliding(10*ms)).EmitStrategy(streams.OnWindowClose).Count(), digits{})
		},
		"sessions on close": func(b *builder) {
			frames(byKey(b).WindowedBySession(streams.Sessions(10*ms)).EmitStrategy(streams.OnWindowClose).Count(), digits{})
		},
		"suppressed until closed": func(b *builder) {
			frames(byKey(b).WindowedBy(streams.Tumbling(10*ms)).Count().Suppress(streams.UntilWindowCloses(streams.Unbounded())), digits{})
		},
		"join with late rows": func(b *builder) {
			s := from(b, "in")
			counts := streams.GroupByKey(s).Count(store("c"), streams.Versioned(time.Second))
			join := func(_, v string, n int64) string { return v + strconv.FormatInt(n, 10) }
			to(streams.JoinTable(s, counts, join, streams.Grace(20*ms)), "out", str)
		},
		"join of tables": func(b *builder) {
			g := byKey(b)
			count := streams.MapTableValues(g.Count(), func(_ string, n int64) string { return strconv.FormatInt(n, 10) })
			show(streams.OuterJoinTables(count, streams.Aggregate(g, empty, list, str), leftAndRight, store("j")), str)
		},
		"suppressed for a time": func(b *builder) {
			show(byKey(b).Count(streams.NoCache()).Suppress(streams.UntilTimeLimit(10*ms, streams.Unbounded())), digits{})
		},
	}
}

// TestPendingResultsSurviveACrash: wherever the process dies between two
// commits, with or without its disk, the committed results are those of a
// process that lived, each once: what waited for its time is not forgotten, and
// what was emitted and committed is not emitted again.
func TestPendingResultsSurviveACrash(t *testing.T) {
	recs := strings.Fields("a@11 b@12 a@15 b@31 a@33 c@34 a@75 b@76 a@77 c@500 a@501 b@900 a@1500")
	for name, build := range pending() {
		for _, wipe := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s wipe=%v", name, wipe), func(t *testing.T) {
				want := newLife(t, build)
				for _, r := range recs {
					want.pipe(t, r)
					want.commit(t)
				}
				if len(want.out) < 5 {
					t.Fatalf("only %v came out", want.out)
				}
				for at := range recs {
					l := newLife(t, build)
					for i, r := range recs {
						l.pipe(t, r)
						if i == at {
							l.crash(t, wipe) // with this record in flight
						}
						if i%2 == 0 || i >= at {
							l.commit(t)
						}
					}
					got, all := slices.Sorted(slices.Values(l.out)), slices.Sorted(slices.Values(want.out))
					if diff := cmp.Diff(all, got); diff != "" {
						t.Fatalf("crash at record %d: %s", at, diff)
					}
				}
			})
		}
	}
}
