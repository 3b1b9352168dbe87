package bench_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/weirstream/weir/bench"
	"github.com/weirstream/weir/broker/nullbroker"
	"github.com/weirstream/weir/internal/env"
)

// startNull runs a null broker until the test ends.
func startNull(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own listener
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() { done <- nullbroker.Serve(t.Context(), env.Real(), ln, dir) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestEveryLoadRunsAgainstTheNullBroker(t *testing.T) {
	addr := startNull(t)
	for name, l := range map[string]bench.Load{
		"batches":    {BatchBytes: 16 << 10},
		"large":      {Value: 1000, BatchBytes: 1 << 20, Depth: 2},
		"one record": {Conns: 2, Depth: 16, Burst: 16},
	} {
		l.Addr, l.Raw = addr, true
		longer(t, name, l, bench.Produce)
	}
	l := bench.Load{Addr: addr, Raw: true, BatchBytes: 64 << 10}
	filled, err := bench.Fill(t.Context(), l, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	longer(t, "fetch", l, func(ctx context.Context, l bench.Load) (*bench.Result, error) { return bench.Fetch(ctx, l, filled) })
}

// longer runs a load for longer and longer until something was counted.
func longer(t *testing.T, name string, l bench.Load, run func(context.Context, bench.Load) (*bench.Result, error)) {
	t.Helper()
	for l.Duration = 50 * time.Millisecond; ; l.Duration *= 4 {
		r, err := run(t.Context(), l)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if r.Records > 0 && r.Latency.Quantile(.5) > 0 {
			return
		}
	}
}

func TestABatchHoldsAsManyRecordsAsFit(t *testing.T) {
	for _, c := range []struct{ value, limit, records int }{{100, 0, 1}, {100, 16 << 10, 148}, {1000, 1_000_000, 990}, {100, 64 << 10, 595}} {
		b := bench.NewBatch(c.value, c.limit, 1)
		if b.Records != c.records || c.limit > 0 && len(b.Bytes) > c.limit {
			t.Errorf("%d bytes in %d: %d records, %d bytes", c.value, c.limit, b.Records, len(b.Bytes))
		}
	}
}

func TestQuantilesAreWithinABucket(t *testing.T) {
	var h bench.Histogram
	for i := range 10_000 {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{.01, .5, .99, .999} {
		want := time.Duration(q*10_000) * time.Microsecond
		if got := h.Quantile(q); got < want*95/100 || got > want*105/100 {
			t.Errorf("quantile %v: %v, want about %v", q, got, want)
		}
	}
}
