package streams_test

import (
	"encoding/hex"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/streamstest"
)

// or is the text of a side, or "-" where it is missing.
func or(v *string) string {
	if v == nil {
		return "-"
	}
	return *v
}

func orRight(_, l string, r *string) string  { return l + or(r) }
func orEither(_ string, l, r *string) string { return or(l) + or(r) }
func within(ms int) streams.JoinWindows      { return streams.Within(time.Duration(ms) * time.Millisecond) }

// operatorsOfJoins holds the topologies of the transcripts of joins.
func operatorsOfJoins() map[string]func(b *builder) {
	return map[string]func(b *builder){
		"join": func(b *builder) {
			to(streams.Join(from(b, "l"), from(b, "r"), both, within(10)), "out", str)
		},
		"join-uneven": func(b *builder) {
			to(streams.Join(from(b, "l"), from(b, "r"), both, within(0).Before(2*time.Millisecond).After(5*time.Millisecond)), "out", str)
		},
		"join-later": func(b *builder) {
			to(streams.Join(from(b, "l"), from(b, "r"), both, within(10).Before(-2*time.Millisecond)), "out", str)
		},
		"join-itself": func(b *builder) { s := from(b, "l"); to(streams.Join(s, s, both, within(10)), "out", str) },
		"leftjoin": func(b *builder) {
			to(streams.LeftJoin(from(b, "l"), from(b, "r"), orRight, within(10).Grace(5*time.Millisecond)), "out", str)
		},
		"leftjoin-forever": func(b *builder) {
			to(streams.LeftJoin(from(b, "l"), from(b, "r"), orRight, within(10).Grace(streams.Forever)), "out", str)
		},
		"leftjoin-eager": func(b *builder) {
			to(streams.LeftJoin(from(b, "l"), from(b, "r"), orRight, within(10).Eager()), "out", str)
		},
		"leftjoin-rekeyed": func(b *builder) {
			none := func(k, v string) string { return v }
			l := streams.Map(from(b, "l"), func(k, v string) (string, string) { return v, k })
			to(streams.LeftJoin(l, streams.SelectKey(from(b, "r"), none), orRight, within(10)), "out", str)
		},
		"leftjoin-repartitioned": func(b *builder) {
			to(streams.LeftJoin(from(b, "l").Repartition(), from(b, "r").Repartition(), orRight, within(10)), "out", str)
		},
		"outerjoin": func(b *builder) {
			to(streams.OuterJoin(from(b, "l"), from(b, "r"), orEither, within(10)), "out", str)
		},
		"outerjoin-earlier": func(b *builder) { // right records have to be 1 to 5 ms earlier
			w := within(5).After(-time.Millisecond).Grace(2 * time.Millisecond)
			to(streams.OuterJoin(from(b, "l"), from(b, "r"), orEither, w), "out", str)
		},
		"jointable": func(b *builder) {
			to(streams.JoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str), both), "out", str)
		},
		"jointable-grace": func(b *builder) {
			t := streams.TableFrom(b, "t", str, str, store("t"), streams.Versioned(time.Minute))
			to(streams.JoinTable(from(b, "s"), t, both, streams.Grace(10*time.Millisecond)), "out", str)
		},
		"leftjointable-grace": func(b *builder) {
			t := streams.TableFrom(b, "t", str, str, store("t"), streams.Versioned(time.Minute)).Filter(yes)
			to(streams.LeftJoinTable(rekeyed(from(b, "s")), t, orRight, named("late"), streams.Grace(10*time.Millisecond)), "out", str)
		},
		"leftjointable": func(b *builder) {
			to(streams.LeftJoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str), orRight), "out", str)
		},
		"joinglobal": func(b *builder) {
			to(streams.JoinGlobal(from(b, "s"), streams.GlobalTableFrom(b, "g", str, str), byText, both), "out", str)
		},
		"leftjoinglobal": func(b *builder) {
			to(streams.LeftJoinGlobal(from(b, "s"), streams.GlobalTableFrom(b, "g", str, str), byText, orRight), "out", str)
		},
		"jointable-windowed": func(b *builder) {
			w := streams.Tumbling(10 * time.Millisecond)
			counts := streams.GroupByKey(from(b, "t")).WindowedBy(w).Count(streams.NoCache())
			twice := func(_ streams.Windowed[string], x, y int64) int64 { return 10*x + y }
			streams.JoinTable(counts.ToStream(), counts, twice).To("out", frame{}, digits{})
		},
	}
}

// TestJoinsDemandEqualPartitionCounts: the error says which operator asks, and
// where it stands.
func TestJoinsDemandEqualPartitionCounts(t *testing.T) {
	counts := map[string]int32{"l": 6, "r": 4, "s": 6, "t": 4, "same": 6}
	for name, tc := range map[string]struct {
		build func(b *builder)
		want  string
	}{
		"join": {
			build: func(b *builder) { streams.Join(from(b, "l"), from(b, "r"), both, joinWindow(), named("enrich")) },
			want:  `^enrich \(joins_test.go:\d+\): co-partition: l has 6 partitions, r 4$`,
		},
		"behind others": {
			build: func(b *builder) {
				l := from(b, "l").Merge(from(b, "same")).Filter(yes)
				streams.OuterJoin(l, streams.MapValues(from(b, "r"), value), orEither, joinWindow())
			},
			want: `^Join of KSTREAM-FILTER-\d+ and KSTREAM-MAPVALUES-\d+ \(joins_test.go:\d+\): co-partition: l has 6 partitions, r 4$`,
		},
		"table": {
			build: func(b *builder) { streams.JoinTable(from(b, "s"), streams.TableFrom(b, "t", str, str), both) },
			want:  `^JoinTable of .* and .* \(joins_test.go:\d+\): co-partition: s has 6 partitions, t 4$`,
		},
		"fixed repartition topic": {
			build: func(b *builder) {
				streams.Join(from(b, "l"), from(b, "r").Repartition(named("x"), streams.Partitions(3)), both, joinWindow(), named("j"))
			},
			want: `^j \(joins_test.go:\d+\): co-partition: l has 6 partitions, x-repartition 3$`,
		},
		"equal": {build: func(b *builder) { streams.Join(from(b, "l"), from(b, "same"), both, joinWindow()) }},
		"repartition topics adapt": {
			build: func(b *builder) { streams.Join(from(b, "l"), rekeyed(from(b, "r")), both, joinWindow()) },
		},
		"itself": {build: func(b *builder) { s := from(b, "l"); streams.Join(s, s, both, joinWindow()) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			tc.build(b)
			topo, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			_, err = topo.Graph().Plan("app", func(topic string) (int32, bool) { return counts[topic], true })
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, graph.ErrCopartition) || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

// TestJoinStoresAreWhatKafkaStreamsKeeps: their changelogs can be read by it,
// and theirs by us.
func TestJoinStoresAreWhatKafkaStreamsKeeps(t *testing.T) {
	d := start(t, func(b *builder) {
		streams.OuterJoin(from(b, "l"), from(b, "r"), orEither, within(10), store("j"))
	})
	in := func(topic, k, v string, at int64) {
		t.Helper()
		if err := streamstest.Input(d, topic, str, str).Pipe(k, v, at); err != nil {
			t.Fatal(err)
		}
	}
	in("l", "a", "1", 100)
	in("l", "a", "2", 100)
	in("r", "a", "x", 105)
	var got []string
	for _, name := range []string{"j-outer-this-join-store", "j-outer-other-join-store", "j-outer-shared-join-store"} {
		for _, m := range d.Internal("test-" + name + "-changelog") {
			got = append(got, name[2:]+" "+hexes(m.Key)+" "+hexes(m.Value))
		}
	}
	want := []string{
		"outer-this-join-store 61000000000000006400000001 31",
		"outer-this-join-store 61000000000000006400000002 32",
		"outer-other-join-store 61000000000000006900000001 78",
		"outer-shared-join-store 00000000000000640161 010000000100000002" + "0131",
		"outer-shared-join-store 00000000000000640161 010000000200000002" + "0131" + "00000002" + "0132",
		"outer-shared-join-store 00000000000000640161 ~",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func hexes(b []byte) string {
	if b == nil {
		return "~"
	}
	return hex.EncodeToString(b)
}
