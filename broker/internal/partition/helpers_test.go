package partition_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
)

type answer struct {
	token int
	r     partition.AppendResult
	err   error
}

// answers is a Completion that keeps what it is told.
type answers struct {
	mu  sync.Mutex
	got []answer
}

func (a *answers) Appended(token int, r partition.AppendResult, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, answer{token, r, err})
}

func (a *answers) all() []answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

func (a *answers) len() int          { return len(a.all()) }
func (a *answers) missing(n int) int { return n - a.len() }

func (a *answers) tokens() []int {
	var out []int
	for _, got := range a.all() {
		out = append(out, got.token)
	}
	return out
}

func (a *answers) only(t testing.TB) answer {
	t.Helper()
	if got := a.all(); len(got) == 1 {
		return got[0]
	}
	t.Fatalf("%d answers, want 1", a.len())
	return answer{}
}

// contents reads a range, releases it, and cuts it into batches.
func contents(t testing.TB, r commitlog.Range) []record.Batch {
	t.Helper()
	if r.Len() == 0 {
		return nil
	}
	defer r.Release()
	buf := make([]byte, r.Len())
	if _, err := r.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	var out []record.Batch
	for len(buf) > 0 {
		b, rest, err := record.Split(buf)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
		buf = rest
	}
	return out
}
