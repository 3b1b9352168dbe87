package partition_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// rig is a partition on a log of its own, where nothing is synced until a test says so.
type rig struct {
	t      testing.TB
	fs     env.FS
	change func(*partition.Options)
	dir    *commitlog.Dir
	log    *commitlog.Log
	p      *partition.Partition
	meter  meter
	epoch  int32
}

type meter struct {
	mu                        sync.Mutex
	batches, records, refused int
}

func (m *meter) Appended(_, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches++
	m.records += n
}

func (m *meter) Fetched(int) {}

func (m *meter) Refused() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused++
}

func newRig(t testing.TB, change func(*partition.Options)) *rig {
	t.Helper()
	return openRig(t, env.NewMemFS(), change)
}

// diskRig is a rig on a real disk.
func diskRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, fs: env.Real().FS}
	r.open(t.TempDir())
	t.Cleanup(r.close)
	return r
}

func openRig(t testing.TB, fs env.FS, change func(*partition.Options)) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs, change: change}
	r.open("/data")
	return r
}

func (r *rig) open(path string) {
	r.t.Helper()
	e := env.Real()
	e.FS = r.fs
	var err error
	if r.dir, err = commitlog.OpenDir(e, path, commitlog.DirOptions{NodeID: 1}); err != nil {
		r.t.Fatal(err)
	}
	o := partition.Options{
		Topic: "t", Index: 4, TopicID: [16]byte{1}, Producers: producer.New(), Env: e,
		Logger: slog.New(slog.DiscardHandler), Meter: &r.meter, Config: partition.Config{Delete: true, MaxMessageBytes: 1 << 20},
	}
	if r.change != nil {
		r.change(&o)
	}
	c := commitlog.Config{SegmentBytes: 8 << 10, IndexIntervalBytes: 256, Durability: o.Config.Durability, Delete: true, Preallocate: true}
	if path != "/data" {
		c.SegmentBytes, c.IndexIntervalBytes = 1<<30, 4096
	}
	if r.log, err = r.dir.Open(o.Topic, o.Index, o.TopicID, c, o.Producers); err != nil {
		r.t.Fatal(err)
	}
	o.Log = r.log
	r.p = partition.New(o)
	r.epoch++
	r.p.Lead(r.epoch)
}

// close stops cleanly.
func (r *rig) close() {
	r.t.Helper()
	r.p.Close(errors.New("stopped"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.dir.Run(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open("/data")
}

func (r *rig) sync() {
	r.t.Helper()
	if err := r.log.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

// append appends without waiting.
func (r *rig) append(b []byte) answer {
	r.t.Helper()
	var a answers
	r.p.Append(b, partition.AppendRequest{Acks: 1, CurrentEpoch: -1, ProduceVersion: 9}, &a)
	return a.only(r.t)
}

// read returns what a consumer gets from an offset on.
func (r *rig) read(from int64) []record.Batch {
	r.t.Helper()
	res, err := r.p.Read(partition.ReadRequest{Offset: from, MaxBytes: 1 << 20, MinOne: true, CurrentEpoch: -1})
	if err != nil {
		r.t.Fatal(err)
	}
	return contents(r.t, res.Range)
}
