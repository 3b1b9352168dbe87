package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

func TestADirectoryThatIsNotOursIsRefusedUntouched(t *testing.T) {
	meta := "version=1\nnode.id=3\ncluster.id=theirs\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n"
	for name, c := range map[string]struct {
		file, text string
		want       error
		names      string
	}{
		"cluster":    {layout.MetaFile, meta, ErrForeign, "cluster.id is theirs, not ours"},
		"node":       {layout.MetaFile, strings.Replace(meta, "theirs", "ours", 1), ErrForeign, "node.id is 3, not 1"},
		"no version": {layout.MetaFile, "node.id=1\n", ErrCorrupt, layout.MetaFile},
		"empty":      {layout.MetaFile, "", ErrCorrupt, layout.MetaFile},
		"no cluster": {layout.MetaFile, "version=1\nnode.id=1\n", ErrCorrupt, layout.MetaFile},
		"log starts": {layout.StartFile, "0\n7\n", ErrCorrupt, layout.StartFile},
		"watermarks": {layout.WatermarkFile, "no\n", ErrCorrupt, layout.WatermarkFile},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := env.NewMemFS()
			if err := errors.Join(fsys.MkdirAll(dataDir, 0o750), env.WriteFile(fsys, dataDir+"/"+c.file, []byte(c.text))); err != nil {
				t.Fatal(err)
			}
			before := fsys.Fingerprint()
			_, err := OpenDir(testEnv(fsys), dataDir, DirOptions{ClusterID: "ours", NodeID: 1})
			var file *FileError
			if !errors.As(err, &file) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.names) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v", err)
			}
			if fsys.Fingerprint() != before {
				t.Error("something changed on disk")
			}
		})
	}
}

func TestADirectoryInUseIsRefused(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	before := fsys.Fingerprint()
	if _, err := OpenDir(testEnv(fsys), dataDir, DirOptions{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dataDir) {
		t.Errorf("error is %v", err)
	}
	if fsys.Fingerprint() != before {
		t.Error("something changed on disk")
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	openDir(t, fsys, DirOptions{})
}

func TestTheDirectoryKeepsItsIdentity(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{NodeID: 7})
	cluster, id := d.ClusterID(), d.ID()
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	d = openDir(t, fsys, DirOptions{NodeID: 7})
	if d.ClusterID() != cluster || d.ID() != id || len(id) != 22 || len(cluster) != 22 || id == cluster {
		t.Errorf("cluster %q, id %q; were %q, %q", d.ClusterID(), d.ID(), cluster, id)
	}
}

func TestAStrayIsRefusedUntouched(t *testing.T) {
	disk := written(t, 3, Config{})
	d := openDir(t, disk, DirOptions{})
	before := disk.Fingerprint()
	_, err := d.Open("a", 0, topicID("another"), Config{}, &tally{})
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), dataDir+"/a-0") {
		t.Errorf("error is %v", err)
	}
	found, err := d.Logs()
	if err != nil || len(found) != 1 || found[0] != (Found{Topic: "a", TopicID: topicID("a"), HasID: true}) {
		t.Errorf("found %v, %v", found, err)
	}
	if disk.Fingerprint() != before {
		t.Error("something changed on disk")
	}
}

func TestPartitionMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"never synced":  {"\x00\x00\x00\x00", true},
		"empty":         {"", true},
		"garbage":       {"hello", false},
		"later version": {"version: 1\ntopic_id: YQAAAAAAAAAAAAAAAAAAAA", false},
		"bad id":        {"version: 0\ntopic_id: YQ", false},
		"with newline":  {"version: 0\ntopic_id: YQAAAAAAAAAAAAAAAAAAAA\n", true},
	} {
		disk := written(t, 3, Config{})
		if err := env.WriteFile(disk, dataDir+"/a-0/"+layout.TopicFile, []byte(c.text)); err != nil {
			t.Fatal(err)
		}
		d := openDir(t, disk, DirOptions{})
		l, err := d.Open("a", 0, topicID("a"), Config{}, nil)
		if c.ok && (err != nil || l.EndOffset() != 3) || !c.ok && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if found, err := d.Logs(); err != nil || len(found) != 1 || found[0].HasID != c.ok {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

func TestALogIsOpenedOnce(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{})
	l := openLog(t, d, "a", Config{}, nil)
	if _, err := d.Open("a", 0, topicID("a"), Config{}, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Append(batchOf(0, 1, "x"), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := l.Read(0, 1, 1, true); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := l.Sync(); !errors.Is(err, ErrClosed) {
		t.Errorf("sync: %v", err)
	}
	openLog(t, d, "a", Config{}, nil)
}

func TestADeletedLogCanBeReadToTheEndAndCreatedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := env.NewMemFS()
		d := openDir(t, fsys, DirOptions{})
		c := Config{FileDeleteDelayMs: 60000}
		l := openLog(t, d, "a", c, nil)
		mustAppend(t, l, batchOf(0, 1, "old"))
		r, err := l.Read(0, 1, 100, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Delete("a", 0); err != nil {
			t.Fatal(err)
		}
		again := openLog(t, d, "a", c, nil)
		if again.EndOffset() != 0 {
			t.Errorf("new log ends at %d", again.EndOffset())
		}
		buf := make([]byte, r.Len())
		if _, err := r.ReadAt(buf, 0); err != nil || !strings.Contains(string(buf), "old") {
			t.Errorf("read after delete: %q, %v", buf, err)
		}
		r.Release()
		time.Sleep(59 * time.Second)
		d.removeTrash(false)
		if n := trashDirs(t, fsys); n != 1 {
			t.Errorf("%d deleted directories before the delay", n)
		}
		time.Sleep(2 * time.Second)
		d.removeTrash(false)
		if n := trashDirs(t, fsys); n != 0 {
			t.Errorf("%d deleted directories after the delay", n)
		}
		if err := errors.Join(d.Delete("a", 0), d.Delete("never", 9)); err != nil {
			t.Error(err)
		}
	})
}

func trashDirs(t *testing.T, fsys env.FS) (n int) {
	t.Helper()
	entries, err := fsys.ReadDir(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), layout.DeleteSuffix) {
			n++
		}
	}
	return n
}

func TestSetAsideKeepsTheDataUnderAnotherName(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", Config{}, nil)
	if _, err := d.SetAside("a", 0); !errors.Is(err, ErrLocked) {
		t.Errorf("an open log was set aside: %v", err)
	}
	if _, _, err := l.Append(batchOf(compress.None, 1, "x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open("a", 0, topicID("other"), Config{}, nil); !errors.Is(err, ErrForeign) {
		t.Fatalf("a log of another id was opened: %v", err)
	}
	to, err := d.SetAside("a", 0)
	if err != nil || !strings.HasSuffix(to, layout.StraySuffix) {
		t.Fatalf("set aside to %q: %v", to, err)
	}
	crashed, _ := fsys.Crash(env.KeepNothing, 1)
	if entries, err := crashed.ReadDir(to); err != nil || len(entries) == 0 {
		t.Errorf("after a crash %s holds %v: %v", to, entries, err)
	}
	if again, err := d.Open("a", 0, topicID("other"), Config{}, nil); err != nil || again.EndOffset() != 0 {
		t.Errorf("the name is not free: %v", err)
	}
	if _, err := d.SetAside("none", 0); err != nil {
		t.Errorf("a partition without a directory: %v", err)
	}
	fsys.OnOp(env.FailNth(env.OpRename, 1, syscall.EIO))
	if _, err := d.SetAside("none", 1); !errors.Is(err, ErrOffline) {
		t.Errorf("a failing disk: %v", err)
	}
}

func TestRunSyncsManyLogsInFewRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := env.NewMemFS()
		d := openDir(t, fsys, DirOptions{WatermarkEvery: time.Second})
		stop := start(t, d)
		var synced [50]int64
		var logs [50]*Log
		for i := range logs {
			logs[i] = openLog(t, d, fmt.Sprint("t", i), Config{}, nil)
			logs[i].OnSync(func(o int64, err error) {
				if err != nil {
					t.Error(err)
				}
				synced[i] = o
			})
			mustAppend(t, logs[i], batchOf(0, 1, "x", "y"))
		}
		synctest.Wait()
		for i := range logs {
			if synced[i] != 2 || logs[i].SyncedOffset() != 2 {
				t.Errorf("log %d synced to %d, told %d", i, logs[i].SyncedOffset(), synced[i])
			}
			logs[i].SetHighWatermark(2)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if logs[7].RecoveryPoint() != 2 {
			t.Errorf("recovery point is %d", logs[7].RecoveryPoint())
		}
		stop()
		want := "0\n50\n"
		if data, err := env.ReadFile(fsys, dataDir+"/"+layout.RecoveryFile); err != nil || !strings.HasPrefix(string(data), want) || !strings.Contains(string(data), "\nt7 0 2\n") {
			t.Errorf("recovery points %q, %v", data, err)
		}
		if data, err := env.ReadFile(fsys, dataDir+"/"+layout.WatermarkFile); err != nil || !strings.Contains(string(data), "\nt7 0 2\n") {
			t.Errorf("watermarks %q, %v", data, err)
		}
		if data, err := env.ReadFile(fsys, dataDir+"/"+layout.CleanFile); err != nil || string(data) != `{"version":0,"brokerEpoch":-1}` {
			t.Errorf("marker %q, %v", data, err)
		}
	})
}

// start runs the directory and returns what stops it.
func start(t *testing.T, d *Dir) (stop func()) {
	t.Helper()
	ctx, cancel := contextWithCancel(t)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestPageCacheSyncsByCountAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDir(t, env.NewMemFS(), DirOptions{})
		stop := start(t, d)
		never := openLog(t, d, "never", Config{Durability: PageCache}, nil)
		count := openLog(t, d, "count", Config{Durability: PageCache, FlushMessages: 3}, nil)
		timed := openLog(t, d, "timed", Config{Durability: PageCache, FlushMs: 500}, nil)
		roll := openLog(t, d, "roll", Config{Durability: PageCache, SegmentBytes: 100}, nil)
		expect := func(when string, n, c, tm, r int64) {
			t.Helper()
			synctest.Wait()
			if got := [4]int64{never.SyncedOffset(), count.SyncedOffset(), timed.SyncedOffset(), roll.SyncedOffset()}; got != [4]int64{n, c, tm, r} {
				t.Errorf("%s: synced %v", when, got)
			}
		}
		for range 2 {
			for _, l := range []*Log{never, count, timed} {
				mustAppend(t, l, batchOf(0, 1, "x"))
			}
		}
		mustAppend(t, roll, batchOf(0, 1, "x"))
		expect("after two", 0, 0, 0, 0)
		mustAppend(t, count, batchOf(0, 1, "x"))
		mustAppend(t, roll, batchOf(0, 1, "x"))
		synctest.Wait()
		if roll.SyncedOffset() < 1 {
			t.Error("roll did not sync the old segment")
		}
		expect("after three", 0, 3, 0, roll.SyncedOffset())
		time.Sleep(time.Second)
		expect("after flush.ms", 0, 3, 2, roll.SyncedOffset())
		never.RequestSync()
		expect("on request", 2, 3, 2, roll.SyncedOffset())
		stop()
	})
}

func TestTenThousandPartitionsStayWithinTheOpenFiles(t *testing.T) {
	n := 10000
	if testing.Short() {
		n = 500
	}
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{MaxOpenFiles: 100})
	logs := make([]*Log, n)
	for i := range logs {
		logs[i] = openLog(t, d, fmt.Sprint("t", i), Config{}, nil)
	}
	if d.files.Open() != 0 {
		t.Errorf("%d files open for empty partitions", d.files.Open())
	}
	for from := 0; from < n; from += 50 {
		for _, l := range logs[from : from+50] {
			mustAppend(t, l, batchOf(0, 1, "x"))
		}
		if err := d.sync(logs[from : from+50]); err != nil {
			t.Fatal(err)
		}
		if d.files.Open() > 100 {
			t.Fatalf("%d files open", d.files.Open())
		}
	}
	held, err := logs[0].Read(0, 1, 100, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs[1:300] {
		r, err := l.Read(0, 1, 100, true)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
	}
	if _, err := held.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("a held range lost its file: %v", err)
	}
	held.Release()
	if d.files.Open() > 100 {
		t.Errorf("%d files open", d.files.Open())
	}
}

// TestWhatAFailedRollMeans: a want of descriptors or space passes, anything else is the directory's end.
func TestWhatAFailedRollMeans(t *testing.T) {
	for _, row := range []struct {
		err     error
		offline bool
	}{{syscall.EMFILE, false}, {syscall.ENFILE, false}, {syscall.ENOSPC, false}, {syscall.EROFS, true}, {syscall.EIO, true}, {syscall.ENOENT, true}, {syscall.EACCES, true}} {
		t.Run(row.err.Error(), func(t *testing.T) {
			fsys := env.NewMemFS()
			d := openDir(t, fsys, DirOptions{})
			c := Config{SegmentBytes: 700}
			l := openLog(t, d, "a", c, nil)
			fsys.OnOp(func(op env.Op) error {
				if op.Kind == env.OpCreate && strings.HasSuffix(op.Name, segment.LogSuffix) && !strings.HasSuffix(op.Name, "/00000000000000000000.log") {
					return &fs.PathError{Op: "open", Path: op.Name, Err: row.err}
				}
				return nil
			})
			var err error
			for n := 0; err == nil && n < 100; n++ {
				_, _, err = l.Append(batchOf(0, 1, strings.Repeat("x", 90)), 0)
			}
			if !errors.Is(err, row.err) || errors.Is(err, ErrOffline) != row.offline || (d.Err() != nil) != row.offline {
				t.Fatalf("append: %v; directory: %v", err, d.Err())
			}
			fsys.OnOp(nil)
			end := l.EndOffset()
			first, _, err := l.Append(batchOf(0, 1, strings.Repeat("x", 90)), 0)
			if errors.Is(err, ErrOffline) != row.offline || err == nil && first != end {
				t.Fatalf("append once it has passed: offset %d, want %d, %v", first, end, err)
			}
			if disk, _ := fsys.Crash(env.KeepAll, 0); openLog(t, openDir(t, disk, DirOptions{}), "a", c, nil).EndOffset() != l.EndOffset() {
				t.Error("a new start finds another end")
			}
		})
	}
}

// TestACleanStopWritesNothingForUntouchedLogs, and for those that were touched what it always does.
func TestACleanStopWritesNothingForUntouchedLogs(t *testing.T) {
	fsys := env.NewMemFS()
	for life, row := range []struct{ touch, least, most int }{{200, 400, 4000}, {0, 0, 10}, {1, 4, 40}, {0, 0, 10}} {
		d := openDir(t, fsys, DirOptions{})
		followers := make([]tally, 200)
		for i := range followers {
			l := openLog(t, d, fmt.Sprint("t", i), Config{}, &followers[i])
			if i < row.touch {
				mustAppend(t, l, batchOf(0, int64(1000+life), "x"))
			}
		}
		before := fsys.Ops()
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		if n := fsys.Ops() - before; n < row.least || n > row.most {
			t.Errorf("life %d: %d operations of a stop change the disk, want %d to %d", life, n, row.least, row.most)
		}
		fsys, _ = fsys.Crash(env.KeepNothing, 0) // what is there is durable
	}
	d := openDir(t, fsys, DirOptions{})
	for name, want := range map[string]int64{"t0": 2, "t1": 1} {
		f := &tally{}
		if l := openLog(t, d, name, Config{}, f); l.EndOffset() != want || f.next != want {
			t.Errorf("%s ends at %d, its follower at %d, want %d", name, l.EndOffset(), f.next, want)
		}
	}
}

func TestOpeningFailsWithoutHarmWhenTheDiskDoes(t *testing.T) {
	failure := errors.New("input/output error")
	for _, kind := range []env.OpKind{env.OpCreate, env.OpWrite, env.OpSync, env.OpRename, env.OpSyncDir, env.OpMkdir, env.OpList, env.OpOpen} {
		for nth := 1; nth < 12; nth++ {
			fsys := env.NewMemFS()
			fsys.OnOp(env.FailNth(kind, nth, failure))
			d, err := OpenDir(testEnv(fsys), dataDir, DirOptions{})
			if err != nil {
				if !errors.Is(err, failure) {
					t.Errorf("%s %d: %v", kind, nth, err)
				}
				fsys.OnOp(nil)
				d = openDir(t, fsys, DirOptions{})
			}
			fsys.OnOp(nil)
			if err := d.close(); err != nil {
				t.Errorf("%s %d: stop: %v", kind, nth, err)
			}
		}
	}
}

func TestEveryFailureOfTheDiskIsToldAndLosesNothing(t *testing.T) {
	failure := errors.New("input/output error")
	c := Config{SegmentBytes: 700, IndexIntervalBytes: 100, Delete: true, RetentionBytes: 1400}
	for _, kind := range []env.OpKind{env.OpOpen, env.OpCreate, env.OpRead, env.OpWrite, env.OpTruncate, env.OpSync, env.OpSyncDir, env.OpRename, env.OpRemove} {
		for nth := 1; nth < 40; nth++ {
			fsys := env.NewMemFS()
			d := openDir(t, fsys, DirOptions{})
			fsys.OnOp(env.FailNth(kind, nth, failure))
			acked, low, err := life(d, c)
			fsys.OnOp(nil)
			if err != nil && !errors.Is(err, failure) && !errors.Is(err, ErrOffline) {
				t.Errorf("%s %d: %v", kind, nth, err)
			}
			disk, _ := fsys.Crash(env.KeepNothing, 0)
			l := openLog(t, openDir(t, disk, DirOptions{}), "a", c, &tally{})
			if l.EndOffset() < acked || l.StartOffset() > max(low, acked) {
				t.Errorf("%s %d: acked-lost: log is %d to %d, acknowledged %d", kind, nth, l.StartOffset(), l.EndOffset(), acked)
			}
			if _, err := readAll(l, l.StartOffset()); err != nil {
				t.Errorf("%s %d: %v", kind, nth, err)
			}
		}
	}
}

// life is what a log may go through; it stops at the first error.
func life(d *Dir, c Config) (acked, low int64, err error) {
	l, err := d.Open("a", 0, topicID("a"), c, &tally{})
	if err != nil {
		return 0, 0, err
	}
	for i := range 12 {
		if _, _, err := l.Append(batchOf(0, int64(i), strings.Repeat("x", 120)), int32(i/5)); err != nil {
			return acked, low, err
		}
		if err := l.Sync(); err != nil {
			return acked, low, err
		}
		acked = l.SyncedOffset()
		l.SetHighWatermark(acked)
		if i%4 != 3 {
			continue
		}
		low = acked
		if err := errors.Join(d.Checkpoint(), d.Retain()); err != nil {
			return acked, low, err
		}
		acked = min(acked, acked-1)
		if err := l.TruncateTo(acked); err != nil {
			return acked, low, err
		}
		if _, err := readAll(l, l.StartOffset()); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
			return acked, low, err
		}
	}
	return acked, low, nil
}
