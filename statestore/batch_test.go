package statestore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weirstream/weir/statestore"
)

// TestSortKeepsTheLastStepOfAKey compares sorted batches with a map, small ones and
// such as are sorted in halves, with keys that differ early, late and not at all.
func TestSortKeepsTheLastStepOfAKey(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, steps := range []int{0, 1, 2, 100, 9_999, 10_000, 30_001} {
		var b statestore.Batch
		model := map[string]string{}
		for i := range steps {
			key := fmt.Appendf(nil, "%d", rng.IntN(steps))
			if rng.IntN(2) == 0 {
				key = fmt.Appendf(nil, "a prefix of more than 16 bytes %d", rng.IntN(steps))
			}
			if rng.IntN(5) == 0 {
				b.Delete(key)
				model[string(key)] = "deleted"
			} else {
				b.Put(key, fmt.Append(nil, i))
				model[string(key)] = fmt.Sprint(i)
			}
		}
		if !b.Sort() {
			t.Fatalf("%d steps are not sorted", steps)
		}
		keys := []string{}
		for op := range b.Ops() {
			value := string(op.Value)
			if op.Kind == statestore.OpDelete {
				value = "deleted"
			}
			if keys = append(keys, string(op.Key)); model[string(op.Key)] != value {
				t.Fatalf("of %d steps the one of %q left is %q, want %q", steps, op.Key, value, model[string(op.Key)])
			}
		}
		if want := slices.Sorted(maps.Keys(model)); !slices.Equal(keys, want) {
			t.Errorf("%d steps: %d keys, want %d in order", steps, len(keys), len(want))
		}
	}
}

func TestSortLeavesABatchThatDeletesARange(t *testing.T) {
	var b statestore.Batch
	b.Put([]byte("b"), nil)
	b.DeleteRange([]byte("a"), []byte("c"))
	b.Put([]byte("a"), nil)
	if b.Sort() {
		t.Error("was sorted")
	}
	got := ""
	for op := range b.Ops() {
		got += string(op.Key)
	}
	if got != "baa" {
		t.Errorf("keys %q", got)
	}
}

func TestPartsOfABatch(t *testing.T) {
	var b statestore.Batch
	for i := range 7 {
		b.Put(fmt.Append(nil, i), nil)
	}
	got := ""
	for i := range 3 {
		for op := range b.Part(i, 3) {
			got += string(op.Key)
		}
		got += " "
	}
	if got != "01 23 456 " {
		t.Errorf("parts %q", got)
	}
}
