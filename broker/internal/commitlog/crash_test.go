package commitlog

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// The crash tests run a script against a disk that can lose its power before each of its
// operations, and look at what a new process finds after each of those cuts. A violation carries
// the name of the invariant it breaks:
//
//	acked-lost              an offset below a reported SyncedOffset is gone
//	foreign-data            an offset holds what was never appended there, or was cut off
//	start-regressed         a start offset that was acknowledged is forgotten
//	start-ahead             records are gone that nothing has deleted
//	deleted-is-back         a deleted partition has data
//	watermark-above-synced  what a recovery serves does not survive the next power cut
//	follower-differs        the follower is not at the log's end
//	index-astray            an offset or timestamp is not found where it is
//	epoch-beyond-end        a leader epoch begins at or after the log's end
//	unopenable              a directory or log cannot be opened, or takes no append

// model is what the script knows of one partition.
type model struct {
	exists  bool
	acked   int64              // SyncedOffset as it was reported
	end     int64              // of what was appended
	start   int64              // acknowledged
	ahead   int64              // how far retention may have gone
	batches map[int64][]string // by base offset: what may stand there
}

// world is one run of a script.
type world struct {
	t          testing.TB
	fs         *env.MemFS
	faults     Faults
	config     Config
	dir        *Dir
	logs       map[string]*Log
	mu         sync.Mutex // guards what follows, which the disk's hook reads
	models     map[string]*model
	serial     int
	recoveries int
	lossy      map[uint64]bool // fingerprints of states that lost unsynced bytes
	violations []string
	during     func() // done once, within the next sync of a file
	stride     int
	seed       uint64
}

func newWorld(t testing.TB, c Config, faults Faults, stride int) *world {
	w := &world{
		t: t, fs: env.NewMemFS(), faults: faults, config: c, logs: map[string]*Log{},
		models: map[string]*model{}, lossy: map[uint64]bool{}, stride: stride, during: func() {},
	}
	w.dir = openDir(t, w.fs, w.options())
	w.fs.OnOp(w.cut)
	return w
}

func (w *world) options() DirOptions { return DirOptions{ClusterID: "c", Faults: w.faults} }

// cut looks at every policy's idea of a power cut before the operation.
func (w *world) cut(op env.Op) error {
	if op.Kind == env.OpSync && strings.HasSuffix(op.Name, segment.LogSuffix) {
		w.mu.Lock()
		f := w.during
		w.during = func() {}
		w.mu.Unlock()
		f()
	}
	if !op.Kind.Changes() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if op.Index%w.stride != 0 {
		return nil
	}
	for _, policy := range append(env.Policies(), env.KeepAll) {
		w.seed++
		disk, lost := w.fs.Crash(policy, w.seed)
		if lost.Bytes > 0 {
			w.lossy[disk.Fingerprint()] = true
		}
		w.recoveries++
		at := fmt.Sprintf("power cut before operation %d (%s %s), policy %d, seed %d", op.Index, op.Kind, op.Name, policy, w.seed)
		w.check(disk, at)
	}
	return nil
}

func (w *world) violate(at, name, format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf("%s: %s; %s", name, fmt.Sprintf(format, args...), at))
}

// check opens what a power cut has left and holds it to the invariants.
func (w *world) check(disk *env.MemFS, at string) {
	d, err := OpenDir(testEnv(disk), dataDir, DirOptions{ClusterID: "c", Faults: w.faults})
	if err != nil {
		w.violate(at, "unopenable", "%v", err)
		return
	}
	ends := map[string]int64{}
	for topic, m := range w.models {
		f := &tally{}
		l, err := d.Open(topic, 0, topicID(topic), w.config, f)
		if err != nil {
			w.violate(at, "unopenable", "%v", err)
			continue
		}
		w.checkLog(l, m, f, at)
		ends[topic] = l.EndOffset()
	}
	// Whatever is served now must survive that the power fails once more.
	again, _ := disk.Crash(env.KeepNothing, 0)
	d, err = OpenDir(testEnv(again), dataDir, DirOptions{ClusterID: "c", Faults: w.faults})
	if err != nil {
		w.violate(at, "unopenable", "after the second cut: %v", err)
		return
	}
	for topic := range w.models {
		l, err := d.Open(topic, 0, topicID(topic), w.config, nil)
		if err != nil {
			w.violate(at, "unopenable", "after the second cut: %v", err)
			continue
		}
		if l.EndOffset() < ends[topic] {
			w.violate(at, "watermark-above-synced", "%s served up to %d, a second cut leaves %d", topic, ends[topic], l.EndOffset())
		}
		if _, _, err := l.Append(batchOf(0, 1, "after"), 9); err != nil {
			w.violate(at, "unopenable", "append: %v", err)
		} else if err := l.Sync(); err != nil {
			w.violate(at, "unopenable", "sync: %v", err)
		}
	}
}

func (w *world) checkLog(l *Log, m *model, f *tally, at string) {
	topic, start, end := l.tp.Topic, l.StartOffset(), l.EndOffset()
	if !m.exists && end > 0 {
		w.violate(at, "deleted-is-back", "%s has offsets up to %d", topic, end)
	}
	if end < m.acked {
		w.violate(at, "acked-lost", "%s lost offset %d, acknowledged up to %d", topic, end, m.acked)
	}
	if l.SyncedOffset() != end {
		w.violate(at, "watermark-above-synced", "%s ends at %d, synced %d", topic, end, l.SyncedOffset())
	}
	if start < m.start {
		w.violate(at, "start-regressed", "%s starts at %d, was told %d", topic, start, m.start)
	}
	if start > m.ahead {
		w.violate(at, "start-ahead", "%s starts at %d, deleted up to %d", topic, start, m.ahead)
	}
	if epoch, ok := l.LatestEpoch(); ok {
		if _, from := l.EpochEnd(epoch - 1); from >= end && from > start {
			w.violate(at, "epoch-beyond-end", "%s epoch %d begins at %d of %d", topic, epoch, from, end)
		}
	}
	data, err := readAll(l, start)
	if err != nil {
		w.violate(at, "acked-lost", "%s: %v", topic, err)
		return
	}
	w.checkData(l, m, f, data, at)
}

func (w *world) checkData(l *Log, m *model, f *tally, data []byte, at string) {
	topic, next, crc := l.tp.Topic, l.StartOffset(), uint32(0)
	first := true
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			w.violate(at, "acked-lost", "%s at %d: %v", topic, next, err)
			return
		}
		if b.BaseOffset() > next || b.BaseOffset() < next && !first {
			w.violate(at, "acked-lost", "%s lost offset %d, next is %d", topic, next, b.BaseOffset())
		}
		if !slices.Contains(m.batches[b.BaseOffset()], string(b)) {
			w.violate(at, "foreign-data", "%s at %d", topic, b.BaseOffset())
		}
		if b.LastOffset() >= l.StartOffset() {
			w.checkIndex(l, b, at)
		}
		next, crc, data, first = b.NextOffset(), b.CRC(), rest, false
	}
	if next != l.EndOffset() {
		w.violate(at, "acked-lost", "%s lost offset %d of %d", topic, next, l.EndOffset())
	}
	if crc != 0 && (f.next != next || f.crc != crc) || f.wrong != "" {
		w.violate(at, "follower-differs", "%s follower at %d, log at %d %s", topic, f.next, next, f.wrong)
	}
}

// checkIndex looks a batch up by its last offset and by its largest timestamp. Timestamps of the
// script ascend.
func (w *world) checkIndex(l *Log, b record.Batch, at string) {
	r, err := l.Read(b.LastOffset(), b.NextOffset(), 1, true)
	if err != nil || r.Len() != len(b) {
		w.violate(at, "index-astray", "offset %d: %d bytes of %d, %v", b.LastOffset(), r.Len(), len(b), err)
		return
	}
	r.Release()
	found, ok, err := l.OffsetForTime(b.MaxTimestamp(), l.EndOffset())
	if err != nil || !ok || found.Offset != b.LastOffset() {
		w.violate(at, "index-astray", "timestamp %d: offset %d, not %d (%v)", b.MaxTimestamp(), found.Offset, b.LastOffset(), err)
	}
}

// Steps of scripts.

func (w *world) open(topic string) {
	w.mu.Lock()
	if w.models[topic] == nil {
		w.models[topic] = &model{batches: map[int64][]string{}}
	}
	m := w.models[topic]
	m.exists = true
	w.mu.Unlock()
	l := openLog(w.t, w.dir, topic, w.config, &tally{})
	l.OnSync(func(synced int64, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && m.exists {
			m.acked = max(m.acked, synced)
		}
	})
	w.logs[topic] = l
}

// append adds batches of n records each, with unique contents and ascending timestamps.
func (w *world) append(topic string, epoch int32, sizes ...int) {
	l := w.logs[topic]
	for _, n := range sizes {
		w.mu.Lock()
		m := w.models[topic]
		var values []string
		for range n {
			w.serial++
			values = append(values, fmt.Sprintf("%s %d %s", topic, w.serial, strings.Repeat("x", w.serial%300)))
		}
		b := record.Batch(batchOf(0, int64(1000*w.serial), values...))
		b.SetBaseOffset(m.end)
		b.SetLeaderEpoch(epoch)
		m.batches[m.end] = append(m.batches[m.end], string(b))
		m.end += int64(n)
		w.mu.Unlock()
		if _, _, err := l.AppendForSync(b, epoch); err != nil {
			w.t.Fatalf("append: %v", err)
		}
	}
}

// syncAppending appends while the sync is at work.
func (w *world) syncAppending(topic string, epoch int32, sizes ...int) {
	w.mu.Lock()
	w.during = func() { w.append(topic, epoch, sizes...) }
	w.mu.Unlock()
	w.sync(topic)
}

func (w *world) sync(topic string) {
	if err := w.logs[topic].Sync(); err != nil {
		w.t.Fatalf("sync: %v", err)
	}
	w.logs[topic].SetHighWatermark(w.logs[topic].SyncedOffset())
}

func (w *world) update(topic string, f func(m *model)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.models[topic])
}

func (w *world) deleteRecords(topic string, before int64) {
	w.update(topic, func(m *model) { m.ahead = max(m.ahead, before) })
	if err := w.logs[topic].SetStartOffset(before); err != nil {
		w.t.Fatalf("set start: %v", err)
	}
	w.update(topic, func(m *model) { m.start = max(m.start, before) })
}

func (w *world) retain() {
	for topic, l := range w.logs {
		w.update(topic, func(m *model) { m.ahead = max(m.ahead, l.CheckpointedHighWatermark()) })
	}
	if err := w.dir.Retain(); err != nil {
		w.t.Fatalf("retain: %v", err)
	}
	for topic, l := range w.logs {
		w.update(topic, func(m *model) { m.ahead = max(m.start, l.StartOffset()) })
	}
	w.dir.removeTrash(true)
}

func (w *world) truncate(topic string, to int64) {
	w.update(topic, func(m *model) { // the batch that holds the offset goes too
		whole := int64(0)
		for o := range m.batches {
			if o <= to {
				whole = max(whole, o)
			}
		}
		m.acked = min(m.acked, whole)
	})
	if err := w.logs[topic].TruncateTo(to); err != nil {
		w.t.Fatalf("truncate: %v", err)
	}
	w.update(topic, func(m *model) {
		m.end = w.logs[topic].EndOffset()
		m.acked = min(m.acked, m.end)
		for o := range m.batches {
			if o >= m.end {
				delete(m.batches, o)
			}
		}
	})
}

func (w *world) checkpoint() {
	if err := w.dir.Checkpoint(); err != nil {
		w.t.Fatalf("checkpoint: %v", err)
	}
}

func (w *world) delete(topic string) {
	w.update(topic, func(m *model) { m.acked, m.start = 0, 0 })
	if err := w.dir.Delete(topic, 0); err != nil {
		w.t.Fatalf("delete: %v", err)
	}
	w.update(topic, func(m *model) { *m = model{batches: map[int64][]string{}} })
	delete(w.logs, topic)
	w.dir.removeTrash(true)
}

func (w *world) stop() {
	if err := w.dir.close(); err != nil {
		w.t.Fatalf("stop: %v", err)
	}
}

func (w *world) restart() {
	w.stop()
	w.dir = openDir(w.t, w.fs, w.options())
	topics := slices.Collect(func(yield func(string) bool) {
		for topic := range w.logs {
			if !yield(topic) {
				return
			}
		}
	})
	slices.Sort(topics)
	for _, topic := range topics {
		w.open(topic)
		if end := w.logs[topic].EndOffset(); end != w.models[topic].end {
			w.t.Errorf("clean restart: %s ends at %d, not %d", topic, end, w.models[topic].end)
		}
	}
}

type script struct {
	name   string
	config Config
	run    func(w *world)
}

func scripts() []script {
	small := Config{SegmentBytes: 6000, IndexIntervalBytes: 300, RetentionBytes: 9000, Delete: true}
	return []script{
		{"append and roll", small, func(w *world) {
			w.open("a")
			for range 6 {
				w.append("a", 1, 3, 1, 5)
				w.sync("a")
				w.append("a", 1, 2, 4)
			}
			w.sync("a")
		}},
		{"append while a sync is at work", Config{SegmentBytes: 6000, IndexIntervalBytes: 300, Preallocate: true}, func(w *world) {
			w.open("a")
			w.open("b")
			for i := range int32(4) {
				w.append("a", i, 3, 1)
				w.syncAppending("a", i, 5, 2, 4)
				w.append("b", i, 2)
				w.syncAppending("b", i, 3)
				w.syncAppending("a", i+1, 9, 9, 9, 9)
				w.append("a", i+1, 1)
				w.checkpoint()
			}
			w.syncAppending("a", 9, 2)
			w.truncate("a", w.logs["a"].EndOffset()-1)
			w.append("a", 10, 3)
			w.syncAppending("a", 10, 2)
			w.restart()
		}},
		{"many logs in one round", small, func(w *world) {
			for _, topic := range []string{"a", "b", "c", "d", "e", "f"} {
				w.open(topic)
				w.append(topic, 1, 3, 9, 12)
			}
			for range 3 {
				for topic := range w.logs {
					w.append(topic, 2, 4, 9)
				}
				if err := w.dir.sync(w.dir.openLogs()); err != nil {
					w.t.Fatal(err)
				}
				w.checkpoint()
			}
		}},
		{"retention and start offset", small, func(w *world) {
			w.open("a")
			for i := range 5 {
				w.append("a", int32(i), 9, 9, 9)
				w.sync("a")
				w.retain()
				w.deleteRecords("a", w.logs["a"].StartOffset()+7)
				w.checkpoint()
				w.append("a", int32(i), 2)
			}
			w.sync("a")
			if segs := *w.logs["a"].segs.Load(); len(segs) > 1 {
				w.deleteRecords("a", segs[1].Base)
				w.checkpoint()
			}
			w.deleteRecords("a", w.logs["a"].EndOffset())
			w.append("a", 9, 4)
			w.sync("a")
		}},
		{"truncate", small, func(w *world) {
			w.open("a")
			for i := range 5 {
				w.append("a", int32(2*i), 9, 9, 9)
				w.sync("a")
				w.checkpoint()
				w.append("a", int32(2*i), 9)
				w.truncate("a", w.logs["a"].EndOffset()-int64(9*i)-3)
				w.append("a", int32(2*i+1), 5, 5)
				w.sync("a")
			}
			w.truncate("a", 0)
			w.append("a", 20, 3)
			w.sync("a")
		}},
		{"delete and create again", small, func(w *world) {
			w.open("a")
			w.open("b")
			for i := range 4 {
				w.append("a", int32(i), 9, 9, 9)
				w.append("b", int32(i), 3)
				w.sync("a")
				w.sync("b")
				w.checkpoint()
				w.delete("a")
				w.open("a")
				w.append("a", 0, 2)
				w.sync("a")
			}
		}},
		{"clean stop and restart", small, func(w *world) {
			w.open("a")
			w.open("b")
			for i := range 4 {
				w.append("a", int32(i), 9, 9, 9, 7)
				w.append("b", int32(i), 3)
				w.restart()
				w.append("a", int32(i), 4, 4)
				w.sync("a")
			}
			w.stop()
		}},
	}
}

// planted returns the bug that the environment asks to plant; the crash tests have to fail then.
func planted() Faults { return Faults{SkipSync: os.Getenv("WEIR_PLANT") == "nosync"} }

func TestNothingAcknowledgedIsLostToAPowerCut(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 7
	}
	recoveries, lossy := 0, map[uint64]bool{}
	for _, s := range scripts() {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, s.config, planted(), stride)
			s.run(w)
			w.fs.OnOp(nil)
			for i, v := range w.violations {
				if i == 10 {
					t.Errorf("and %d more", len(w.violations)-i)
					break
				}
				t.Error(v)
			}
			recoveries += w.recoveries
			for state := range w.lossy {
				lossy[state] = true
			}
		})
	}
	t.Logf("%d recoveries; %d distinct crash states lost unsynced bytes", recoveries, len(lossy))
	if !testing.Short() && recoveries < 2000 {
		t.Errorf("%d recoveries, want 2000", recoveries)
	}
}

func TestACrashTestWithoutSyncFails(t *testing.T) {
	s := scripts()[0]
	w := newWorld(t, s.config, Faults{SkipSync: true}, 3)
	s.run(w)
	w.fs.OnOp(nil)
	if !slices.ContainsFunc(w.violations, func(v string) bool {
		return strings.HasPrefix(v, "acked-lost: a lost offset ")
	}) {
		t.Errorf("no acked-lost among %d violations", len(w.violations))
	}
}
