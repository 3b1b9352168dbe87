package telemetry

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rcrowley/go-metrics"
)

// counted is a count that is taken away now and then.
type counted struct{ n atomic.Int64 }

func (c *counted) add(n int64) { c.n.Add(n) }
func (c *counted) take() int64 { return c.n.Swap(0) }

// Kafka's reservoir: 1028 values, decaying as the last five minutes count most.
const (
	reservoirSize  = 1028
	reservoirAlpha = 0.015
)

// buckets of eight per doubling, from one microsecond to over an hour.
const (
	bucketsPerDoubling = 8
	bucketCount        = 33 * bucketsPerDoubling
)

// Histogram shows the percentiles of durations in milliseconds, as Kafka's
// request metrics do. Observe is wait-free and costs one atomic addition.
type Histogram struct {
	buckets [bucketCount]counted
	count   atomic.Int64
	sample  metrics.Sample
}

// Histogram registers a summary with Kafka's percentiles, in milliseconds.
func (r *Registry) Histogram(name, help string, labels Labels) *Histogram {
	r.describe(Description{Name: name, Kind: "summary", Help: help}, labels)
	h := &Histogram{sample: metrics.NewExpDecaySample(reservoirSize, reservoirAlpha)}
	for _, q := range []float64{0.5, 0.75, 0.95, 0.98, 0.99, 0.999} {
		text := strconv.FormatFloat(q, 'g', -1, 64)
		r.Gauge(name, help, with(labels, "quantile", text), func() float64 { return h.sample.Percentile(q) / 1000 })
	}
	r.prom.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name + "_count", Help: help, ConstLabels: labels},
		func() float64 { return float64(h.count.Load()) }))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.histograms = append(r.histograms, h)
	return h
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	h.count.Add(1)
	h.buckets[bucketOf(d.Microseconds())].add(1)
}

// tick moves what was observed into the reservoir, at most its size per bucket.
func (h *Histogram) tick() {
	for i := range h.buckets {
		for range min(h.buckets[i].take(), reservoirSize) {
			h.sample.Update(lowerBound(i))
		}
	}
}

// bucketOf returns the bucket of a value: its highest bit and the three below it.
func bucketOf(us int64) int {
	if us < bucketsPerDoubling {
		return int(max(us, 0))
	}
	exponent := bits.Len64(uint64(us)) - 4
	return min(bucketCount-1, (exponent+1)*bucketsPerDoubling+int(us>>exponent)-bucketsPerDoubling)
}

// lowerBound returns the smallest value of a bucket.
func lowerBound(bucket int) int64 {
	if bucket < bucketsPerDoubling {
		return int64(bucket)
	}
	exponent := bucket/bucketsPerDoubling - 1
	return int64(bucketsPerDoubling+bucket%bucketsPerDoubling) << exponent
}
