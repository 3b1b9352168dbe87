package cleaner

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecide(t *testing.T) {
	segments := []Segment{ // ten offsets, a hundred bytes and a second each
		{Base: 0, Next: 10, Size: 100, First: 1000, Largest: 1900},
		{Base: 10, Next: 20, Size: 100, First: 2000, Largest: 2900},
		{Base: 20, Next: 30, Size: 100, First: 3000, Largest: 3900},
	}
	for _, c := range []struct {
		name string
		b    Bounds
		want Plan
	}{
		{"all of it is dirty", Bounds{Until: 30, MinRatio: 0.5}, Plan{Segments: 3, Dirty: 300, Ratio: 1, Due: true}},
		{"too little is dirty", Bounds{Cleaned: 20, Until: 30, MinRatio: 0.5}, Plan{From: 20, Segments: 3, Clean: 200, Dirty: 100, Ratio: 1. / 3}},
		{"just enough is dirty", Bounds{Cleaned: 20, Until: 30, MinRatio: 1. / 3}, Plan{From: 20, Segments: 3, Clean: 200, Dirty: 100, Ratio: 1. / 3, Due: true}},
		{"nothing is dirty", Bounds{Cleaned: 30, Until: 30}, Plan{From: 30, Segments: 3, Clean: 300}},
		{"a segment that was compacted in part is dirty", Bounds{Cleaned: 15, Until: 30, MinRatio: 0.5}, Plan{From: 15, Segments: 3, Clean: 100, Dirty: 200, Ratio: 2. / 3, Due: true}},
		{"not past what is stable", Bounds{Until: 29, MinRatio: 0.5}, Plan{Segments: 2, Dirty: 200, Ratio: 1, Due: true}},
		{"nothing is stable", Bounds{Until: 5}, Plan{}},
		{"young records wait", Bounds{Until: 30, Now: 4000, MinLag: 1101, MinRatio: 0.5}, Plan{Segments: 1, Dirty: 100, Ratio: 1, Due: true}},
		{"young records wait, compacted ones do not count", Bounds{Cleaned: 20, Until: 30, Now: 4000, MinLag: 3000}, Plan{From: 20, Segments: 2, Clean: 200}},
		{"old records hurry", Bounds{Cleaned: 20, Until: 30, Now: 5000, MaxLag: 1500, MinRatio: 0.9}, Plan{From: 20, Segments: 3, Clean: 200, Dirty: 100, Ratio: 1. / 3, Overdue: 500, Due: true}},
		{"old records not yet", Bounds{Cleaned: 20, Until: 30, Now: 4500, MaxLag: 1500, MinRatio: 0.9}, Plan{From: 20, Segments: 3, Clean: 200, Dirty: 100, Ratio: 1. / 3}},
		{"a checkpoint beyond the log counts for nothing", Bounds{Cleaned: 31, Until: 30, MinRatio: 0.5}, Plan{Segments: 3, Dirty: 300, Ratio: 1, Due: true}},
		{"a checkpoint before the log's start counts for nothing", Bounds{Start: 12, Cleaned: 3, Until: 30, MinRatio: 0.5}, Plan{From: 12, Segments: 3, Clean: 100, Dirty: 200, Ratio: 2. / 3, Due: true}},
	} {
		if diff := cmp.Diff(c.want, Decide(segments, c.b)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if p := Decide(nil, Bounds{Cleaned: 4, Start: 4}); p != (Plan{From: 4}) {
		t.Errorf("no segments: %+v", p)
	}
}
