package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
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

func (s *stable) LastStable() int64 { return s.at.Load() }

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

// TestTheCleanerDeletesToo: a log that is compacted is looked at for old segments as often as for dirty ones.
func TestTheCleanerDeletesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDir(t, env.NewMemFS(), DirOptions{RetentionCheck: time.Hour})
		c := compacted()
		c.Delete, c.RetentionMs = true, 1000
		both, deleted := openCompacted(t, d, "both", c), c
		deleted.Compact = false
		other := openLog(t, d, "deleted", deleted, nil)
		defer start(t, d)()
		for _, l := range []*Log{both, other} {
			churn(t, l, 100, 3)
			l.SetHighWatermark(100)
		}
		time.Sleep(16 * time.Second) // in the bubble: past a look of the cleaner
		synctest.Wait()
		if both.StartOffset() != 100 || other.StartOffset() != 0 {
			t.Errorf("the logs start at %d and %d", both.StartOffset(), other.StartOffset())
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
