// Package telemetry counts what happens on the hot path with Prometheus
// counters and keeps beside them, off that path, the moving rates and
// percentiles that Kafka's meters promise.
package telemetry

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rcrowley/go-metrics"
)

// tickEvery is the interval that the decay of go-metrics' moving rates assumes.
const tickEvery = 5 * time.Second

// Registry holds the metrics of one node. It is safe for concurrent use; Run
// must be running for rates and percentiles to move.
type Registry struct {
	prom *prometheus.Registry

	mu         sync.Mutex // guards what follows
	described  []Description
	meters     []*Meter
	histograms []*Histogram
}

// Description is what docs say of one metric.
type Description struct {
	Name, Kind, Help string
	Labels           []string
}

// New returns an empty registry with the figures of the Go runtime and the process.
func New() *Registry {
	r := &Registry{prom: prometheus.NewRegistry()}
	r.prom.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler serves the metrics in Prometheus' text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{})
}

// Described lists every metric registered so far, in order.
func (r *Registry) Described() []Description {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Description(nil), r.described...)
}

// Run moves rates and percentiles until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.tick()
		}
	}
}

// tick feeds what was counted since the last tick to the moving figures.
func (r *Registry) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.meters {
		m.tick()
	}
	for _, h := range r.histograms {
		h.tick()
	}
}

// Labels are the fixed labels of one metric; their values must be few.
type Labels = prometheus.Labels

func (r *Registry) describe(d Description, labels Labels) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range labels {
		d.Labels = append(d.Labels, name)
	}
	for _, known := range r.described {
		if known.Name == d.Name {
			return
		}
	}
	r.described = append(r.described, d)
}

// Gauge registers a figure that is read at each scrape; f must not block.
// Registering one name and labels twice is a bug and panics.
func (r *Registry) Gauge(name, help string, labels Labels, f func() float64) {
	r.describe(Description{Name: name, Kind: "gauge", Help: help}, labels)
	r.prom.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
}

// Collect registers a collector whose series come and go, such as one per group.
func (r *Registry) Collect(c prometheus.Collector) { r.prom.MustRegister(c) }

// Meter counts events; beside the count it shows rates over 1, 5 and 15 minutes.
type Meter struct {
	counter prometheus.Counter
	count   *counted
	rates   [3]metrics.EWMA
	shown   []prometheus.Collector
}

// Meter registers a meter: name_total counts, name_rate{window} moves. Mark is
// wait-free and costs one atomic addition.
func (r *Registry) Meter(name, help string, labels Labels) *Meter {
	r.describe(Description{Name: name + "_total", Kind: "counter", Help: help}, labels)
	m := &Meter{count: &counted{}, rates: [3]metrics.EWMA{metrics.NewEWMA1(), metrics.NewEWMA5(), metrics.NewEWMA15()}}
	m.counter = prometheus.NewCounter(prometheus.CounterOpts{Name: name + "_total", Help: help, ConstLabels: labels})
	m.shown = []prometheus.Collector{m.counter}
	for i, window := range []string{"1m", "5m", "15m"} {
		opts := prometheus.GaugeOpts{Name: name + "_rate", Help: help + " Moving rate per second.", ConstLabels: with(labels, "window", window)}
		m.shown = append(m.shown, prometheus.NewGaugeFunc(opts, m.rates[i].Rate))
		r.describe(Description{Name: opts.Name, Kind: "gauge", Help: opts.Help}, opts.ConstLabels)
	}
	r.prom.MustRegister(m.shown...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meters = append(r.meters, m)
	return m
}

// Drop takes a meter out of the registry, for what it counted is gone.
func (r *Registry) Drop(m *Meter) {
	for _, c := range m.shown {
		r.prom.Unregister(c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meters = slices.DeleteFunc(r.meters, func(other *Meter) bool { return other == m })
}

// Mark counts n events.
func (m *Meter) Mark(n int64) {
	if n > 0 {
		m.counter.Add(float64(n))
		m.count.add(n)
	}
}

func (m *Meter) tick() {
	n := m.count.take()
	for _, rate := range m.rates {
		rate.Update(n)
		rate.Tick()
	}
}

func with(labels Labels, name, value string) Labels {
	out := Labels{name: value}
	maps.Copy(out, labels)
	return out
}
