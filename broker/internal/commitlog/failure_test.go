package commitlog

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/internal/env"
)

func TestAFailedSyncTakesTheDirectoryOffline(t *testing.T) {
	for _, kind := range []env.OpKind{env.OpSync, env.OpSyncDir} {
		t.Run(kind.String(), func(t *testing.T) {
			fsys := env.NewMemFS()
			d := openDir(t, fsys, DirOptions{})
			l, other := openLog(t, d, "a", Config{}, nil), openLog(t, d, "b", Config{}, nil)
			var told []error
			l.OnSync(func(_ int64, err error) { told = append(told, err) })
			other.OnSync(func(_ int64, err error) { told = append(told, err) })
			mustAppend(t, l, batchOf(0, 1, "x"))
			failure := errors.New("input/output error")
			fsys.OnOp(env.FailNth(kind, 1, failure))
			if err := l.Sync(); !errors.Is(err, ErrOffline) || !errors.Is(err, failure) {
				t.Errorf("sync: %v", err)
			}
			if len(told) != 2 || !errors.Is(told[0], ErrOffline) || !errors.Is(told[1], ErrOffline) {
				t.Errorf("listeners were told %v", told)
			}
			if err := l.Sync(); !errors.Is(err, ErrOffline) {
				t.Errorf("second sync: %v", err)
			}
			if l.SyncedOffset() != 0 {
				t.Errorf("synced offset is %d", l.SyncedOffset())
			}
			if _, _, err := other.Append(batchOf(0, 1, "x"), 0); !errors.Is(err, ErrOffline) {
				t.Errorf("append: %v", err)
			}
			if _, err := l.Read(0, 1, 100, true); !errors.Is(err, ErrOffline) {
				t.Errorf("read: %v", err)
			}
			if _, err := d.Open("c", 0, topicID("c"), Config{}, nil); !errors.Is(err, ErrOffline) {
				t.Errorf("open: %v", err)
			}
			if err := d.close(); !errors.Is(err, ErrOffline) {
				t.Errorf("stop: %v", err)
			}
			if _, err := fsys.Stat(dataDir + "/" + layout.CleanFile); err == nil {
				t.Error("marker of a clean stop after a failure")
			}
		})
	}
}

func TestAFailedWriteTakesTheDirectoryOffline(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", Config{}, nil)
	mustAppend(t, l, batchOf(0, 1, "x"))
	fsys.OnOp(env.FailNth(env.OpWrite, 1, errors.New("input/output error")))
	if _, _, err := l.Append(batchOf(0, 1, "y"), 0); !errors.Is(err, ErrOffline) {
		t.Fatalf("append: %v", err)
	}
	if _, _, err := l.Append(batchOf(0, 1, "y"), 0); !errors.Is(err, ErrOffline) {
		t.Fatalf("second append: %v", err)
	}
}

func TestAFullDiskRefusesAppendsAndNothingElse(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", Config{SegmentBytes: 4000}, &tally{})
	payload := strings.Repeat("x", 700)
	want := int64(0)
	fsys.SetCapacity(10000)
	var err error
	for err == nil {
		if _, _, err = l.Append(batchOf(0, 1, payload), 0); err == nil {
			want++
		}
	}
	if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrOffline) {
		t.Fatalf("append on a full disk: %v", err)
	}
	if data, err := readAll(l, 0); err != nil || l.EndOffset() != want {
		t.Fatalf("log of %d offsets reads %d bytes: %v", l.EndOffset(), len(data), err)
	}
	fsys.SetCapacity(0)
	for range 9 {
		mustAppend(t, l, batchOf(0, 1, payload))
		want++
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	disk, _ := fsys.Crash(env.KeepNothing, 0)
	l = openLog(t, openDir(t, disk, DirOptions{}), "a", Config{SegmentBytes: 4000}, &tally{})
	if l.EndOffset() != want {
		t.Errorf("after a power cut the log ends at %d, not %d", l.EndOffset(), want)
	}
	if data, err := readAll(l, 0); err != nil || bytes.Count(data, []byte(payload)) != int(want) {
		t.Errorf("read: %d records, %v", bytes.Count(data, []byte(payload)), err)
	}
}
