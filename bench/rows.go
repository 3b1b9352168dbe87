package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The sections of a report.
const (
	loads   = "Throughput and latency"
	durable = "With fsync"
	commits = "Transactions and compaction"
	apps    = "Streams"
	small   = "Footprint"
)

// rows are all lines of a report, in its order.
func rows() []*Row {
	produced := produceRows()
	return slices.Concat(produced, fsyncRows(produced), fetchRows(), latencyRows(), commitRows(), streamsRows(), footprintRows())
}

const (
	kb16 = 16 << 10
	kb64 = 64 << 10
	mb   = 1_000_000
)

// three are the sides of a row whose load all brokers take, ours with pagecache.
func three(run func(context.Context, Load) (*Result, error), l Load) (ours, ceiling, theirs side) {
	return load(pagecache, run, l), load(null, run, l), load(kafka, run, l)
}

func loadRow(name string, run func(context.Context, Load) (*Result, error), l Load, checks ...check) *Row {
	r := &Row{Section: loads, Name: name, Mode: pagecache, checks: checks}
	r.ours, r.null, r.kafka = three(run, l)
	return r
}

func produceRows() []*Row {
	return []*Row{
		loadRow("produce 100 B, 64 KB batches, 4 partitions", Produce, Load{BatchBytes: kb64},
			throughput(.65, 2.5), cpuPerRecord(.35)),
		loadRow("produce 100 B, 64 KB batches, 12 partitions", Produce, Load{BatchBytes: kb64, Partitions: 12},
			throughput(.65, 2.5), cpuPerRecord(.35)),
		loadRow("produce 100 B, 16 KB batches", Produce, Load{BatchBytes: kb16},
			throughput(.65, 2), cpuPerRecord(.4)),
		loadRow("produce 1 KB, 1 MB batches", Produce, Load{Value: 1000, BatchBytes: mb, Depth: 2},
			throughput(.7, 1.3), cpuPerByte(.6)),
		loadRow("produce one record a request, 32 connections", Produce, Load{Conns: 32, Depth: 16, Burst: 16},
			throughput(0, 4), cpuPerRecord(.25)),
	}
}

// fsyncRows are the first rows with 64 producers that wait for the disk, each with as many requests under
// way. Their ceiling is the smaller of what the row gave with the page cache and of what the disk takes.
// The last is without a target: producers that wait for every answer, so many that what half of them sent
// is a MiB.
func fsyncRows(pagecached []*Row) []*Row {
	row := func(name string, before *Row, l Load, checks ...check) *Row {
		l.Acks = -1
		return &Row{
			Section: durable, Name: name, Mode: fsync, ceiling: "the smaller of page cache and synced disk",
			ours: load(fsync, Produce, l), null: syncedDisk(before, l), kafka: load(kafka, Produce, l), checks: checks,
		}
	}
	var all []*Row
	for i, l := range []Load{
		{BatchBytes: kb64, Conns: 64},
		{BatchBytes: kb64, Conns: 64, Partitions: 12},
		{BatchBytes: kb16, Conns: 64},
		{BatchBytes: mb, Conns: 64, Value: 1000, Depth: 2},
	} {
		before := pagecached[i]
		name := fmt.Sprintf("%s, %d producers, acks=all", before.Name, l.Conns)
		all = append(all, row(name, before, l, throughput(.8, 1.2).where(fastDisk)))
	}
	patient := Load{BatchBytes: kb16, Conns: 128, Depth: 1}
	return append(all, row(pagecached[2].Name+", 128 producers that wait for each answer", pagecached[2], patient, throughput(0, 0)))
}

// commitRows are transactions of one record, and the cleaner.
func commitRows() []*Row {
	row := func(name, mode string, l Load, checks ...check) *Row {
		return &Row{Section: commits, Name: name, Mode: mode, ours: load(mode, Transactions, l), kafka: load(kafka, Transactions, l), checks: checks}
	}
	compact := func(broker string) side {
		return func(ctx context.Context, s *stage) (*Result, error) {
			b, err := s.broker(ctx, broker)
			if err != nil {
				return nil, err
			}
			if _, err := Compact(ctx, b, compactRecords/4); err != nil { // a warm-up
				return nil, err
			}
			return Compact(ctx, b, compactRecords)
		}
	}
	return []*Row{
		row("transactions of one record, 1 producer", alike, Load{Conns: 1}, throughput(0, 20)),
		row("transactions of one record, 16 producers", alike, Load{Conns: 16}, throughput(0, 3)),
		row("transactions of one record, 1 producer, synced", fsync, Load{Conns: 1}, throughput(0, 0)),
		row("transactions of one record, 16 producers, synced", fsync, Load{Conns: 16}, throughput(0, 0)),
		{
			Section: commits, Name: "compaction, one record of 20 kept", Mode: alike, once: true,
			ours: compact(alike), kafka: compact(kafka), checks: []check{perCPU("bytes", func(r *Result) int64 { return r.Bytes }, 2)},
		},
	}
}

const (
	streamsRecords = 3_000_000
	streamsWarm    = 1_000_000
)

// streamsRows are the topologies beside Kafka Streams on our broker, with at least once and with
// exactly once, whose ceiling is the former.
func streamsRows() []*Row {
	row := func(topology, what, guarantee string, checks ...check) *Row {
		app := StreamsApp{Topology: topology, Guarantee: guarantee, ID: "bench-" + topology + "-" + guarantee}
		return &Row{
			Section: apps, Name: "streams: " + what + ", " + guarantee, Mode: alike, once: true,
			ours: streamsSide(app, true), kafka: streamsSide(app, false), checks: checks,
		}
	}
	records := func(ofKafka float64) check {
		return perCPU("records", func(r *Result) int64 { return r.Records }, ofKafka)
	}
	all := []*Row{row("map", "stateless map", atLeastOnce, records(2))}
	for topology, what := range map[string]string{"count": "keyed count", "window": "repartition, 1-minute window and count"} {
		least := row(topology, what, atLeastOnce, records(2))
		exactly := row(topology, what, exactlyOnce, throughput(.95, 0), records(2.5))
		exactly.ceiling, exactly.null = atLeastOnce, around(least)
		all = append(all, least, exactly)
	}
	slices.SortFunc(all[1:], func(a, b *Row) int { return strings.Compare(a.Name, b.Name) })
	return append(all, restoreRow())
}

// around is the side of a row that is held to an earlier one of ours: what that gave before and what it
// gives once more.
func around(before *Row) side {
	return func(ctx context.Context, s *stage) (*Result, error) {
		if before.Ours == nil {
			return nil, errNotMeasured
		}
		after, err := before.ours(ctx, s)
		if err != nil {
			return nil, err
		}
		after.add(before.Ours)
		return after, nil
	}
}

func streamsSide(app StreamsApp, ours bool) side {
	return func(ctx context.Context, s *stage) (*Result, error) {
		b, err := s.broker(ctx, alike)
		if err != nil {
			return nil, err
		}
		if !s.filled {
			if err := FillStreams(ctx, b.Addr, streamsRecords); err != nil {
				return nil, err
			}
			s.filled = true
		}
		app := app
		app.Addr = b.Addr
		s.topics++
		app.ID += "-" + strconv.Itoa(s.topics) // nobody's offsets and state are met
		app.Dir = filepath.Join(s.dir, app.ID)
		return Streams(ctx, StreamsRun{App: app, Ours: ours, Program: s.report.Program, Libs: s.report.KafkaLibs, Warm: streamsWarm, Records: streamsRecords})
	}
}

func fetchRows() []*Row {
	fill := func(perPartition int) func(context.Context, Load) (*Result, error) {
		return func(ctx context.Context, l Load) (*Result, error) {
			filled, err := Fill(ctx, l, perPartition)
			if err != nil {
				return nil, err
			}
			l.Bytes = 0 // reading fills no page cache
			return Fetch(ctx, l, filled)
		}
	}
	// One consumer is what the naive way was first measured with; a second one keeps both cores busy
	// on either side, and shows what that leaves of the difference.
	ranges := func(name string, conns int, checks ...check) *Row {
		r := loadRow("fetch 1,000 partitions, 4 KB of each, "+name, fill(kb64),
			Load{BatchBytes: 4 << 10, Partitions: 1000, Together: 1000, FetchBytes: 4 << 10, Conns: conns}, checks...)
		r.ceiling = "one read and write a partition"
		return r
	}
	return []*Row{
		loadRow("fetch 1 MiB at a time, 64 KB batches, 2 connections", fill(128<<20), Load{BatchBytes: kb64, Conns: 2},
			throughput(.75, 1.2), cpuPerByte(.8)),
		ranges("1 connection", 1, throughput(4, 3)),
		ranges("2 connections", 2, throughput(0, 3)),
	}
}

func latencyRows() []*Row {
	var all []*Row
	for name, rate := range map[string]int{"1,000": 1000, "10,000": 10_000} {
		r := loadRow("end to end, "+name+" records/s, acks=all", EndToEnd, Load{Rate: rate},
			latency("p50", .5, 1), latency("p99", .99, .4), latency("p99.9", .999, .3))
		r.null, r.tail = nil, true
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Row) int { return len(a.Name) - len(b.Name) })
	return all
}
