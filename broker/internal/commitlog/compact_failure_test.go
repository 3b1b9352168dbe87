package commitlog

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/internal/env"
)

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
