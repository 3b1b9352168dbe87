package commitlog

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

func TestAppendStampsOffsetsAndEpochAndNothingElse(t *testing.T) {
	l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{}, nil)
	one, two := batchOf(compress.LZ4, 100, "a", "b"), batchOf(0, 200, "c")
	want := append(bytes.Clone(one), two...)
	first, last, err := l.Append(append(bytes.Clone(one), two...), 7)
	if err != nil || first != 0 || last != 2 || l.EndOffset() != 3 {
		t.Fatalf("appended %d to %d, end %d, %v", first, last, l.EndOffset(), err)
	}
	record.Batch(want).SetLeaderEpoch(7)
	record.Batch(want[len(one):]).SetLeaderEpoch(7)
	record.Batch(want[len(one):]).SetBaseOffset(2)
	got, err := readAll(l, 0)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("log holds %x, %v", got, err)
	}
	if epoch, ok := l.LatestEpoch(); !ok || epoch != 7 {
		t.Errorf("epoch %d", epoch)
	}
	for _, bad := range [][]byte{nil, one[:50], make([]byte, 100)} {
		if _, _, err := l.Append(bytes.Clone(bad), 7); err == nil {
			t.Errorf("%d bad bytes were appended", len(bad))
		}
	}
}

func TestAppendAsFollowerKeepsStamps(t *testing.T) {
	l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{}, &tally{})
	b := record.Batch(batchOf(0, 1, "x", "y"))
	for i, base := range []int64{0, 2, 100, math.MaxInt32 * 3} {
		b.SetBaseOffset(base)
		b.SetLeaderEpoch(int32(i))
		if err := l.AppendAsFollower(b); err != nil {
			t.Fatalf("at %d: %v", base, err)
		}
		if l.EndOffset() != base+2 {
			t.Errorf("end is %d", l.EndOffset())
		}
	}
	if err := errors.Join(l.AppendAsFollower(nil)); err != nil {
		t.Error(err)
	}
	if err := l.AppendAsFollower(b); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("repeated batch: %v", err)
	}
	if err := l.AppendAsFollower(b[:70]); !errors.Is(err, record.ErrShort) {
		t.Errorf("half a batch: %v", err)
	}
	r, err := l.Read(50, l.EndOffset(), 10, true)
	if err != nil || r.Len() != len(b) {
		t.Fatalf("read in a hole: %d, %v", r.Len(), err)
	}
	r.Release()
	if epoch, end := l.EpochEnd(1); epoch != 1 || end != 100 {
		t.Errorf("epoch 1 ends at %d (%d)", end, epoch)
	}
}

func TestSegmentsRoll(t *testing.T) {
	big := strings.Repeat("x", 400)
	for name, c := range map[string]struct {
		config Config
		times  []int64
		bases  []int64
	}{
		"by size":              {Config{SegmentBytes: 1000}, []int64{1, 1, 1, 1, 1}, []int64{0, 2, 4}},
		"by time of records":   {Config{SegmentMs: 100}, []int64{1000, 1050, 1101, 1150, 1202}, []int64{0, 2, 4}},
		"not back in time":     {Config{SegmentMs: 100}, []int64{1000, 1, 900, 2}, []int64{0}},
		"by full offset index": {Config{SegmentIndexBytes: 8, IndexIntervalBytes: 100}, []int64{1, 1, 1, 1}, []int64{0, 2}},
		"by full time index":   {Config{SegmentIndexBytes: 16, IndexIntervalBytes: 100}, []int64{1, 2, 3, 4, 5}, []int64{0, 2, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", c.config, nil)
			for _, ts := range c.times {
				mustAppend(t, l, batchOf(0, ts, big))
			}
			var bases []int64
			for _, s := range *l.segs.Load() {
				bases = append(bases, s.Base)
			}
			if diff := cmp.Diff(c.bases, bases); diff != "" {
				t.Error(diff)
			}
			if _, err := readAll(l, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBatchesLargerThanASegmentAreRefused(t *testing.T) {
	l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{SegmentBytes: 200}, nil)
	if _, _, err := l.Append(batchOf(0, 1, strings.Repeat("x", 300)), 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v", err)
	}
	mustAppend(t, l, batchOf(0, 1, "x"))
}

func TestReadReturnsWholeBatchesUpToTheLimits(t *testing.T) {
	l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{IndexIntervalBytes: 1}, nil)
	var sizes []int
	for i := range 5 { // offsets 0-2, 3-5, 6-8, 9-11, 12-14
		b := batchOf(0, int64(i), "a", "b", strings.Repeat("c", 100*i))
		sizes = append(sizes, len(b))
		mustAppend(t, l, b)
	}
	sum := func(from, to int) (n int) {
		for _, s := range sizes[from:to] {
			n += s
		}
		return n
	}
	for _, c := range []struct {
		from, upTo int64
		max        int
		minOne     bool
		want       int
	}{
		{0, 15, 1 << 20, true, sum(0, 5)},
		{4, 15, 1 << 20, true, sum(1, 5)},
		{4, 12, 1 << 20, true, sum(1, 4)},
		{4, 11, 1 << 20, true, sum(1, 3)},
		{0, 15, sum(0, 3), true, sum(0, 3)},
		{0, 15, sum(0, 3) - 1, true, sum(0, 2)},
		{0, 15, sum(0, 3) + 1, true, sum(0, 3)},
		{6, 15, 1, true, sum(2, 3)},
		{6, 15, 1, false, 0},
		{6, 15, sum(2, 3), false, sum(2, 3)},
		{15, 15, 100, true, 0},
		{7, 7, 100, true, 0},
		{0, 1, 1 << 20, true, 0},
		{3, 99, 1 << 20, true, sum(1, 5)},
	} {
		r, err := l.Read(c.from, c.upTo, c.max, c.minOne)
		if err != nil || r.Len() != c.want {
			t.Errorf("read [%d, %d) max %d min one %v: %d bytes, want %d (%v)", c.from, c.upTo, c.max, c.minOne, r.Len(), c.want, err)
		}
		r.Release()
	}
	for _, from := range []int64{-1, 16} {
		if _, err := l.Read(from, 20, 1, true); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("read at %d: %v", from, err)
		}
	}
}

func TestARangeReadsLikeAReaderAt(t *testing.T) {
	l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{}, nil)
	b := batchOf(0, 1, "hello")
	mustAppend(t, l, bytes.Clone(b))
	mustAppend(t, l, bytes.Clone(b))
	r, err := l.Read(0, 1, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if _, _, ok := r.File(); ok {
		t.Error("a file in memory has a descriptor")
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, 1<<20))
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(b), err)
	}
	if n, err := r.ReadAt(make([]byte, 10), int64(len(b)-3)); n != 3 || !errors.Is(err, io.EOF) {
		t.Errorf("end: %d, %v", n, err)
	}
	if _, err := r.ReadAt(make([]byte, 1), int64(len(b))); !errors.Is(err, io.EOF) {
		t.Errorf("beyond: %v", err)
	}
}

func TestOffsetForTimeIsExactToTheRecord(t *testing.T) {
	for _, codec := range []compress.Codec{compress.None, compress.Zstd} {
		l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{SegmentBytes: 800, IndexIntervalBytes: 50}, nil)
		var times []int64
		for i := range 60 { // timestamps go up and down
			base := int64(1000 + 10*i - 300*(i%3))
			b := record.NewBuilder(record.Options{Codec: codec})
			for _, ts := range []int64{base, base + 40, base + 5} {
				b.Append(ts, nil, []byte("value"), nil)
				times = append(times, ts)
			}
			mustAppend(t, l, b.Build())
		}
		for ts := int64(300); ts < 1800; ts += 7 {
			want := int64(-1)
			for o, at := range times {
				if at >= ts {
					want = int64(o)
					break
				}
			}
			found, ok, err := l.OffsetForTime(ts, l.EndOffset())
			if err != nil || ok != (want >= 0) || ok && (found.Offset != want || found.Timestamp != times[want]) {
				t.Errorf("%v: timestamp %d: %+v %v, want offset %d (%v)", codec, ts, found, ok, want, err)
			}
		}
		top := int64(0)
		for o, ts := range times {
			if ts > times[top] {
				top = int64(o)
			}
		}
		if found, ok, err := l.MaxTimestamp(); err != nil || !ok || found.Offset != top {
			t.Errorf("max timestamp at %d, want %d (%v)", found.Offset, top, err)
		}
		if found, ok, _ := l.OffsetForTime(0, 0); ok {
			t.Errorf("found %v below offset 0", found)
		}
	}
}

func TestTimeLookupsDecompressWithinTheLimit(t *testing.T) {
	l := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{MaxDecompressed: 1000}, nil)
	mustAppend(t, l, batchOf(compress.Zstd, 5, strings.Repeat("x", 100000)))
	if _, _, err := l.OffsetForTime(5, 1); !errors.Is(err, compress.ErrTooLarge) {
		t.Errorf("error is %v", err)
	}
	empty := openLog(t, openDir(t, env.NewMemFS(), DirOptions{}), "a", Config{}, nil)
	if _, ok, err := empty.MaxTimestamp(); ok || err != nil {
		t.Errorf("max timestamp of an empty log: %v, %v", ok, err)
	}
}

func TestRetentionDropsTheOldestSegments(t *testing.T) {
	day := (24 * time.Hour).Milliseconds()
	for name, c := range map[string]struct {
		config Config
		hw     int64
		start  int64
	}{
		"none":                      {Config{Delete: true}, 10, 0},
		"by time":                   {Config{Delete: true, RetentionMs: 5 * day}, 10, 4},
		"by time, all":              {Config{Delete: true, RetentionMs: day / 2}, 10, 10},
		"by size":                   {Config{Delete: true, RetentionBytes: 1400}, 10, 4},
		"not above the watermark":   {Config{Delete: true, RetentionMs: day / 2}, 5, 4},
		"not without delete":        {Config{Compact: true, RetentionMs: day / 2}, 10, 0},
		"compact and delete":        {Config{Compact: true, Delete: true, RetentionMs: 5 * day}, 10, 4},
		"size within the limit":     {Config{Delete: true, RetentionBytes: 100000}, 10, 0},
		"unlimited is not positive": {Config{Delete: true, RetentionMs: -1, RetentionBytes: -1}, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := openDir(t, env.NewMemFS(), DirOptions{})
				c.config.SegmentBytes = 700
				l := openLog(t, d, "a", c.config, nil)
				now := time.Now().UnixMilli()
				for i := range int64(10) { // two to a segment, a day between
					mustAppend(t, l, batchOf(0, now-(10-i)*day, strings.Repeat("x", 230)))
				}
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				l.SetHighWatermark(c.hw)
				if err := d.Retain(); err != nil {
					t.Fatal(err)
				}
				if l.StartOffset() != c.start || l.EndOffset() != 10 {
					t.Errorf("log is %d to %d, want %d to 10", l.StartOffset(), l.EndOffset(), c.start)
				}
				if _, err := l.Read(0, 10, 10, true); c.start > 0 && !errors.Is(err, ErrOffsetOutOfRange) {
					t.Errorf("read of what is deleted: %v", err)
				}
				if first, _ := mustAppend(t, l, batchOf(0, now, "x")); first != 10 {
					t.Errorf("next offset %d", first)
				}
			})
		})
	}
}

func TestRetentionWithoutTimestampsGoesByTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDir(t, env.NewMemFS(), DirOptions{})
		l := openLog(t, d, "a", Config{Delete: true, RetentionMs: 1000}, nil)
		mustAppend(t, l, batchOf(0, -1, "x"))
		l.SetHighWatermark(1)
		if err := d.Retain(); err != nil || l.StartOffset() != 0 {
			t.Errorf("start %d, %v", l.StartOffset(), err)
		}
		time.Sleep(2 * time.Second)
		if err := d.Retain(); err != nil || l.StartOffset() != 1 {
			t.Errorf("start %d, %v", l.StartOffset(), err)
		}
	})
}

func TestDeleteRecordsSurvivesARestart(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", Config{Delete: true}, nil)
	mustAppend(t, l, batchOf(0, 1, "a", "b", "c"))
	if err := errors.Join(l.Sync(), l.SetStartOffset(2), l.SetStartOffset(1)); err != nil {
		t.Fatal(err)
	}
	if err := l.SetStartOffset(4); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
	disk, _ := fsys.Crash(env.KeepNothing, 0)
	l = openLog(t, openDir(t, disk, DirOptions{}), "a", Config{Delete: true}, nil)
	if l.StartOffset() != 2 || l.EndOffset() != 3 {
		t.Errorf("log is %d to %d", l.StartOffset(), l.EndOffset())
	}
	if found, ok, err := l.OffsetForTime(1, 3); !ok || err != nil || found.Offset != 2 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestTruncationCutsEverythingBack(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	f := &tally{}
	c := Config{SegmentBytes: 700, IndexIntervalBytes: 100}
	l := openLog(t, d, "a", c, f)
	for i := range 20 {
		if _, _, err := l.Append(batchOf(0, int64(1000+i), strings.Repeat("x", 100)), int32(i/5)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Sync(), d.Checkpoint(), l.AppendAborted(AbortedTxn{ProducerID: 1, First: 2, Last: 3, LastStable: 2}, AbortedTxn{ProducerID: 1, First: 8, Last: 17, LastStable: 8})); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(20)
	if err := errors.Join(l.TruncateTo(25), l.TruncateTo(13)); err != nil {
		t.Fatal(err)
	}
	if l.EndOffset() != 13 || l.SyncedOffset() != 13 || l.RecoveryPoint() != 13 || f.next != 13 || l.CheckpointedHighWatermark() != 13 {
		t.Errorf("end %d, synced %d, point %d, follower %d, watermark %d", l.EndOffset(), l.SyncedOffset(), l.RecoveryPoint(), f.next, l.CheckpointedHighWatermark())
	}
	if epoch, _ := l.LatestEpoch(); epoch != 2 {
		t.Errorf("epoch %d", epoch)
	}
	if diff := cmp.Diff([]AbortedTxn{{ProducerID: 1, First: 2, Last: 3, LastStable: 2}}, l.AbortedIn(0, 100)); diff != "" {
		t.Error(diff)
	}
	checkLookups(t, l, 13)
	for i := range 20 {
		mustAppend(t, l, batchOf(0, int64(1013+i), strings.Repeat("y", 100)))
	}
	checkLookups(t, l, 33)
	if err := l.TruncateTo(0); err != nil || l.EndOffset() != 0 || f.next != 0 {
		t.Errorf("end %d, follower %d, %v", l.EndOffset(), f.next, err)
	}
}

func TestTruncationBeforeTheStartBeginsAnewThere(t *testing.T) {
	fsys := env.NewMemFS()
	c := Config{SegmentBytes: 300, Delete: true}
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", c, nil)
	for range 9 {
		mustAppend(t, l, batchOf(0, 1, strings.Repeat("x", 150)))
	}
	l.SetHighWatermark(9)
	if err := errors.Join(l.Sync(), l.SetStartOffset(6), l.TruncateTo(4)); err != nil {
		t.Fatal(err)
	}
	disk, _ := fsys.Crash(env.KeepNothing, 0)
	for _, l := range []*Log{l, openLog(t, openDir(t, disk, DirOptions{}), "a", c, nil)} {
		if l.StartOffset() != 4 || l.EndOffset() != 4 {
			t.Errorf("log is %d to %d", l.StartOffset(), l.EndOffset())
		}
	}
}

func TestAbortedTransactionsSurvive(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	c := Config{SegmentBytes: 300}
	l := openLog(t, d, "a", c, nil)
	for range 10 {
		mustAppend(t, l, batchOf(0, 1, strings.Repeat("x", 150)))
	}
	all := []AbortedTxn{{ProducerID: 7, First: 0, Last: 2, LastStable: 0}, {ProducerID: 8, First: 1, Last: 5, LastStable: 1}, {ProducerID: 7, First: 6, Last: 9, LastStable: 6}}
	if err := errors.Join(l.AppendAborted(all...), l.AppendAborted(all...), l.Sync()); err != nil {
		t.Fatal(err)
	}
	disk, _ := fsys.Crash(env.KeepNothing, 0)
	l = openLog(t, openDir(t, disk, DirOptions{}), "a", c, nil)
	for _, c := range []struct {
		from, to int64
		want     []AbortedTxn
	}{{0, 10, all}, {3, 6, all[1:2]}, {6, 7, all[2:]}, {3, 7, all[1:]}, {10, 20, nil}} {
		if diff := cmp.Diff(c.want, l.AbortedIn(c.from, c.to)); diff != "" {
			t.Errorf("[%d, %d): %s", c.from, c.to, diff)
		}
	}
	raw, err := env.ReadFile(disk, dataDir+"/a-0/00000000000000000002.txnindex")
	want := "0000" + "0000000000000007" + "0000000000000000" + "0000000000000002" + "0000000000000000"
	if got := hex.EncodeToString(raw); err != nil || got != want {
		t.Errorf("txnindex %s, %v", got, err)
	}
}

// The bytes of the small files are Kafka's.
func TestFilesAreKafkas(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{ClusterID: "cluster", NodeID: 3})
	l := openLog(t, d, "a", Config{IndexIntervalBytes: 100, Delete: true}, nil)
	for i := range 3 {
		if _, _, err := l.Append(batchOf(0, int64(0x100+i), "x", strings.Repeat("y", 100)), int32(5+i)); err != nil {
			t.Fatal(err)
		}
	}
	l.SetHighWatermark(6)
	if err := errors.Join(l.Sync(), l.SetStartOffset(1), d.close()); err != nil {
		t.Fatal(err)
	}
	size := len(batchOf(0, 1, "x", strings.Repeat("y", 100)))
	for name, want := range map[string]string{
		"a-0/00000000000000000000.index":     fmt.Sprintf("%08x%08x%08x%08x", 3, size, 5, 2*size),
		"a-0/00000000000000000000.timeindex": fmt.Sprintf("%016x%08x%016x%08x", 0x102, 3, 0x103, 5),
		"a-0/leader-epoch-checkpoint":        hex.EncodeToString([]byte("0\n3\n5 1\n6 2\n7 4\n")),
		"a-0/partition.metadata":             hex.EncodeToString([]byte("version: 0\ntopic_id: YQAAAAAAAAAAAAAAAAAAAA")),
		layout.RecoveryFile:                  hex.EncodeToString([]byte("0\n1\na 0 6\n")),
		layout.WatermarkFile:                 hex.EncodeToString([]byte("0\n1\na 0 6\n")),
		layout.StartFile:                     hex.EncodeToString([]byte("0\n1\na 0 1\n")),
		layout.MetaFile:                      hex.EncodeToString([]byte("#\n#\nnode.id=3\ndirectory.id=" + d.ID() + "\nversion=1\ncluster.id=cluster\n")),
	} {
		data, err := env.ReadFile(fsys, filepath.Join(dataDir, name))
		if got := hex.EncodeToString(data); err != nil || got != want {
			t.Errorf("%s is %s\nwant %s (%v)", name, got, want, err)
		}
	}
}

func TestReadersAndAppendersDoNotDisturbEachOther(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{MaxOpenFiles: 4})
	stop := start(t, d)
	l := openLog(t, d, "a", Config{SegmentBytes: 2000, IndexIntervalBytes: 200, Delete: true, RetentionBytes: 8000}, nil)
	l.OnSync(func(synced int64, _ error) { l.SetHighWatermark(synced) })
	const total = 3000
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for from := int64(0); from < total; {
				r, err := l.Read(from, l.EndOffset(), 700, true)
				if errors.Is(err, ErrOffsetOutOfRange) {
					from = l.StartOffset()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				buf := make([]byte, r.Len())
				if n, err := r.ReadAt(buf, 0); n != len(buf) && len(buf) > 0 {
					t.Error(err)
				}
				r.Release()
				for len(buf) > 0 {
					b, rest, err := record.Split(buf)
					if err != nil || b.BaseOffset() > from || b.Check() != nil {
						t.Errorf("at %d: batch %d, %v", from, b.BaseOffset(), err)
						return
					}
					from, buf = b.NextOffset(), rest
				}
			}
		})
	}
	for i := range total {
		mustAppend(t, l, batchOf(0, int64(i), "some value"))
		if i%500 == 0 {
			if err := errors.Join(d.Retain(), d.Checkpoint()); err != nil {
				t.Error(err)
			}
		}
	}
	wg.Wait()
	stop()
}

func TestAnySequenceOfOperationsKeepsTheLogWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := env.NewMemFS()
		c := Config{
			SegmentBytes: int64(rapid.IntRange(300, 3000).Draw(t, "segment")), Delete: true,
			IndexIntervalBytes: rapid.IntRange(1, 1000).Draw(t, "interval"),
		}
		reopen := func() (*Dir, *Log, *tally) {
			d, err := OpenDir(testEnv(fsys), dataDir, DirOptions{})
			if err != nil {
				t.Fatal(err)
			}
			f := &tally{}
			l, err := d.Open("a", 0, topicID("a"), c, f)
			if err != nil {
				t.Fatal(err)
			}
			return d, l, f
		}
		d, l, f := reopen()
		var want []string // value by offset
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "truncate", "stop", "cut", "delete"}).Draw(t, "step") {
			case "append":
				var values []string
				for range rapid.IntRange(1, 5).Draw(t, "records") {
					values = append(values, fmt.Sprint("value ", len(want)+len(values)))
				}
				codec := compress.Codec(rapid.IntRange(0, 4).Draw(t, "codec"))
				if _, _, err := l.Append(batchOf(codec, int64(len(want)), values...), 1); err != nil {
					t.Fatal(err)
				}
				want = append(want, values...)
			case "truncate":
				if err := l.TruncateTo(int64(rapid.IntRange(0, len(want)).Draw(t, "to"))); err != nil {
					t.Fatal(err)
				}
				want = want[:l.EndOffset()]
			case "stop":
				if err := d.close(); err != nil {
					t.Fatal(err)
				}
				d, l, f = reopen()
			case "cut":
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				fsys, _ = fsys.Crash(env.KeepTorn, 1)
				d, l, f = reopen()
			case "delete":
				if err := l.SetStartOffset(int64(rapid.IntRange(0, len(want)).Draw(t, "before"))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if l.EndOffset() != int64(len(want)) || f.next > l.EndOffset() || f.wrong != "" {
			t.Fatalf("log ends at %d, follower at %d %s, want %d", l.EndOffset(), f.next, f.wrong, len(want))
		}
		data, err := readAll(l, l.StartOffset())
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			b, rest, err := record.Split(data)
			if err != nil {
				t.Fatal(err)
			}
			for r, err := range b.Records(1 << 20) {
				if err != nil || string(r.Value) != want[r.Offset] {
					t.Fatalf("offset %d holds %q, want %q (%v)", r.Offset, r.Value, want[r.Offset], err)
				}
				if r.Offset < l.StartOffset() {
					continue
				}
				if found, ok, err := l.OffsetForTime(r.Timestamp, l.EndOffset()); err != nil || !ok || found.Timestamp < r.Timestamp || found.Offset > r.Offset {
					t.Fatalf("timestamp %d of offset %d found at %v (%v)", r.Timestamp, r.Offset, found, err)
				}
			}
			data = rest
		}
	})
}
