package bench

import (
	"context"
	"slices"
)

// The sections of a report.
const (
	loads   = "Throughput and latency"
	durable = "With fsync"
	small   = "Footprint"
)

// rows are all lines of a report, in its order.
func rows() []*Row {
	produced := produceRows()
	return slices.Concat(produced, fsyncRows(produced), fetchRows(), latencyRows(), footprintRows())
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

// fsyncRows are the first rows with 64 producers that wait for the disk. Their ceiling is the smaller
// of what the row gave with the page cache and of what the disk takes.
func fsyncRows(pagecached []*Row) []*Row {
	var all []*Row
	for i, l := range []Load{{BatchBytes: kb64}, {BatchBytes: kb64, Partitions: 12}, {BatchBytes: kb16}, {Value: 1000, BatchBytes: mb}} {
		before := pagecached[i]
		l.Conns, l.Depth, l.Acks = 64, 1, -1
		all = append(all, &Row{
			Section: durable, Name: before.Name + ", 64 producers, acks=all", Mode: fsync,
			ceiling: "the smaller of page cache and synced disk",
			ours:    load(fsync, Produce, l), null: syncedDisk(before, l), kafka: load(kafka, Produce, l),
			checks: []check{throughput(.8, 1.2).where(fastDisk)},
		})
	}
	return all
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
	ranges := loadRow("fetch 1,000 partitions, 4 KB of each", fill(kb64),
		Load{BatchBytes: 4 << 10, Partitions: 1000, Together: 1000, FetchBytes: 4 << 10, Conns: 2}, throughput(4, 3))
	ranges.ceiling = "one read and write a partition"
	return []*Row{
		loadRow("fetch 1 MiB at a time, 64 KB batches, 2 connections", fill(128<<20), Load{BatchBytes: kb64, Conns: 2},
			throughput(.75, 1.2), cpuPerByte(.8)),
		ranges,
	}
}

func latencyRows() []*Row {
	var all []*Row
	for name, rate := range map[string]int{"1,000": 1000, "10,000": 10_000} {
		r := loadRow("end to end, "+name+" records/s, acks=all", EndToEnd, Load{Rate: rate},
			latency("p50", .5, 1), latency("p99", .99, .4), latency("p99.9", .999, .3))
		r.null = nil
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Row) int { return len(a.Name) - len(b.Name) })
	return all
}
