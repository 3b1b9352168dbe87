package runtime

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams/internal/graph"
)

// newMatcher is the program of counts on what a pattern matches.
func newMatcher(t *testing.T) *program {
	t.Helper()
	b := graph.NewBuilder()
	must(t, b.AddPattern("source", graph.NewPattern(regexp.MustCompile("in.*|dlq.*|app.*|sys"))))
	must(t, b.AddProcessor("count", "source"))
	must(t, b.AddStore(graph.Store{Name: "counts", Timestamped: true, Logged: true, Cached: true, Persistent: true}))
	must(t, b.Connect("count", "counts"))
	must(t, b.AddSource("named", "other"))
	return &program{graph: b.Build()}
}

func TestLayoutOfPatterns(t *testing.T) {
	l := NewLayout("app", newMatcher(t).graph)
	got := l.Work(map[string]int32{"other": 1, "in2": 2, "in": 1, "foreign": 3})
	want := []Work{
		{task(0, 0), []TP{{"in", 0}, {"in2", 0}}},
		{task(0, 1), []TP{{"in2", 1}}},
		{task(1, 0), []TP{{"other", 0}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if l.Named("in") || !l.Named("other") {
		t.Error("names are taken for others")
	}
}

func TestPrepareFindsWhatPatternsMatch(t *testing.T) {
	g := newMatcher(t).graph
	a := &admin{cluster: newCluster(), names: map[string]Topic{
		"other": {Name: "other", Partitions: 1}, "dlq.app": {Name: "dlq.app", Partitions: 9}, "sys": {Name: "sys", Partitions: 9, Internal: true},
	}}
	o := SetupOptions{DeadLetters: "dlq.app"}
	prepared := func(s *Setup, err error, tasks int, topics ...string) {
		t.Helper()
		must(t, err)
		if len(s.Work) != tasks || !slices.Equal(s.Topics, topics) || !slices.Equal(s.Changelogs, []string{changelogTopic}) {
			t.Fatalf("setup %+v", s)
		}
	}
	empty, err := Prepare(t.Context(), a, "app", g, o)
	prepared(empty, err, 1, "other")
	if _, made := a.names[changelogTopic]; made {
		t.Error("a changelog of no task was made")
	}
	a.names["in1"] = Topic{Name: "in1", Partitions: 3}
	first, err := empty.Renew(t.Context(), a, "app", g, o)
	prepared(first, err, 4, "in1", "other")
	if a.names[changelogTopic].Partitions != 3 || first.TopicIDs[changelogTopic] == "" {
		t.Errorf("the changelog is %+v, its id %v", a.names[changelogTopic], first.TopicIDs)
	}
	if same, err := first.Renew(t.Context(), a, "app", g, o); same != first || err != nil {
		t.Errorf("without news: %v, %v", same, err)
	}
	delete(a.names, "in1")
	a.names["in2"] = Topic{Name: "in2", Partitions: 3}
	second, err := first.Renew(t.Context(), a, "app", g, o)
	prepared(second, err, 4, "in2", "other")
	a.names["in3"] = Topic{Name: "in3", Partitions: 4}
	if _, err := second.Renew(t.Context(), a, "app", g, o); !errors.Is(err, ErrPartitions) {
		t.Errorf("a topic that needs more tasks than there is state gave %v", err)
	}
	a.failing = errors.New("boom")
	for _, f := range []func() (*Setup, error){
		func() (*Setup, error) { return second.Renew(t.Context(), a, "app", g, o) },
		func() (*Setup, error) { return Prepare(t.Context(), a, "app", g, o) },
	} {
		if _, err := f(); !errors.Is(err, a.failing) {
			t.Errorf("got %v", err)
		}
	}
}

// TestTopicsComeAndGo: the task of a pattern gets one more partition and loses one,
// and goes on with what it has, from its last commit.
func TestTopicsComeAndGo(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.prog.graph = newMatcher(t).graph
		b.o.Setup = &Setup{Layout: NewLayout("app", b.prog.graph), Topics: []string{"in", "other"}}
		b.start() // with "in" and "in2"
		b.w.Adopt(&Setup{Layout: b.o.Setup.Layout, Topics: []string{"in", "in2", "in3", "other"}})
		b.feed(3)
		b.settle()
		b.log.assign(t.Context(), TP{"in3", 0})
		b.cluster.add(TP{"in3", 0}, "k0", "v", 5)
		time.Sleep(2 * time.Second)
		b.wantCounts("2", "1", "1")
		b.log.revoke(t.Context(), false, TP{"in2", 0})
		b.settle()
		s := b.status()
		if diff := cmp.Diff([]TP{{"in", 0}, {"in3", 0}}, s.Partitions); diff != "" || s.State != "running" {
			t.Error(s.State, diff)
		}
		b.cluster.add(TP{"in3", 0}, "k0", "v", 6)
		b.feed(1)
		time.Sleep(2 * time.Second)
		b.wantCounts("4", "1", "1")
		b.locked(func() {
			if !slices.Equal(b.log.reads, []string{"in", "in2", "in3", "other"}) || b.log.aborts > 0 || b.disk.wiped > 0 {
				t.Errorf("reads %v, %d aborts, %d wiped", b.log.reads, b.log.aborts, b.disk.wiped)
			}
		})
		b.log.revoke(t.Context(), false, TP{"in", 0}, TP{"in3", 0})
		b.settle()
		if tasks, _ := b.w.Status(); len(tasks) > 0 {
			t.Errorf("still %+v", tasks)
		}
		b.end()
		if n := b.committed(); n != 4 {
			t.Errorf("committed %d", n)
		}
	})
}

// TestWorkerWithoutTopicsIsReady: no assignment comes before a pattern matches.
func TestWorkerWithoutTopicsIsReady(t *testing.T) {
	inBubble(t, func(b *bench) {
		changes := 0
		b.o.OnChange = func() { changes++ }
		ctx, stop := context.WithCancel(b.t.Context())
		b.stop, b.done, b.w = stop, make(chan error, 1), NewWorker(b.o)
		if _, ready := b.w.Status(); ready {
			t.Error("ready before it runs")
		}
		b.w.Adopt(&Setup{Layout: b.o.Setup.Layout})
		go func() { b.done <- b.w.Run(ctx) }()
		b.settle()
		if tasks, ready := b.w.Status(); !ready || len(tasks) > 0 || changes == 0 {
			t.Errorf("tasks %v, ready is %v", tasks, ready)
		}
		b.end()
	})
}

// TestSourcesBeginWhereTheySay: what the application wrote itself is never passed over.
func TestSourcesBeginWhereTheySay(t *testing.T) {
	for name, tc := range map[string]struct {
		reset graph.Reset
		toEnd bool
		want  map[string]string
	}{
		"the application's": {want: map[string]string{"k0": "1", "own": "1"}},
		"its end":           {toEnd: true, want: map[string]string{"own": "1"}},
		"latest":            {reset: graph.Latest, want: map[string]string{"own": "1"}},
		"earliest":          {reset: graph.Earliest, toEnd: true, want: map[string]string{"k0": "1", "own": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				nodes := b.prog.graph.Subtopologies[0].Nodes
				nodes[slices.IndexFunc(nodes, func(n graph.Node) bool { return n.Kind == graph.Source })].Reset = tc.reset
				b.o.ResetToEnd = tc.toEnd
				b.feed(1)
				b.cluster.add(TP{"in2", 0}, "own", "v", 1) // a repartition topic
				b.start()
				time.Sleep(2 * time.Second)
				if diff := cmp.Diff(tc.want, b.cluster.last()); diff != "" {
					t.Error(diff)
				}
				b.end()
			})
		})
	}
}
