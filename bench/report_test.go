package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// result is so many records of 100 B in a second.
func result(records int64, cpu, latency time.Duration) *Result {
	r := &Result{Records: records, Requests: records, Bytes: 100 * records, Elapsed: time.Second, CPU: cpu}
	r.Latency.Add(latency)
	return r
}

func TestThePageTellsWhatIsMissedAndWhy(t *testing.T) {
	kept := &Row{
		Section: "One", Name: "kept", Mode: "pagecache", checks: []check{throughput(.65, 2), cpuPerRecord(.4), latency("p99", .99, 1)},
		Ours: result(700, 10*time.Millisecond, time.Millisecond), Null: result(1000, time.Millisecond, time.Millisecond),
		Kafka: result(300, 100*time.Millisecond, time.Second),
	}
	missed := &Row{
		Section: "One", Name: "missed", Mode: "fsync", ceiling: "disk", checks: []check{throughput(.8, 0), cpuPerByte(.6)},
		Ours: result(700, 90*time.Millisecond, time.Millisecond), Null: result(1000, 0, 0), Kafka: result(300, 10*time.Millisecond, time.Second),
	}
	single := &Row{
		Section: "Two", Name: "single", Mode: "pagecache", Ours: &Result{Value: 5}, Kafka: &Result{Value: 4},
		checks: []check{value("size", func(f float64) string { return time.Duration(f).String() }, 6, .9)},
	}
	alone := &Row{Section: "Two", Name: "alone", Ours: &Result{Value: 7}, checks: single.checks}
	var page, chart strings.Builder
	reasons := "# All\n\n## missed\n\nThe disk is slow.\n\n## other\n\nno\n"
	if err := WriteMarkdown(&page, []*Row{kept, missed, single, alone}, "chart.svg", reasons); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n## One\n", "\n## Two\n",
		"| kept | Weir | pagecache | 700 | 0.1 | 14.286 | 142.857 | 999µs | 999µs | 999µs | 0 | 0.0 % |\n",
		"| missed | disk | pagecache | 1000 | 0.1 | – | – | – | – | – | – | 0.0 % |\n",
		"| 0.70 of null, 2.33 of Kafka | at least 0.65 of null, at least 2.00 of Kafka | yes |",
		"| 0.70 of disk, 2.33 of Kafka | at least 0.80 of disk | **no** |",
		"### missed\n\n- records/s: 0.001 M, 0.70 of disk, 2.33 of Kafka; wanted at least 0.80 of disk\n",
		"3.86 of Kafka; wanted at most 0.60 of Kafka\n\nThe disk is slow.\n",
		"| single | size | 5ns |  | 4ns | 1.25 of Kafka | at most 6ns, at most 0.90 of Kafka | **no** |",
		"| alone | size | 7ns |  |  | – | at most 6ns | **no** |",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page.String(), "### kept") || strings.Contains(page.String(), "\nno\n") {
		t.Error("it names what is not missed")
	}
	if err := WriteSVG(&chart, []*Row{kept, missed, single}); err != nil || strings.Count(chart.String(), "<rect") != 6 {
		t.Errorf("a chart of %d bars, %v", strings.Count(chart.String(), "<rect"), err)
	}
	if t.Failed() {
		t.Log(page.String())
	}
}

func TestTheTargetAgainstKafkaCanDependOnTheDisk(t *testing.T) {
	for disk, want := range map[int64]bool{1000: true, 400: false} {
		r := &Row{
			checks: []check{throughput(0, 1.2).where(fastDisk)},
			Ours:   result(310, 0, 0), Null: result(disk, 0, 0), Kafka: result(300, 0, 0),
		}
		if r.missed() != want {
			t.Errorf("with a disk of %d: missed is %v", disk, r.missed())
		}
	}
}

func TestRowsAreNamedOnceAndCanBeMissed(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rows() {
		if names[r.Name] || r.Name == "" || r.Section == "" || r.ours == nil || len(r.checks) == 0 {
			t.Errorf("row %q is there twice or not whole", r.Name)
		}
		names[r.Name] = true
	}
}

func TestCountingEndsWithTheLastByte(t *testing.T) {
	w := newWindow(&Load{Duration: time.Hour, Bytes: 10})
	at := w.from.Add(time.Second)
	for range 3 { // the last comes too late to end it again
		w.take(5, at)
		at = at.Add(time.Second)
	}
	var r Result
	if err := w.watch(t.Context(), 0, &r); err != nil || r.Elapsed != 2*time.Second {
		t.Errorf("counted %v, %v", r.Elapsed, err)
	}
}

func TestNothingIsMeasuredWhileFilesAreToBeDeleted(t *testing.T) {
	for _, name := range []string{"bench-1-0.0a1b-delete", "00000000000000000000.log.deleted"} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			deleted := filepath.Join(dir, "data", name)
			if err := os.MkdirAll(deleted, 0o750); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := quiet(ctx, dir); !errors.Is(err, context.Canceled) {
				t.Errorf("with a deleted topic: %v", err)
			}
			began := time.Now()
			if err := quiet(t.Context(), dir); err != nil || time.Since(began) != time.Minute {
				t.Errorf("%s was waited for %v: %v", name, time.Since(began), err)
			}
			if err := os.Rename(deleted, filepath.Join(dir, "bench-1-0")); err != nil {
				t.Fatal(err)
			}
			if anyDeleted(dir) {
				t.Error("a topic in use counts as deleted")
			}
			began = time.Now()
			if err := quiet(t.Context(), dir); err != nil || time.Since(began) == time.Minute {
				t.Errorf("nothing was waited for %v: %v", time.Since(began), err)
			}
		})
	}
}

func TestTheAttemptOfWhichTheHostTookLeastCounts(t *testing.T) {
	for _, c := range []struct {
		name     string
		row      Row
		spent    int // attempts of other sides
		shares   []float64
		measured int
		counts   int
	}{
		{"a calm machine", Row{}, 0, []float64{.02}, 1, 0},
		{"calm the second time", Row{}, 0, []float64{.5, .01}, 2, 1},
		{"never calm", Row{}, 0, []float64{.5, .1, .3}, 3, 1},
		{"first of all", Row{}, 0, []float64{.1, .5, .3}, 3, 0},
		{"too often already", Row{}, moreOften - 1, []float64{.5, .3}, 2, 1},
		{"a row that is measured once", Row{once: true}, 0, []float64{.5}, 1, 0},
		{"a row of the slowest", Row{tail: true}, 0, []float64{.02, .01, .002, .001}, 4, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &stage{dir: t.TempDir(), again: c.spent}
			var tried []*Result
			best, err := s.calmest(t.Context(), func(context.Context, *stage) (*Result, error) {
				share := c.shares[len(tried)]
				r := &Result{Elapsed: time.Second, Stolen: time.Duration(share * float64(runtime.NumCPU()) * float64(time.Second))}
				tried = append(tried, r)
				return r, nil
			}, c.row.patience())
			if err != nil || len(tried) != c.measured || best != tried[c.counts] {
				t.Errorf("measured %d times, the best took %.2f, %v", len(tried), best.stolenShare(), err)
			}
		})
	}
	s := &stage{dir: t.TempDir()}
	if _, err := s.calmest(t.Context(), func(context.Context, *stage) (*Result, error) { return nil, errDiskFull }, patience{attempts: 3}); !errors.Is(err, errDiskFull) {
		t.Errorf("a side that failed: %v", err)
	}
}
