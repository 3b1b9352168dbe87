package runtime_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/serde"
)

// trial is a topology, what it reads, and what counts of what it writes.
type trial struct {
	build   func(b *streams.Builder)
	batches [][]runtime.Message
	settled int  // so many batches may meet failures
	rows    bool // the last value of each key counts, else every record
	exact   bool // holds exactly once only
}

func message(topic, key, value string, at int64) runtime.Message {
	m := runtime.Message{Topic: topic, Key: []byte(key), Timestamp: at}
	if value != "" {
		m.Value = []byte(value)
	}
	return m
}

// closing are batches that move time past every window, while nothing fails.
func closing() (batches [][]runtime.Message) {
	for i := range int64(3) {
		batches = append(batches, []runtime.Message{
			message("l", "end", fmt.Sprint("end", i), 10_000*(i+1)), message("r", "end", fmt.Sprint("End", i), 10_000*(i+1)),
		})
	}
	return batches
}

// pairs are two streams that meet now and then.
func pairs() (batches [][]runtime.Message) {
	for i := range int64(12) {
		var batch []runtime.Message
		for j := range int64(3) {
			at := 100*i + 10*j
			batch = append(batch, message("l", fmt.Sprint("k", (i+j)%4), fmt.Sprintf("l%d.%d", i, j), at))
			if (i+j)%3 != 0 {
				batch = append(batch, message("r", fmt.Sprint("k", (i+2*j)%4), fmt.Sprintf("r%d.%d", i, j), at+7))
			}
		}
		batches = append(batches, batch)
	}
	return append(batches, closing()...)
}

// pointers are two tables, one of which points to rows of the other.
func pointers() (batches [][]runtime.Message) {
	for i := range int64(14) {
		at := 100 * i
		batch := []runtime.Message{
			message("l", fmt.Sprint("p", i%5), fmt.Sprintf("a%d%c", i, 'x'+i%3), at),
			message("r", string(rune('x'+i%4)), fmt.Sprint("b", i), at+1),
		}
		if i%4 == 3 {
			batch = append(batch, message("l", fmt.Sprint("p", (i+2)%5), "", at+2), message("r", string(rune('x'+(i+1)%4)), "", at+3))
		}
		batches = append(batches, batch)
	}
	return batches
}

// last is the key that a row points to.
func last(_, v string) (string, bool) { return v[len(v)-1:], true }

func orNone(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func trials() map[string]trial {
	str := serde.String()
	const ms = time.Millisecond
	join := func(_ string, l, r *string) string { return orNone(l) + "+" + orNone(r) }
	left := func(_, l string, r *string) string { return l + "+" + orNone(r) }
	return map[string]trial{
		"foreign key": {batches: pointers(), settled: 12, rows: true, build: func(b *streams.Builder) {
			l, r := streams.TableFrom(b, "l", str, str), streams.TableFrom(b, "r", str, str)
			streams.LeftJoinForeign(l, r, last, left, streams.Named("j"), streams.Store("j")).ToStream().To("out", str, str)
		}},
		// At least once a restored store may be ahead of the records that are repeated
		// by more than a short grace, and have forgotten whom they met.
		"streams": {batches: pairs(), settled: 12, exact: true, build: func(b *streams.Builder) {
			l, r := streams.From(b, "l", str, str), streams.From(b, "r", str, str)
			streams.OuterJoin(l, r, join, streams.Within(20*ms).Grace(200*ms)).To("out", str, str)
		}},
		"streams with a long grace": {batches: pairs(), settled: 12, build: func(b *streams.Builder) {
			l, r := streams.From(b, "l", str, str), streams.From(b, "r", str, str)
			streams.OuterJoin(l, r, join, streams.Within(20*ms).Grace(5*time.Second)).To("out", str, str)
		}},
		"late rows": {batches: pairs(), settled: 12, build: func(b *streams.Builder) {
			rows := streams.TableFrom(b, "r", str, str, streams.Store("r"), streams.Versioned(time.Minute))
			streams.LeftJoinTable(streams.From(b, "l", str, str), rows, left, streams.Grace(50*ms)).To("out", str, str)
		}},
	}
}

// play runs a trial with one failure, or many, and returns what counts. At least
// once a record may come twice.
func (tr *trial) play(t *testing.T, exactlyOnce bool, plant func(*runtime.Trial)) (results []string, run *runtime.Trial) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := streams.NewBuilder()
		tr.build(b)
		topo, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		run = runtime.NewTrial(t, topo, exactlyOnce)
		plant(run)
		run.Play(tr.settled, tr.batches...)
		byKey := map[string]string{}
		for _, m := range run.Read("out") {
			text := fmt.Sprintf("%s=%s@%d", m.Key, m.Value, m.Timestamp)
			results = append(results, text)
			byKey[string(m.Key)] = text
		}
		if tr.rows {
			results = slices.Collect(maps.Values(byKey))
		}
		slices.Sort(results)
		if !exactlyOnce {
			results = slices.Compact(results)
		}
	})
	return results, run
}

// TestJoinsWhateverFails fails steps of a run one by one, before and after their
// effect, for now or for good: the results are those of the undisturbed run.
func TestJoinsWhateverFails(t *testing.T) {
	for name, tr := range trials() {
		for _, exactlyOnce := range []bool{false, true} {
			if tr.exact && !exactlyOnce {
				continue
			}
			t.Run(fmt.Sprintf("%s, exactly once %v", name, exactlyOnce), func(t *testing.T) {
				want, run := tr.play(t, exactlyOnce, func(*runtime.Trial) {})
				if len(want) < 5 || run.Starts() != 1 {
					t.Fatalf("undisturbed, %d starts: %v", run.Starts(), want)
				}
				for _, step := range runtime.Only(run.Steps(), 4) {
					for _, crash := range []bool{false, true} {
						got, again := tr.play(t, exactlyOnce, func(r *runtime.Trial) { r.FailAt(step, crash) })
						if diff := cmp.Diff(want, got); diff != "" {
							t.Fatalf("step %d, %s, crash %v: %s", step, run.Steps()[step], crash, diff)
						}
						if again.Wiped() {
							t.Errorf("step %d: state was wiped", step)
						}
					}
				}
				starts := 0
				for seed := range uint64(15) {
					got, again := tr.play(t, exactlyOnce, func(r *runtime.Trial) { r.FailOften(seed) })
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("seed %d: %s", seed, diff)
					}
					starts += again.Starts()
				}
				if starts < 30 {
					t.Errorf("%d starts: the failures show nothing", starts)
				}
			})
		}
	}
}
