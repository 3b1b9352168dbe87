package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is what a whole comparison needs.
type Report struct {
	Program   string // ours: it knows the commands server and bench null
	KafkaLibs string // a directory of Apache Kafka's jars; "" leaves Kafka out
	Dir       string // for data; what a run made there is removed after it
	Only      string // rows whose name contains it; "" is all
	Warm      time.Duration
	Duration  time.Duration
	Log       io.Writer // progress
}

// Row is one workload and what it is held to; a target of 0 is none. Ratios of
// throughput are ours over theirs, and so are those of CPU and latency.
type Row struct {
	Name     string
	Fsync    bool // ours syncs before it answers; the others never do
	load     Load
	run      func(context.Context, Load) (*Result, error)
	noNull   bool
	latency  bool
	perNull  float64 // throughput at least
	perKafka float64 // throughput at least
	cpuKafka float64 // CPU for a record at most
	p50, p99 float64 // of Kafka's at most
	Ours     *Result
	Null     *Result
	Kafka    *Result
}

// rows are the workloads of a report.
func rows() []*Row {
	fetch := func(fill int) func(context.Context, Load) (*Result, error) {
		return func(ctx context.Context, l Load) (*Result, error) {
			filled, err := Fill(ctx, l, fill)
			if err != nil {
				return nil, err
			}
			return Fetch(ctx, l, filled)
		}
	}
	const kb16, kb64, mb = 16 << 10, 64 << 10, 1_000_000
	return []*Row{
		{Name: "produce 100 B, 64 KB batches, 4 partitions", run: Produce, load: Load{BatchBytes: kb64}, perNull: .65, perKafka: 2.5, cpuKafka: .35},
		{Name: "produce 100 B, 64 KB batches, 12 partitions", run: Produce, load: Load{BatchBytes: kb64, Partitions: 12}, perNull: .65, perKafka: 2.5, cpuKafka: .35},
		{Name: "produce 100 B, 16 KB batches", run: Produce, load: Load{BatchBytes: kb16}, perNull: .65, perKafka: 2, cpuKafka: .4},
		{Name: "produce 1 KB, 1 MB batches", run: Produce, load: Load{Value: 1000, BatchBytes: mb, Depth: 2}, perNull: .7, perKafka: 1.3, cpuKafka: .6},
		{Name: "produce one record a request, 32 connections", run: Produce, load: Load{Conns: 32, Depth: 16, Burst: 16}, noNull: true, perKafka: 4, cpuKafka: .25},
		{Name: "produce 100 B, 64 KB batches, 64 producers, acks=all", Fsync: true, run: Produce, load: Load{BatchBytes: kb64, Conns: 64, Depth: 1, Acks: -1}, noNull: true, perKafka: 1.2},
		{Name: "produce 100 B, 16 KB batches, 64 producers, acks=all", Fsync: true, run: Produce, load: Load{BatchBytes: kb16, Conns: 64, Depth: 1, Acks: -1}, noNull: true, perKafka: 1.2},
		{Name: "fetch 1 MiB at a time, 64 KB batches, 2 connections", run: fetch(128 << 20), load: Load{BatchBytes: kb64, Conns: 2}, perNull: .75, perKafka: 1.2, cpuKafka: .8},
		{Name: "fetch 1,000 partitions, 4 KB of each", run: fetch(64 << 10), load: Load{BatchBytes: 4 << 10, Partitions: 1000, Together: 1000, FetchBytes: 4 << 10, Conns: 2}, noNull: true, perKafka: 3},
		{Name: "end to end, 1,000 records/s, acks=all", run: EndToEnd, load: Load{Rate: 1000}, noNull: true, latency: true, p50: 1, p99: .4},
		{Name: "end to end, 10,000 records/s, acks=all", run: EndToEnd, load: Load{Rate: 10_000}, noNull: true, latency: true, p50: 1, p99: .4},
	}
}

// Run measures every row: ours, the null broker and Apache Kafka one after the
// other. A broker is started once for its rows and is warm when it counts.
func (r *Report) Run(ctx context.Context) ([]*Row, error) {
	var chosen []*Row
	for _, row := range rows() {
		if strings.Contains(row.Name, r.Only) {
			chosen = append(chosen, row)
		}
	}
	dir, err := os.MkdirTemp(r.Dir, "bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := r.start(ctx, dir)
	defer b.stop()
	if err != nil {
		return nil, err
	}
	for _, row := range chosen {
		ours := b.pagecache
		if row.Fsync {
			ours = b.fsync
		}
		if row.Ours, err = r.measure(ctx, row, ours); err != nil {
			return nil, err
		}
		if !row.noNull {
			if row.Null, err = r.measure(ctx, row, b.null); err != nil {
				return nil, err
			}
		}
		if b.kafka == nil {
			continue
		}
		if row.Kafka, err = r.measure(ctx, row, b.kafka); err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// contenders are the brokers of a report.
type contenders struct{ pagecache, fsync, null, kafka *Broker }

func (c *contenders) stop() {
	for _, b := range []*Broker{c.pagecache, c.fsync, c.null, c.kafka} {
		if b != nil {
			b.Stop()
		}
	}
}

func (r *Report) start(ctx context.Context, dir string) (*contenders, error) {
	c := &contenders{}
	for _, one := range []struct {
		name   string
		broker **Broker
		start  func(dir string) (*Broker, error)
	}{
		{"pagecache", &c.pagecache, func(dir string) (*Broker, error) {
			return StartOurs(ctx, r.Program, dir, "weir.durability=pagecache")
		}},
		{"fsync", &c.fsync, func(dir string) (*Broker, error) { return StartOurs(ctx, r.Program, dir, "weir.durability=fsync") }},
		{"null", &c.null, func(dir string) (*Broker, error) { return StartNull(ctx, r.Program, dir) }},
		{"kafka", &c.kafka, func(dir string) (*Broker, error) { return StartKafka(ctx, r.KafkaLibs, dir) }},
	} {
		at := filepath.Join(dir, one.name)
		if err := os.Mkdir(at, 0o750); err != nil {
			return c, err
		}
		b, err := one.start(at)
		if errors.Is(err, ErrNoKafka) {
			_, _ = fmt.Fprintf(r.Log, "kafka: left out: %v\n", err)
			continue
		}
		if err != nil {
			return c, err
		}
		*one.broker = b
	}
	return c, nil
}

// memory is what is touched before a run, which makes about as much page cache.
const memory = 2 << 30

func (r *Report) measure(ctx context.Context, row *Row, b *Broker) (*Result, error) {
	l := row.load
	l.Addr, l.PID, l.Raw, l.Warm, l.Duration = b.Addr, b.PID(), b.Null, r.Warm, r.Duration
	if l.Acks == 0 {
		l.Acks = 1
	}
	if !row.latency {
		Touch(memory)
	}
	result, err := row.run(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", row.Name, b.Name, err)
	}
	_, _ = fmt.Fprintf(r.Log, "%-52s %-6s %s\n", row.Name, b.Name, result)
	return result, nil
}
