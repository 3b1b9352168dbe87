package streams_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
)

// TestStoresKeepWhatTheirOptionsSay reads the graph that the runtime sees.
func TestStoresKeepWhatTheirOptionsSay(t *testing.T) {
	b := streams.NewBuilder()
	in := from(b, "in")
	w := streams.GroupByKey(in).WindowedBy(streams.Hopping(time.Minute, 20*time.Second).Grace(30 * time.Second))
	w.Count(store("default"))
	w.Count(store("tuned"), streams.NoCache(), streams.InMemory(), streams.NoChangelog(),
		streams.Retention(time.Hour), streams.TopicConfig(map[string]string{"retention.ms": "-1"}))
	w.Count(store("kept"), streams.Retention(streams.Forever))
	streams.GroupByKey(in).WindowedBy(streams.Tumbling(time.Minute).Grace(streams.Forever)).Count(store("open"))
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Retention, Size                     int64
		Cached, Logged, Persistent, Stamped bool
		Config                              map[string]string
	}
	got := map[string]row{}
	for _, s := range topo.Graph().Subtopologies[0].Stores {
		got[s.Name] = row{s.RetentionMs, s.WindowSizeMs, s.Cached, s.Logged, s.Persistent, s.Timestamped, s.TopicConfig}
	}
	want := map[string]row{
		"default": {90_000, 60_000, true, true, true, true, nil},
		"tuned":   {3_600_000, 60_000, false, false, false, true, map[string]string{"retention.ms": "-1"}},
		"kept":    {math.MaxInt64, 60_000, true, true, true, true, nil},
		"open":    {math.MaxInt64, 60_000, true, true, true, true, nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamedPartitionsReachTheGraph(t *testing.T) {
	b := streams.NewBuilder()
	to(from(b, "in").Repartition(named("r"), streams.Partitions(7)), "out", str)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if n := topo.Graph().Subtopologies[1].Repartitions[0].Partitions; n != 7 {
		t.Errorf("%d partitions, want 7", n)
	}
	if _, err := topo.NewTask(2, nil); err == nil || !strings.Contains(err.Error(), "sub-topology 2") {
		t.Errorf("error %v, want that there is no sub-topology 2", err)
	}
}

func TestSourcesSayWhereToBegin(t *testing.T) {
	b := streams.NewBuilder()
	from(b, "in", streams.ResetTo(streams.Latest))
	matching(b, "a[0-9]", streams.ResetTo(streams.Earliest))
	streams.TableFrom(b, "t", str, str, streams.ResetTo(streams.Latest))
	from(b, "any")
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]streams.OffsetReset{}
	for _, sub := range topo.Graph().Subtopologies {
		for _, topic := range []string{"in", "a1", "t", "any"} {
			if n, ok := sub.Source(topic); ok {
				got[topic] = n.Reset
			}
		}
	}
	if diff := cmp.Diff(map[string]streams.OffsetReset{"in": streams.Latest, "a1": streams.Earliest, "t": streams.Latest, "any": 0}, got); diff != "" {
		t.Error(diff)
	}
}
