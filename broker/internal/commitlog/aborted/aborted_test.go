package aborted

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
)

// TestListIsASliceWithShortcuts drives the list beside a plain slice.
func TestListIsASliceWithShortcuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list List
		var model []layout.AbortedTxn
		next, stable := int64(1), int64(0)
		offset := func(name string) int64 { return rapid.Int64Range(0, next+2).Draw(t, name) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				last := next + rapid.Int64Range(0, 5).Draw(t, "gap")
				stable = rapid.Int64Range(stable, last+1).Draw(t, "stable")
				one := layout.AbortedTxn{ProducerID: 7, First: rapid.Int64Range(0, last).Draw(t, "first"), Last: last, LastStable: stable}
				list.Add(one)
				model, next = append(model, one), last+1
			},
			"cut the end": func(t *rapid.T) {
				end := offset("end")
				left := slices.DeleteFunc(slices.Clone(model), func(x layout.AbortedTxn) bool { return x.Last >= end })
				if cut := list.CutEnd(end); cut != (len(left) < len(model)) {
					t.Fatalf("CutEnd(%d) = %v with %v", end, cut, model)
				}
				model = left
			},
			"cut the start": func(t *rapid.T) {
				start := offset("start")
				list.CutStart(start)
				model = slices.DeleteFunc(slices.Clone(model), func(x layout.AbortedTxn) bool { return x.Last < start })
			},
			"replace by nothing": func(t *rapid.T) {
				from := offset("from")
				to := max(from, offset("to"))
				list.Replace(from, to, nil)
				model = slices.DeleteFunc(slices.Clone(model), func(x layout.AbortedTxn) bool { return x.Last >= from && x.Last < to })
			},
			"": func(t *rapid.T) {
				var all []byte
				for _, x := range model {
					all = layout.AppendTxn(all, x)
				}
				if got := list.Encode(0, math.MaxInt64); string(got) != string(all) || list.Len() != len(model) {
					t.Fatalf("%d transactions, want %v", list.Len(), model)
				}
				if last := offset("last"); list.Knows(last) != (len(model) > 0 && model[len(model)-1].Last >= last) {
					t.Fatalf("Knows(%d) with %v", last, model)
				}
				from := offset("reader")
				if got := list.In(from, math.MaxInt64); !slices.Equal(got, slices.DeleteFunc(slices.Clone(model), func(x layout.AbortedTxn) bool { return x.Last < from })) {
					t.Fatalf("In(%d, all) = %v of %v", from, got, model)
				}
			},
		})
	})
}

// TestInStopsWhereLaterOnesCannotMatter: a reader gets what has batches in its range, and nothing
// that began behind it.
func TestInStopsWhereLaterOnesCannotMatter(t *testing.T) {
	var list List
	for _, x := range []layout.AbortedTxn{
		{ProducerID: 1, First: 0, Last: 10, LastStable: 5},
		{ProducerID: 2, First: 5, Last: 20, LastStable: 21},
		{ProducerID: 3, First: 30, Last: 40, LastStable: 41},
	} {
		list.Add(x)
	}
	for _, c := range []struct {
		from, to int64
		want     []int64
	}{{0, 4, []int64{1}}, {0, 6, []int64{1, 2}}, {11, 20, []int64{2}}, {11, 31, []int64{2, 3}}, {21, 29, nil}, {41, 50, nil}} {
		var got []int64
		for _, x := range list.In(c.from, c.to) {
			got = append(got, x.ProducerID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("In(%d, %d) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
