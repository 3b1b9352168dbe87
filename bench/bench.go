// Package bench puts load on a broker and measures what it costs: raw generators
// that encode every request once and send the same bytes again and again, so that
// the client does not hide the broker. They speak to any Kafka: to ours, to Apache
// Kafka and to the null broker that is the ceiling for both.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// Load is one workload. The zero value of every field but Addr has a meaning.
type Load struct {
	Addr       string        // host:port of the broker
	PID        int           // of the broker, for its CPU time and memory; 0 is not measured
	Topic      string        // created afresh unless Raw; "" is "bench"
	Raw        bool          // the broker has no topics: nothing is created
	Partitions int           // 0 is 4
	Value      int           // bytes of a record's value; 0 is 100
	BatchBytes int           // limit of a batch; 0 is one record
	Conns      int           // 0 is 4
	Depth      int           // requests in flight of a connection; 0 is 5
	Burst      int           // requests that leave in one write, at most Depth; 0 is as many as may
	Acks       int16         // 1, -1
	Warm       time.Duration // load before counting begins
	Duration   time.Duration // counted; 0 is 5 s
	Bytes      int64         // counting ends early after that many, of batches; 0 is no end
	Rate       int           // records a second, for EndToEnd
	FetchBytes int           // asked for of a partition; 0 is 1 MiB
	Together   int           // partitions in one Fetch request; 0 is 1
}

func (l Load) withDefaults() Load {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Partitions, 4}, {&l.Value, 100}, {&l.Conns, 4}, {&l.Depth, 5}, {&l.FetchBytes, 1 << 20}, {&l.Together, 1}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if l.Topic == "" {
		l.Topic = "bench"
	}
	if l.Duration == 0 {
		l.Duration = 5 * time.Second
	}
	if l.Burst == 0 || l.Burst > l.Depth {
		l.Burst = 1
	}
	return l
}

// Result is what a run has shown.
type Result struct {
	Records, Requests, Bytes int64
	Elapsed                  time.Duration
	CPU                      time.Duration // of the broker, user and system
	RSS                      int64         // of the broker at the end, bytes
	Latency                  Histogram
	Stolen                   time.Duration // by the host of a virtual machine from its processors
	Value                    float64       // of a row that measures one thing
}

// add takes another run of the same load into the result.
func (r *Result) add(more *Result) {
	r.Records += more.Records
	r.Requests += more.Requests
	r.Bytes += more.Bytes
	r.Elapsed += more.Elapsed
	r.CPU += more.CPU
	r.Stolen += more.Stolen
	r.RSS = max(r.RSS, more.RSS)
	r.Latency.Merge(&more.Latency)
	r.Value = more.Value
}

// between counts from one moment to another.
func (r *Result) between(from, to moment) {
	r.Elapsed, r.CPU, r.Stolen = to.at.Sub(from.at), to.cpu-from.cpu, to.stolen-from.stolen
}

// stolenShare is how much of the machine's processors its host kept for others.
func (r *Result) stolenShare() float64 {
	return r.Stolen.Seconds() / max(r.Elapsed.Seconds(), 1e-9) / float64(runtime.NumCPU())
}

// PerSecond is records a second.
func (r *Result) PerSecond() float64 { return float64(r.Records) / r.Elapsed.Seconds() }

// BytesPerSecond is bytes of batches a second.
func (r *Result) BytesPerSecond() float64 { return float64(r.Bytes) / r.Elapsed.Seconds() }

// CPUPerMillion is broker CPU seconds for a million records.
func (r *Result) CPUPerMillion() float64 { return r.CPU.Seconds() / float64(r.Records) * 1e6 }

// CPUPerGB is broker CPU seconds for 1e9 bytes of batches.
func (r *Result) CPUPerGB() float64 { return r.CPU.Seconds() / float64(r.Bytes) * 1e9 }

// String is the result on one line.
func (r *Result) String() string {
	if r.Records == 0 {
		return fmt.Sprintf("%.0f", r.Value)
	}
	return fmt.Sprintf("%.3f M rec/s  %.0f req/s  %.1f MB/s  cpu %.3f s/M  %.3f s/GB  %.2f us/req  %.2f cores  p50 %v p99 %v p99.9 %v  rss %d MB  stolen %.1f %%",
		r.PerSecond()/1e6, float64(r.Requests)/r.Elapsed.Seconds(), r.BytesPerSecond()/1e6, r.CPUPerMillion(), r.CPUPerGB(),
		r.CPU.Seconds()/float64(r.Requests)*1e6, r.CPU.Seconds()/r.Elapsed.Seconds(),
		r.Latency.Quantile(.5).Round(time.Microsecond), r.Latency.Quantile(.99).Round(time.Microsecond), r.Latency.Quantile(.999).Round(time.Microsecond), r.RSS>>20, 100*r.stolenShare())
}

// errRefused is an answer with an error code.
var errRefused = errors.New("the broker refused a request")

// window tells the goroutines of a load when counting begins and when all ends.
type window struct {
	from time.Time
	to   atomic.Int64  // nanoseconds after from
	left atomic.Int64  // bytes until counting ends early
	full chan struct{} // closed when it does
}

func newWindow(l *Load) *window {
	w := &window{from: time.Now().Add(l.Warm), full: make(chan struct{})}
	w.to.Store(int64(l.Duration))
	w.left.Store(math.MaxInt64)
	if l.Bytes > 0 {
		w.left.Store(l.Bytes)
	}
	return w
}

func (w *window) counts(t time.Time) bool { return t.After(w.from) && !w.over(t) }

func (w *window) over(t time.Time) bool { return int64(t.Sub(w.from)) > w.to.Load() }

// take counts bytes at a moment at which counts holds.
func (w *window) take(n int, at time.Time) {
	if left := w.left.Add(-int64(n)); left <= 0 && left+int64(n) > 0 {
		w.to.Store(int64(at.Sub(w.from)))
		close(w.full)
	}
}

// elapsed is how long was counted; known once it is over.
func (w *window) elapsed() time.Duration { return time.Duration(w.to.Load()) }

// end waits until counting ends.
func (w *window) end(ctx context.Context) error {
	timer := time.NewTimer(time.Until(w.from.Add(w.elapsed())))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.full:
	case <-timer.C:
	}
	return nil
}

// watch measures the broker over the window and waits for its end.
func (w *window) watch(ctx context.Context, pid int, r *Result) error {
	if err := pause(ctx, time.Until(w.from)); err != nil {
		return err
	}
	from, err := mark(pid)
	if err != nil {
		return err
	}
	if err := w.end(ctx); err != nil {
		return err
	}
	to, err := mark(pid)
	if err != nil {
		return err
	}
	r.between(from, to)
	r.Elapsed = w.elapsed() // it may have ended early
	if pid == 0 {
		return nil
	}
	r.RSS, err = residentBytes(pid)
	return err
}
