package streams_test

import (
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// row is what the model and the topology tell of a window.
type row struct{ Count, Time int64 }

// model counts records in windows the slow way: it keeps every record and
// looks at each window on its own.
type model struct {
	size, advance, grace int64
	time                 int64
	rows                 map[string]row
	late                 int
}

func (m *model) add(key string, at int64) {
	m.time = max(m.time, at)
	for start := int64(0); start <= at; start += m.advance {
		if at >= start+m.size {
			continue
		}
		if m.grace >= 0 && start+m.size <= m.time-m.grace {
			m.late++
			continue
		}
		name := key + "@" + strconv.FormatInt(start, 10)
		old := m.rows[name]
		m.rows[name] = row{old.Count + 1, max(old.Time, at)}
	}
}

// TestWindowedCountEqualsANaiveModel: whatever the windows, the order of the
// records and the cache, the last row of each window is what counting by hand
// gives, and every record that is too late for a window is counted as dropped.
func TestWindowedCountEqualsANaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{time: -1, rows: map[string]row{}}
		m.size = rapid.Int64Range(1, 30).Draw(t, "size")
		m.advance = rapid.Int64Range(1, m.size).Draw(t, "advance")
		m.grace = rapid.Int64Range(-1, 40).Draw(t, "grace") // -1: without end
		windows := streams.Hopping(time.Duration(m.size)*time.Millisecond, time.Duration(m.advance)*time.Millisecond)
		if m.grace < 0 {
			windows = windows.Grace(streams.Forever)
		} else {
			windows = windows.Grace(time.Duration(m.grace) * time.Millisecond)
		}
		opts := []streams.Option{streams.Store("counts")}
		if rapid.Bool().Draw(t, "uncached") {
			opts = append(opts, streams.NoCache())
		}
		b := streams.NewBuilder()
		counts := streams.GroupByKey(from(b, "in")).WindowedBy(windows).Count(opts...)
		key := serde.TimeWindowed(str, windows.Size())
		counts.ToStream().To("out", key, i64)
		topo, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		d, err := streamstest.New(topo)
		if err != nil {
			t.Fatal(err)
		}
		in, out := streamstest.Input(d, "in", str, str), streamstest.Output(d, "out", key, i64)
		got := map[string]row{}
		for range rapid.IntRange(0, 60).Draw(t, "records") {
			k := rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "key")
			at := rapid.Int64Range(0, 100).Draw(t, "at")
			m.add(k, at)
			if err := in.Pipe(k, "v", at); err != nil {
				t.Fatal(err)
			}
			recs, err := out.Drain()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recs {
				got[r.Key.Key+"@"+strconv.FormatInt(r.Key.Start, 10)] = row{r.Value, r.Timestamp}
			}
		}
		if diff := cmp.Diff(m.rows, got); diff != "" {
			t.Fatal(diff)
		}
		if n, _ := d.Dropped(); n != m.late {
			t.Fatalf("%d dropped, want %d", n, m.late)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWindowStoreKeepsWhatItsRetentionSays are the read-back facts of Kafka
// Streams: with retention 500 only rows that start after the latest less 500.
func TestWindowStoreKeepsWhatItsRetentionSays(t *testing.T) {
	for name, tc := range map[string]struct {
		opts []streams.Option
		want map[int64]int64
	}{
		"size plus grace": {nil, map[int64]int64{1000: 1}},
		"longer":          {[]streams.Option{streams.Retention(501 * time.Millisecond)}, map[int64]int64{500: 1, 1000: 1}},
		"forever":         {[]streams.Option{streams.Retention(streams.Forever)}, map[int64]int64{0: 1, 500: 1, 1000: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, func(b *builder) {
				w := streams.GroupByKey(from(b, "in")).WindowedBy(streams.Tumbling(500 * time.Millisecond))
				w.Count(append(tc.opts, streams.Store("counts"), streams.NoCache())...)
			})
			in := streamstest.Input(d, "in", str, str)
			for _, at := range []int64{0, 500, 1000} {
				if err := in.Pipe("k", "v", at); err != nil {
					t.Fatal(err)
				}
			}
			rows, err := streamstest.Window(d, "counts", str, i64)
			if err != nil {
				t.Fatal(err)
			}
			got := map[int64]int64{}
			for r, err := range rows.Fetch("k", 0, 2000, false) {
				if err != nil {
					t.Fatal(err)
				}
				got[r.Start] = r.Value
			}
			if !maps.Equal(got, tc.want) {
				t.Errorf("rows %v, want %v", got, tc.want)
			}
		})
	}
}

// TestWindowedBytesAreThoseOfKafkaStreams reads what leaves for the output and
// the changelog.
func TestWindowedBytesAreThoseOfKafkaStreams(t *testing.T) {
	d := start(t, func(b *builder) {
		w := streams.GroupByKey(from(b, "in")).WindowedBy(streams.Tumbling(100 * time.Millisecond))
		w.Count(streams.Store("counts")).ToStream().To("out", serde.TimeWindowed(str, 100*time.Millisecond), i64)
	})
	if err := streamstest.Input(d, "in", str, str).Pipe("a", "v", 117); err != nil {
		t.Fatal(err)
	}
	start := "\x00\x00\x00\x00\x00\x00\x00\x64"
	one := "\x00\x00\x00\x00\x00\x00\x00\x01"
	out, log := d.Drain(), d.Internal("test-counts-changelog")
	if len(out) != 1 || len(log) != 1 {
		t.Fatalf("%d records out and %d in the changelog, want one each", len(out), len(log))
	}
	if diff := cmp.Diff([]string{"a" + start, one}, []string{string(out[0].Key), string(out[0].Value)}); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a" + start + "\x00\x00\x00\x00", one}, []string{string(log[0].Key), string(log[0].Value)}); diff != "" {
		t.Error(diff)
	}
	if out[0].Timestamp != 117 || log[0].Timestamp != 117 {
		t.Errorf("times %d and %d, want 117", out[0].Timestamp, log[0].Timestamp)
	}
}
