package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// stable is a Keeper of a log without producers.
type stable struct{ at atomic.Int64 }

func (s *stable) LastStable() int64                   { return s.at.Load() }
func (s *stable) LastBatches() map[int64]ProducerLast { return nil }

// all is a Keeper that lets everything be compacted.
func all() *stable {
	s := &stable{}
	s.at.Store(1 << 60)
	return s
}

func compacted() Config {
	return Config{SegmentBytes: 1000, IndexIntervalBytes: 100, Compact: true, MinDirtyRatio: 0.5, DeleteRetentionMs: 1 << 40}
}

// pair builds a batch of one record. A nil value is a tombstone.
func pair(key string, value []byte, ts int64) []byte {
	b := record.NewBuilder(record.Options{})
	b.Append(ts, []byte(key), value, nil)
	return b.Build()
}

// churn appends n records to a few keys and syncs.
func churn(t testing.TB, l *Log, n, keys int) {
	t.Helper()
	for i := range n {
		key := fmt.Sprint("key ", i%keys)
		mustAppend(t, l, pair(key, fmt.Appendf(nil, "value %d of %s", l.EndOffset(), key), 1000+l.EndOffset()))
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

// openCompacted opens a log that may be compacted.
func openCompacted(t testing.TB, d *Dir, topic string, c Config) *Log {
	t.Helper()
	l := openLog(t, d, topic, c, nil)
	l.SetKeeper(all())
	return l
}

// values reads a log as consumers of committed data do: the newest value of each key, nil for a
// tombstone.
func values(l *Log) (map[string]string, error) {
	out := map[string]string{}
	next, end := l.StartOffset(), l.EndOffset()
	data, err := readAll(l, next)
	stable, err2 := lastStable(data, nil)
	if err = errors.Join(err, err2); err != nil {
		return out, err
	}
	aborted := l.AbortedIn(0, l.EndOffset())
	for len(data) > 0 && err == nil {
		var b record.Batch
		if b, data, err = record.Split(data); err != nil {
			return out, err
		}
		if b.BaseOffset() < next {
			return out, fmt.Errorf("batch at %d after %d", b.BaseOffset(), next)
		}
		next = b.NextOffset()
		if b.IsControl() || b.BaseOffset() >= stable || slices.ContainsFunc(aborted, func(a AbortedTxn) bool {
			return b.IsTransactional() && a.ProducerID == b.ProducerID() && a.First <= b.BaseOffset() && b.BaseOffset() < a.Last
		}) {
			continue
		}
		for r, err := range b.Records(1 << 20) {
			if err != nil {
				return out, err
			}
			out[string(r.Key)] = string(r.Value)
		}
	}
	if err == nil && next < end {
		err = fmt.Errorf("log ends at %d, its batches at %d", end, next)
	}
	return out, err
}

func mustValues(t testing.TB, l *Log) map[string]string {
	t.Helper()
	v, err := values(l)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCompactionKeepsTheNewestOfEachKey(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{ClusterID: "c"})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 100, 7)
	want, before := mustValues(t, l), len(*l.segs.Load())
	d.Clean(t.Context())
	if n := len(*l.segs.Load()); n > 3 || before < 10 {
		t.Errorf("%d segments of %d", n, before)
	}
	if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
		t.Error(diff)
	}
	active := (*l.segs.Load())[len(*l.segs.Load())-1].Base
	data, err := env.ReadFile(fsys, dataDir+"/"+layout.CleanerFile)
	if want := fmt.Sprintf("0\n1\na 0 %d\n", active); err != nil || string(data) != want {
		t.Errorf("checkpoint %q, not %q (%v)", data, want, err)
	}
	// At a hole a reader finds the batch after it, by offset and by time.
	first := readBatch(t, l, 0)
	if first.BaseOffset() < 50 {
		t.Errorf("the batch at the beginning has offset %d", first.BaseOffset())
	}
	found, ok, err := l.OffsetForTime(1001, l.EndOffset())
	if err != nil || !ok || found.Offset != first.BaseOffset() {
		t.Errorf("first timestamp at %d, not %d (%v)", found.Offset, first.BaseOffset(), err)
	}
	if found, ok, err := l.MaxTimestamp(); err != nil || !ok || found.Offset != 99 {
		t.Errorf("largest timestamp at %d, %v", found.Offset, err)
	}
	d.Clean(t.Context())
	if s := d.CleanerStats(); s.Uncleanable != 0 || s.Recopied >= 1 || s.MapUsed <= 0 || s.Dirtiest != 0 {
		t.Errorf("figures %+v", s)
	}
	for range 3 { // and again, with what was compacted before
		churn(t, l, 100, 7)
		want = mustValues(t, l)
		d.Clean(t.Context())
		if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(*l.segs.Load()); n > 3 {
		t.Errorf("%d segments", n)
	}
	d.removeTrash(true)
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []env.Policy{env.KeepNothing, env.KeepAll} {
		disk, _ := fsys.Crash(policy, 1)
		l = openCompacted(t, openDir(t, disk, DirOptions{}), "a", compacted())
		if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
			t.Errorf("opened again: %s", diff)
		}
		checkSegmentFiles(t, disk, l)
	}
}

// readBatch returns the batch that a reader finds at an offset.
func readBatch(t testing.TB, l *Log, from int64) record.Batch {
	t.Helper()
	r, err := l.Read(from, l.EndOffset(), 1, true)
	if err != nil || r.Len() == 0 {
		t.Fatalf("nothing at %d: %v", from, err)
	}
	defer r.Release()
	buf := make([]byte, r.Len())
	if _, err := r.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return buf
}

// checkSegmentFiles holds a directory to nothing but the files of the log's segments.
func checkSegmentFiles(t testing.TB, fsys env.FS, l *Log) {
	t.Helper()
	entries, err := fsys.ReadDir(l.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		base, suffix, ok := segment.ParseName(e.Name())
		if ok && (strings.Count(suffix, ".") > 1 || !slices.ContainsFunc(*l.segs.Load(), func(s *segmentFile) bool { return s.Base == base })) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestCompactionWaits(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{})
	count := func(l *Log) int { return len(*l.segs.Load()) }
	for _, c := range []struct {
		name    string
		change  func(c *Config)
		prepare func(l *Log)
		cleaned bool
	}{
		{name: "control", cleaned: true},
		{name: "other policy", change: func(c *Config) { c.Compact, c.Delete = false, true }},
		{name: "both policies", change: func(c *Config) { c.Delete = true }, cleaned: true},
		{name: "nobody knows what must stay", prepare: func(l *Log) { l.keeper.Store(nil) }},
		{name: "nothing is stable", prepare: func(l *Log) { l.SetKeeper(&stable{}) }},
		{name: "ratio out of reach", change: func(c *Config) { c.MinDirtyRatio = 1.1 }},
		{name: "ratio out of reach, records too old", change: func(c *Config) { c.MinDirtyRatio, c.MaxLagMs = 1.1, 1000 }, cleaned: true},
		{name: "records too young", change: func(c *Config) { c.MinLagMs = 1 << 60 }},
		{name: "records old enough", change: func(c *Config) { c.MinLagMs = 1000 }, cleaned: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := compacted()
			if c.change != nil {
				c.change(&config)
			}
			l := openCompacted(t, d, strings.ReplaceAll(c.name, " ", "_"), config)
			churn(t, l, 100, 3)
			if c.prepare != nil {
				c.prepare(l)
			}
			before := count(l)
			d.Clean(t.Context())
			if cleaned := count(l) < before; cleaned != c.cleaned {
				t.Errorf("%d segments of %d", count(l), before)
			}
		})
	}
}

func TestAnOldActiveSegmentIsSealedForCompaction(t *testing.T) {
	c := compacted()
	c.SegmentBytes, c.MaxLagMs = 1<<20, 500
	l := openCompacted(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", c)
	mustAppend(t, l, pair("k", []byte("v"), 1000))
	mustAppend(t, l, pair("k", []byte("v"), 1500))
	mustAppend(t, l, pair("k", []byte("v"), 1501))
	if n := len(*l.segs.Load()); n != 2 {
		t.Errorf("%d segments", n)
	}
}

func TestReadersOfOldFilesGoOn(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 60, 3)
	old := *l.segs.Load()
	want := mustAll(t, l)
	var ranges []Range
	for from := int64(0); from < 60; from += 5 {
		r, err := l.Read(from, 60, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	d.Clean(t.Context())
	d.removeTrash(true)
	if bytes.Equal(mustAll(t, l), want) {
		t.Fatal("nothing was compacted")
	}
	for _, r := range ranges {
		buf := make([]byte, r.Len())
		if _, err := r.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if !bytes.Contains(want, buf) {
			t.Error("a range has other bytes than when it was read")
		}
		r.Release()
	}
	// One that looks into the old list late does not take the new file for the old one.
	if _, err := l.read(old, 0, 60, 1<<20, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func mustAll(t testing.TB, l *Log) []byte {
	t.Helper()
	data, err := readAll(l, l.StartOffset())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestConsumersReadAcrossSwaps(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{MaxOpenFiles: 4})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 50, 5)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				v, err := values(l)
				if err != nil || len(v) != 5 {
					t.Errorf("%d keys: %v", len(v), err)
					return
				}
				if _, ok, err := l.OffsetForTime(1000, 1<<60); err != nil || !ok {
					t.Errorf("by time: %v", err)
				}
				if _, ok, err := l.MaxTimestamp(); err != nil || !ok {
					t.Errorf("largest timestamp: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 30 {
		churn(t, l, 20, 5)
		d.Clean(t.Context())
		d.removeTrash(true)
	}
	close(done)
	readers.Wait()
}

func TestSmallSegmentsAreWrittenTogether(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 2000, 10)
	d.Clean(t.Context())
	if n := len(*l.segs.Load()); n > 3 {
		t.Errorf("%d segments", n)
	}
}

func TestALogLargerThanTheMapIsCompactedInRounds(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{Cleaner: CleanerOptions{MapBytes: 1, MapLoad: 0.5}})
	c := compacted()
	c.MinDirtyRatio = 0.01
	l := openCompacted(t, d, "a", c)
	churn(t, l, 500, 100)
	want := mustValues(t, l)
	d.Clean(t.Context())
	if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
		t.Error(diff)
	}
	if n := bytes.Count(mustAll(t, l), []byte("value ")); n > 130 { // an active segment beside the hundred
		t.Errorf("%d records of 100 keys", n)
	}
}

func TestAnUnreadableLogIsLeftAlone(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l, other := openCompacted(t, d, "a", compacted()), openCompacted(t, d, "b", compacted())
	churn(t, l, 50, 3)
	churn(t, other, 50, 3)
	before := len(*l.segs.Load())
	f, err := fsys.OpenFile(dataDir+"/a-0/00000000000000000000.log", os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{0xff}, 100)
	}
	if err != nil {
		t.Fatal(err)
	}
	damaged := mustAll(t, l)
	for range 2 {
		d.Clean(t.Context())
	}
	if s := d.CleanerStats(); s.Uncleanable != 1 || s.UncleanableBytes != l.Size() {
		t.Errorf("figures %+v", s)
	}
	if n := len(*l.segs.Load()); n != before || !bytes.Equal(mustAll(t, l), damaged) {
		t.Errorf("%d segments of %d", n, before)
	}
	if n := len(*other.segs.Load()); n > 3 {
		t.Errorf("the other log has %d segments", n)
	}
	checkSegmentFiles(t, fsys, l)
}

func TestAFullDiskPutsCompactionOff(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 50, 3)
	before, want := len(*l.segs.Load()), mustValues(t, l)
	fsys.SetCapacity(1)
	d.Clean(t.Context())
	fsys.SetCapacity(0)
	if n := len(*l.segs.Load()); n != before || d.Err() != nil || d.CleanerStats().Uncleanable != 0 {
		t.Errorf("%d segments of %d, %v", n, before, d.Err())
	}
	checkSegmentFiles(t, fsys, l)
	d.Clean(t.Context())
	if diff := cmp.Diff(want, mustValues(t, l)); diff != "" || len(*l.segs.Load()) > 3 {
		t.Errorf("%d segments, %s", len(*l.segs.Load()), diff)
	}
}

// TestEveryFailureOfCompaction lets each operation of a compaction fail once: the directory goes
// offline or the log is left alone, and opening it again finds the same values.
func TestEveryFailureOfCompaction(t *testing.T) {
	failures := 0
	for n := 1; ; n++ {
		fsys := env.NewMemFS()
		d := openDir(t, fsys, DirOptions{ClusterID: "c"})
		l := openCompacted(t, d, "a", compacted())
		churn(t, l, 50, 3)
		want, left := mustValues(t, l), n
		fsys.OnOp(func(op env.Op) error {
			if left--; left == 0 {
				return &os.PathError{Op: op.Kind.String(), Path: op.Name, Err: syscall.EIO}
			}
			return nil
		})
		d.Clean(t.Context())
		fsys.OnOp(nil)
		if left > 0 {
			break
		}
		if failed := d.Err() != nil || d.CleanerStats().Uncleanable > 0; failed {
			failures++
		}
		disk, _ := fsys.Crash(env.KeepAll, 0)
		l = openCompacted(t, openDir(t, disk, DirOptions{}), "a", compacted())
		if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
			t.Errorf("operation %d: %s", n, diff)
		}
	}
	if failures < 20 {
		t.Errorf("%d failures", failures)
	}
}

func TestACutOrDeletedLogIsNotCompacted(t *testing.T) {
	for name, disturb := range map[string]func(d *Dir, l *Log) error{
		"cut":     func(_ *Dir, l *Log) error { return l.TruncateTo(30) },
		"emptied": func(_ *Dir, l *Log) error { return l.TruncateTo(0) },
		"retained": func(d *Dir, l *Log) error {
			l.SetHighWatermark(l.EndOffset())
			return l.SetStartOffset(25)
		},
		"deleted": func(d *Dir, _ *Log) error { return d.Delete("a", 0) },
		"stopped": func(d *Dir, _ *Log) error { return d.close() },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := env.NewMemFS()
			d := openDir(t, fsys, DirOptions{})
			l := openCompacted(t, d, "a", compacted())
			churn(t, l, 50, 3)
			once := false
			fsys.OnOp(func(op env.Op) error {
				if op.Kind != env.OpTruncate || !strings.HasSuffix(op.Name, ".log.cleaned") || once {
					return nil
				}
				once = true
				if err := disturb(d, l); err != nil {
					t.Error(err)
				}
				return nil
			})
			d.Clean(t.Context())
			fsys.OnOp(nil)
			if !once || d.CleanerStats().Uncleanable != 0 || d.Err() != nil {
				t.Errorf("disturbed %v, figures %+v, %v", once, d.CleanerStats(), d.Err())
			}
			if name == "deleted" || name == "stopped" {
				return
			}
			if _, err := values(l); err != nil {
				t.Error(err)
			}
			churn(t, l, 50, 3)
			want := mustValues(t, l)
			d.Clean(t.Context())
			if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestACutLowersTheCleanerOffset(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 50, 50)
	d.Clean(t.Context())
	if err := l.TruncateTo(20); err != nil {
		t.Fatal(err)
	}
	if at := d.cleaned.Offsets[layout.TP{Topic: "a"}]; at != 20 {
		t.Errorf("cleaner offset %d", at)
	}
	fsys.OnOp(env.FailNth(env.OpRename, 1, syscall.EIO))
	if err := l.TruncateTo(10); !errors.Is(err, ErrOffline) {
		t.Errorf("a failing disk: %v", err)
	}
}

func TestAnUnreadableCleanerCheckpointOnlyCostsWork(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{ClusterID: "c"})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 50, 3)
	d.Clean(t.Context())
	want := mustValues(t, l)
	disk, _ := fsys.Crash(env.KeepAll, 0)
	rewrite(t, disk, dataDir+"/"+layout.CleanerFile, func([]byte) []byte { return []byte("7\n") })
	d = openDir(t, disk, DirOptions{})
	l = openCompacted(t, d, "a", compacted())
	d.Clean(t.Context())
	if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
		t.Error(diff)
	}
	disk.OnOp(env.FailNth(env.OpOpen, 3, syscall.EIO))
	if _, err := OpenDir(testEnv(disk), dataDir, DirOptions{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failing disk: %v", err)
	}
}

func TestAbortedTransactionsAreCompactedWithTheirIndex(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{ClusterID: "c"})
	c := compacted()
	c.DeleteRetentionMs = 0
	l := openCompacted(t, d, "a", c)
	transact(t, l, 7, true, "key 0", "committed")
	churn(t, l, 5, 1)
	transact(t, l, 7, true, "key 1", "committed")
	transact(t, l, 7, false, "key 1", "aborted")
	transact(t, l, 8, false, "key 2", "aborted")
	churn(t, l, 30, 1)
	want := map[string]string{"key 0": "value 42 of key 0", "key 1": "committed"}
	for round, index := range []int{2, 0, 0} { // each round begins anew
		d.points.Lock()
		d.cleaned.Offsets = map[layout.TP]int64{}
		d.points.Unlock()
		d.Clean(t.Context())
		if diff := cmp.Diff(want, mustValues(t, l)); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
		if n := len(l.AbortedIn(0, 100)); n != index {
			t.Errorf("round %d: %d aborted transactions known, not %d", round, n, index)
		}
		disk, _ := fsys.Crash(env.KeepAll, 0)
		again := openCompacted(t, openDir(t, disk, DirOptions{}), "a", c)
		if diff := cmp.Diff(l.AbortedIn(0, 100), again.AbortedIn(0, 100)); diff != "" {
			t.Errorf("round %d, opened again: %s", round, diff)
		}
	}
	markers := 0
	for data := mustAll(t, l); len(data) > 0; {
		b, rest, err := record.Split(data)
		if err != nil {
			t.Fatal(err)
		}
		if data = rest; b.IsControl() {
			markers++
		}
	}
	if markers != 1 {
		t.Errorf("%d markers are left of four, of which one has a record", markers)
	}
}

// transact appends a transaction of one record with its marker, and indexes it if it is aborted.
func transact(t testing.TB, l *Log, id int64, commit bool, key, value string) {
	t.Helper()
	b := record.NewBuilder(record.Options{Producer: &record.Producer{ID: id, Sequence: int32(l.EndOffset())}, Transactional: true})
	b.Append(1, []byte(key), []byte(value), nil)
	first, _ := mustAppend(t, l, b.Build())
	kind := record.Commit
	if !commit {
		kind = record.Abort
	}
	_, last := mustAppend(t, l, record.NewEndTxn(id, 0, record.Control{Type: kind}, 1))
	if !commit {
		if err := l.AppendAborted(AbortedTxn{ProducerID: id, First: first, Last: last, LastStable: last + 1}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCompactionKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDir(t, env.NewMemFS(), DirOptions{Cleaner: CleanerOptions{BytesPerSecond: 1000}})
		l := openCompacted(t, d, "a", compacted())
		churn(t, l, 100, 3)
		size, began := l.Size(), time.Now()
		d.Clean(t.Context())
		if took := time.Since(began); took < time.Duration(size/1000)*time.Second || took > time.Duration(size/300)*time.Second {
			t.Errorf("%d bytes took %v", size, took)
		}
		churn(t, l, 100, 3)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.Clean(ctx); close(done) }()
		synctest.Wait()
		cancel()
		<-done
		if d.CleanerStats().Uncleanable != 0 {
			t.Error("a compaction that was stopped counts as failed")
		}
	})
}

func TestRunCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, disabled := range []bool{false, true} {
			fsys := env.NewMemFS()
			d := openDir(t, fsys, DirOptions{Cleaner: CleanerOptions{Disabled: disabled}})
			l := openCompacted(t, d, "a", compacted())
			stop := start(t, d)
			churn(t, l, 100, 3)
			time.Sleep(16 * time.Second)
			synctest.Wait()
			if compacted := len(*l.segs.Load()) <= 3; compacted == disabled {
				t.Errorf("disabled %v: %d segments", disabled, len(*l.segs.Load()))
			}
			stop()
		}
	})
}

func TestTheCleanerHeedsNewOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDir(t, env.NewMemFS(), DirOptions{Cleaner: CleanerOptions{Every: time.Hour}})
		l := openCompacted(t, d, "a", compacted())
		defer start(t, d)()
		churn(t, l, 100, 3)
		time.Sleep(time.Minute)
		before := len(*l.segs.Load())
		d.SetCleaner(CleanerOptions{Every: time.Second})
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if after := len(*l.segs.Load()); before < 10 || after > 3 {
			t.Errorf("%d segments, then %d", before, after)
		}
	})
}

// TestACompactionLosesNothingToAPowerCut cuts the power before each operation of appends,
// transactions and compactions. What a new process finds must hold, for each key, the value that was
// acknowledged last or a later one, and be the same after it has compacted the log itself.
func TestACompactionLosesNothingToAPowerCut(t *testing.T) {
	fsys := env.NewMemFS()
	c := compacted()
	c.SegmentBytes, c.DeleteRetentionMs, c.MinDirtyRatio = 500, 0, 0.1
	d := openDir(t, fsys, DirOptions{ClusterID: "c", Faults: planted()})
	l := openCompacted(t, d, "a", c)
	acked, later := map[string]string{}, map[string][]string{}
	stride, recoveries := 1, 0
	if testing.Short() {
		stride = 9
	}
	fsys.OnOp(func(op env.Op) error {
		if !op.Kind.Changes() || op.Index%stride != 0 {
			return nil
		}
		for _, policy := range append(env.Policies(), env.KeepAll) {
			recoveries++
			disk, _ := fsys.Crash(policy, uint64(op.Index))
			at := fmt.Sprintf("cut before operation %d (%s %s), policy %d", op.Index, op.Kind, op.Name, policy)
			if err := checkCompacted(disk, c, acked, later); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		return nil
	})
	put := func(key, value string) {
		later[key] = append(later[key], value)
		mustAppend(t, l, pair(key, []byte(value), 1000+l.EndOffset()))
	}
	for i := range 7 {
		for j := range 8 {
			put(fmt.Sprint("key ", j%3), fmt.Sprint("value ", i, j))
		}
		put(fmt.Sprint("rare ", i), "value")
		transact(t, l, 7, false, "key 0", "aborted")
		later["key 1"] = append(later["key 1"], fmt.Sprint("committed ", i))
		transact(t, l, 7, true, "key 1", fmt.Sprint("committed ", i))
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		for key, v := range later {
			acked[key] = v[len(v)-1]
		}
		clear(later)
		switch i % 4 {
		case 1, 2:
			before := d.cleaned.Offsets[l.tp]
			if d.Clean(t.Context()); d.cleaned.Offsets[l.tp] == before {
				t.Errorf("nothing was compacted beyond %d", before)
			}
		case 3:
			if err := d.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			d.removeTrash(true)
		}
		if t.Failed() {
			break
		}
	}
	fsys.OnOp(nil)
	t.Logf("%d recoveries", recoveries)
}

// checkCompacted opens what a power cut has left.
func checkCompacted(disk *env.MemFS, c Config, acked map[string]string, later map[string][]string) error {
	d, err := OpenDir(testEnv(disk), dataDir, DirOptions{})
	if err != nil {
		return err
	}
	l, err := d.Open("a", 0, topicID("a"), c, &tally{})
	if err != nil {
		return err
	}
	if err := lead(l); err != nil {
		return err
	}
	got, err := values(l)
	if err != nil {
		return err
	}
	for key, value := range acked {
		if got[key] != value && !slices.Contains(later[key], got[key]) {
			return fmt.Errorf("%s is %q, acknowledged %q, later %q", key, got[key], value, later[key])
		}
	}
	for key := range got {
		if _, known := acked[key]; !known && later[key] == nil {
			return fmt.Errorf("%s was never written", key)
		}
	}
	d.Clean(context.Background())
	again, _ := disk.Crash(env.KeepNothing, 0)
	if d, err = OpenDir(testEnv(again), dataDir, DirOptions{}); err != nil {
		return fmt.Errorf("after the second cut: %w", err)
	}
	if l, err = d.Open("a", 0, topicID("a"), c, &tally{}); err != nil {
		return fmt.Errorf("after the second cut: %w", err)
	}
	if err := lead(l); err != nil {
		return err
	}
	after, err := values(l)
	if err != nil || !maps.Equal(got, after) {
		return fmt.Errorf("after the second cut: %v, not %v (%w)", after, got, err)
	}
	return nil
}

// lastStable finds the offset of the first transaction that is open in a log, and shows those that
// are aborted.
func lastStable(data []byte, abort func(AbortedTxn) error) (int64, error) {
	first := map[int64]int64{}
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			return 0, err
		}
		data = rest
		start, open := first[b.ProducerID()]
		switch {
		case b.IsTransactional() && !b.IsControl() && !open:
			first[b.ProducerID()] = b.BaseOffset()
		case b.IsControl():
			delete(first, b.ProducerID())
			c, err := b.Control()
			if err == nil && c.Type == record.Abort && open && abort != nil {
				err = abort(AbortedTxn{ProducerID: b.ProducerID(), First: start, Last: b.BaseOffset()})
			}
			if err != nil {
				return 0, err
			}
		}
	}
	stable := int64(1 << 60)
	for _, offset := range first {
		stable = min(stable, offset)
	}
	return stable, nil
}

// lead does what a partition does that opens a log: it notes the transactions whose markers reached
// the disk before their index did, and says what is stable.
func lead(l *Log) error {
	data, err := readAll(l, l.StartOffset())
	if err != nil {
		return err
	}
	at, err := lastStable(data, func(t AbortedTxn) error { return l.AppendAborted(t) })
	keeper := all()
	keeper.at.Store(at)
	l.SetKeeper(keeper)
	return err
}

// TestAMillionCommitsOfTenKeysStaySmall is __consumer_offsets under churn: a commit is a record of
// its own in a batch of several.
func TestAMillionCommitsOfTenKeysStaySmall(t *testing.T) {
	const each = 500
	c := compacted()
	c.SegmentBytes, c.IndexIntervalBytes = 1<<20, 4096
	d := openDir(t, env.NewMemFS(), DirOptions{})
	l := openCompacted(t, d, "offsets", c)
	largest := int64(0)
	for batch := range 1_000_000 / each {
		b := record.NewBuilder(record.Options{})
		for i := range each {
			b.Append(1, fmt.Appendf(nil, "group %d", i%10), fmt.Appendf(nil, "offset %d", batch*each+i), nil)
		}
		mustAppend(t, l, b.Build())
		if batch%100 == 99 {
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			d.Clean(t.Context())
			d.removeTrash(true)
			largest = max(largest, l.Size())
		}
	}
	if n := len(*l.segs.Load()); n > 3 || largest > 3<<20 {
		t.Errorf("%d segments; the log grew to %d bytes", n, largest)
	}
	if v := mustValues(t, l); len(v) != 10 || v["group 9"] != "offset 999999" {
		t.Errorf("%d keys, the last is %q", len(v), v["group 9"])
	}
}
