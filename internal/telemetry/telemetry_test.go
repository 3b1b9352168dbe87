package telemetry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func scrape(t *testing.T, r *Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestCountsAreExactAndRatesMoveWithTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := New()
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		m := r.Meter("kafka_server_brokertopicmetrics_bytesin", "Bytes in.", Labels{"topic": "a"})
		h := r.Histogram("kafka_network_requestmetrics_totaltimems", "Time.", Labels{"request": "Fetch"})
		r.Gauge("kafka_up", "Up.", nil, func() float64 { return 1 })
		m.Mark(500)
		m.Mark(-3)
		for range 100 {
			h.Observe(2 * time.Millisecond)
		}
		time.Sleep(tickEvery + time.Second)
		synctest.Wait()
		text := scrape(t, r)
		for _, want := range []string{
			`kafka_server_brokertopicmetrics_bytesin_total{topic="a"} 500`,
			`kafka_server_brokertopicmetrics_bytesin_rate{topic="a",window="1m"} 100`,
			`kafka_network_requestmetrics_totaltimems_count{request="Fetch"} 100`,
			`kafka_network_requestmetrics_totaltimems{quantile="0.5",request="Fetch"} 1.92`,
			"kafka_up 1",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the scrape lacks %q:\n%s", want, grep(text, "kafka_"))
			}
		}
		if n := len(r.Described()); n != 4 {
			t.Errorf("%d metrics described, want 4: %+v", n, r.Described())
		}
		r.Drop(m)
		if text := scrape(t, r); strings.Contains(text, "bytesin") {
			t.Errorf("a dropped meter is still shown:\n%s", grep(text, "kafka_"))
		}
		r.Meter("kafka_server_brokertopicmetrics_bytesin", "Bytes in.", Labels{"topic": "a"})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func grep(text, prefix string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestBucketsHoldTheirValues(t *testing.T) {
	for _, us := range []int64{-1, 0, 1, 7, 8, 9, 15, 16, 1000, 123456, 1 << 40} {
		b := bucketOf(us)
		low := lowerBound(b)
		if low > max(us, 0) || b < bucketCount-1 && lowerBound(b+1) <= us {
			t.Errorf("%d µs is in bucket %d, which starts at %d", us, b, low)
		}
	}
}

func BenchmarkMark(b *testing.B) {
	m := New().Meter("x", "X.", nil)
	b.ReportAllocs()
	for b.Loop() {
		m.Mark(1)
	}
}
