package streams_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/streamstest"
)

func matching(b *builder, expr string, opts ...streams.Option) *strs {
	return streams.FromPattern(b, regexp.MustCompile(expr), str, str, opts...)
}

// describedPatterns holds the patterns of testdata/describe.txt.
func describedPatterns() map[string]func(b *builder) {
	return map[string]func(b *builder){
		"pattern": func(b *builder) {
			s := matching(b, `in\d+|more\..*`)
			to(s.Filter(yes), "out", str)
			byValue(matching(b, `in\d+|more\..*`)).Count(store("c"))
			to(streams.Join(s, from(b, "other"), both, joinWindow()), "joined", str)
		},
	}
}

// TestPatternsMustNotOverlap: a topic has one source, whichever was there first.
func TestPatternsMustNotOverlap(t *testing.T) {
	for name, tc := range map[string]struct {
		build func(b *builder)
		op    string
		want  string // empty for no mistake
	}{
		"topic first":     {func(b *builder) { from(b, "in1"); matching(b, "in.*") }, "KSTREAM-SOURCE-0000000001", "in1 matches in.* and is read by KSTREAM-SOURCE-0000000000"},
		"pattern first":   {func(b *builder) { matching(b, "in.*"); from(b, "in1") }, "KSTREAM-SOURCE-0000000001", "in1 matches in.*, which KSTREAM-SOURCE-0000000000 reads"},
		"table":           {func(b *builder) { matching(b, "in.*"); streams.TableFrom(b, "in1", str, str) }, "KTABLE-SOURCE-0000000003", "in1 matches in.*"},
		"global table":    {func(b *builder) { matching(b, "in.*"); streams.GlobalTableFrom(b, "in1", str, str) }, "KTABLE-SOURCE-0000000003", "in1 matches in.*"},
		"its own text":    {func(b *builder) { matching(b, "in"); from(b, "in") }, "KSTREAM-SOURCE-0000000001", "in matches in"},
		"whole names":     {func(b *builder) { matching(b, "a|in"); from(b, "in1"); from(b, "pin"); from(b, "ab") }, "", ""},
		"repartition":     {func(b *builder) { byValue(matching(b, ".*")).Count() }, "", ""},
		"other patterns":  {func(b *builder) { matching(b, "a.*"); matching(b, ".*a") }, "", ""}, // it depends on the topics
		"the same again":  {func(b *builder) { matching(b, "a.*"); matching(b, "a.*") }, "", ""},
		"configured anew": {func(b *builder) { matching(b, "a.*"); matching(b, "a.*", streams.WallClockTime()) }, "KSTREAM-SOURCE-0000000001", "first reading"},
		"begun anew":      {func(b *builder) { from(b, "a"); from(b, "a", streams.ResetTo(streams.Latest)) }, "KSTREAM-SOURCE-0000000001", "first reading"},
		"nil pattern":     {func(b *builder) { streams.FromPattern(b, nil, str, str) }, "KSTREAM-SOURCE-0000000000", "pattern is nil"},
		"nil serde":       {func(b *builder) { streams.FromPattern[string, string](b, regexp.MustCompile("a"), nil, str) }, "KSTREAM-SOURCE-0000000000", "serde is nil"},
		"name taken":      {func(b *builder) { from(b, "in", named("s")); matching(b, "a", named("s")) }, "s", "taken"},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			tc.build(b)
			_, err := b.Build()
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			mistake := (*streams.TopologyError)(nil)
			if !errors.As(err, &mistake) || mistake.Op != tc.op || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(tc.want, "matches") && (!errors.Is(err, graph.ErrOverlap) || !errors.Is(err, streams.ErrDuplicate)) {
				t.Errorf("%v is neither", err)
			}
		})
	}
}

// TestPatternsInTheDriver: a topic is there as soon as a record goes to it, those of
// the topology's own too.
func TestPatternsInTheDriver(t *testing.T) {
	d := start(t, func(b *builder) {
		moved := streams.SelectKey(matching(b, "in.*"), value)
		to(streams.GroupByKey(moved).Count(store("counts")).ToStream(), "counted", i64)
		to(matching(b, "counte.|dlq.*|test-.*").Filter(func(k, _ string) bool { return k == "a" }), "again", str)
	})
	for _, topic := range []string{"in2", "in1", "in2"} {
		if err := d.PipeMessage(streams.Message{Topic: topic, Key: []byte("k"), Value: []byte("a"), Timestamp: 5}); err != nil {
			t.Fatal(err)
		}
	}
	counted, again := 0, 0
	for _, m := range d.Drain() {
		switch m.Topic {
		case "counted":
			counted++
		case "again":
			again++
		}
	}
	if counted != 3 || again != 3 {
		t.Errorf("%d counted, %d matched", counted, again)
	}
	for _, topic := range []string{"other", "dlq.test", "test-counts-changelog"} {
		if err := d.PipeMessage(streams.Message{Topic: topic}); err == nil || !strings.Contains(err.Error(), "no source reads") {
			t.Errorf("%s: %v", topic, err)
		}
	}
}

func TestTopicOfTwoPatternsInTheDriver(t *testing.T) {
	d := start(t, func(b *builder) {
		to(matching(b, "a.*"), "out", str)
		to(matching(b, ".*b"), "out", str)
		to(from(b, "in"), "ab", str)
	})
	if out := pipe(t, d, "a1 k=v@1\n1b k=v@2\n", new([]string)); strings.Count(out, "k") != 2 {
		t.Errorf("got %q", out)
	}
	if err := d.PipeMessage(streams.Message{Topic: "ab"}); !errors.Is(err, graph.ErrOverlap) || !strings.Contains(err.Error(), "ab matches a.* and .*b") {
		t.Errorf("got %v", err)
	}
	if err := d.PipeMessage(streams.Message{Topic: "in", Key: []byte("k"), Value: []byte("v")}); !errors.Is(err, graph.ErrOverlap) {
		t.Errorf("what the topology writes gave %v", err)
	}
}

// TestPatternGoesOnAfterAnotherTry: a record that had effects is tried again from the
// last commit, with all topics of the pattern.
func TestPatternGoesOnAfterAnotherTry(t *testing.T) {
	tries := 0
	d := start(t, func(b *builder) {
		s := matching(b, "in.*")
		to(s, "out", str)
		s.ForEach(func(_, v string) {
			if tries++; v == "bad" && tries < 4 {
				panic("not now")
			}
		})
	}, streamstest.OnError(func(streams.ErrorEvent) streams.Decision { return streams.Retry }))
	if out := pipe(t, d, "in1 k=a@1\nin2 k=b@2\nin1 k=bad@3\n", new([]string)); strings.Contains(out, "bad") {
		t.Errorf("got %q", out)
	}
	for range 3 {
		if err := d.AdvanceWallClock(1e9); err != nil {
			t.Fatal(err)
		}
	}
	if sent := d.Drain(); len(sent) != 1 || string(sent[0].Value) != "bad" || tries != 4 {
		t.Errorf("after %d tries %v", tries, sent)
	}
}
