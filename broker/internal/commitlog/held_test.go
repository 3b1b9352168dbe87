package commitlog

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// heldRig is a log on which something is appended while a sync of it is at work.
type heldRig struct {
	t     *testing.T
	fs    *env.MemFS
	dir   *Dir
	log   *Log
	wrote []int // bytes of the writes to segments
}

func newHeldRig(t *testing.T, c Config) *heldRig {
	r := &heldRig{t: t, fs: env.NewMemFS()}
	r.dir = openDir(t, r.fs, DirOptions{})
	r.log = openLog(t, r.dir, "a", c, &tally{})
	return r
}

var held = Config{SegmentBytes: 4 << 20, Preallocate: true}

// syncWhile appends one batch and syncs it, and calls f while that is at work.
func (r *heldRig) syncWhile(f func()) {
	r.t.Helper()
	mustAppend(r.t, r.log, batchOf(0, 1, "first"))
	r.fs.OnOp(func(op env.Op) error {
		switch {
		case op.Kind == env.OpSync && strings.HasSuffix(op.Name, ".log") && f != nil:
			g := f
			f = nil
			g()
		case op.Kind == env.OpWrite && strings.HasSuffix(op.Name, ".log"):
			r.wrote = append(r.wrote, op.Bytes)
		}
		return nil
	})
	if err := r.log.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *heldRig) forSync(batches ...[]byte) {
	r.t.Helper()
	for _, b := range batches {
		if _, _, err := r.log.AppendForSync(b, 0); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestAppendsWaitInMemoryWhileTheirLogIsSynced(t *testing.T) {
	r := newHeldRig(t, held)
	one, two := batchOf(0, 2, "second"), batchOf(0, 3, "third", "fourth")
	r.syncWhile(func() { r.forSync(one, two) })
	size := r.log.Size()
	if len(r.wrote) != 0 || r.log.EndOffset() != 4 || r.log.SyncedOffset() != 1 {
		t.Fatalf("wrote %d, end %d, synced %d", r.wrote, r.log.EndOffset(), r.log.SyncedOffset())
	}
	if err := r.log.Sync(); err != nil {
		t.Fatal(err)
	}
	if len(r.wrote) != 1 || r.wrote[0] != len(one)+len(two) {
		t.Errorf("the next round wrote %d, not %d at once", r.wrote, len(one)+len(two))
	}
	if r.log.SyncedOffset() != 4 || r.log.Size() != size+int64(len(one)+len(two)) {
		t.Errorf("synced %d, size %d", r.log.SyncedOffset(), r.log.Size())
	}
	mustAppend(t, r.log, batchOf(0, 4, "fifth"))
	r.forSync(batchOf(0, 5, "sixth")) // no round is at work
	if len(r.wrote) != 3 {
		t.Errorf("wrote %d", r.wrote)
	}
}

func TestAppendsAreNotHeld(t *testing.T) {
	big := strings.Repeat("x", 600_000)
	for name, c := range map[string]struct {
		config Config
		append func(r *heldRig)
	}{
		"whose producer does not wait": {held, func(r *heldRig) { mustAppend(r.t, r.log, batchOf(0, 2, "second")) }},
		"in mode PageCache":            {Config{SegmentBytes: 4 << 20, Preallocate: true, Durability: PageCache}, func(r *heldRig) { r.forSync(batchOf(0, 2, "second")) }},
		"without reserved space":       {Config{SegmentBytes: 4 << 20}, func(r *heldRig) { r.forSync(batchOf(0, 2, "second")) }},
		"beyond a segment":             {Config{SegmentBytes: 100, Preallocate: true}, func(r *heldRig) { r.forSync(batchOf(0, 2, "second")) }},
		"beyond a MiB":                 {held, func(r *heldRig) { r.forSync(batchOf(0, 2, big), batchOf(0, 2, big)) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHeldRig(t, c.config)
			r.syncWhile(func() { c.append(r) })
			if r.log.Size() == 0 || len(r.wrote) == 0 {
				t.Errorf("wrote %d", r.wrote)
			}
			if _, err := readAll(r.log, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFewLogsOfADirectoryHoldAppends(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	var logs []*Log
	for i := range 70 {
		logs = append(logs, openLog(t, d, fmt.Sprint("t", i), held, nil))
		mustAppend(t, logs[i], batchOf(0, 1, "x"))
	}
	wrote, once := 0, true
	fsys.OnOp(func(op env.Op) error {
		switch {
		case op.Kind == env.OpSyncFS && once:
			once = false
			for _, l := range logs {
				if _, _, err := l.AppendForSync(batchOf(0, 2, "y"), 0); err != nil {
					t.Error(err)
				}
			}
		case op.Kind == env.OpWrite && once == false && strings.HasSuffix(op.Name, ".log"):
			wrote++
		}
		return nil
	})
	if err := d.sync(logs); err != nil {
		t.Fatal(err)
	}
	if wrote != 6 {
		t.Errorf("%d of 70 logs wrote at once", wrote)
	}
	if err := d.sync(logs); err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if l.SyncedOffset() != 2 {
			t.Errorf("%s is synced to %d", l.tp, l.SyncedOffset())
		}
	}
}

func TestWhatIsHeldIsWrittenForWhoeverNeedsIt(t *testing.T) {
	for name, need := range map[string]func(l *Log) error{
		"a reader": func(l *Log) error {
			r, err := l.Read(1, 3, 1000, true)
			if err == nil && r.Len() == 0 {
				err = io.ErrUnexpectedEOF
			}
			r.Release()
			return err
		},
		"a search by time": func(l *Log) error {
			found, _, err := l.OffsetForTime(3, 3)
			return errors.Join(err, wantOffset(found.Offset, 2))
		},
		"the largest timestamp": func(l *Log) error {
			found, _, err := l.MaxTimestamp()
			return errors.Join(err, wantOffset(found.Offset, 2))
		},
		"an append":                  func(l *Log) error { _, _, err := l.Append(batchOf(0, 4, "next"), 0); return err },
		"another durability":         func(l *Log) error { l.SetConfig(Config{SegmentBytes: 4 << 20, Durability: PageCache}); return nil },
		"a cut":                      func(l *Log) error { return l.TruncateTo(2) },
		"a new segment":              func(l *Log) error { l.mu.Lock(); defer l.mu.Unlock(); return l.roll(3) },
		"the next sync":              func(l *Log) error { return l.Sync() },
		"the end of the log's use":   func(l *Log) error { return l.Close() },
		"the end of its directory's": func(l *Log) error { return l.dir.close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newHeldRig(t, held)
			r.syncWhile(func() { r.forSync(batchOf(0, 2, "second"), batchOf(0, 3, "third")) })
			if err := need(r.log); err != nil {
				t.Fatal(err)
			}
			if len(r.wrote) == 0 {
				t.Error("nothing was written")
			}
			b := record.Batch(nil)
			data, err := env.ReadFile(r.fs, dataDir+"/a-0/00000000000000000000.log")
			for want := int64(0); want < 2 && err == nil; want++ {
				if b, data, err = record.Split(data); err == nil {
					err = wantOffset(b.BaseOffset(), want)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func wantOffset(got, want int64) error {
	if got != want {
		return fmt.Errorf("offset %d, not %d", got, want)
	}
	return nil
}

func TestAHeldAppendThatCannotBeWrittenTakesTheDirectoryOffline(t *testing.T) {
	for name, refuse := range map[string]func(r *heldRig){
		"a broken disk":    func(r *heldRig) { r.fs.OnOp(env.FailNth(env.OpWrite, 1, errors.New("input/output error"))) },
		"a broken promise": func(r *heldRig) { r.fs.SetCapacity(1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newHeldRig(t, held)
			var told error
			r.log.OnSync(func(_ int64, err error) { told = err })
			r.syncWhile(func() { r.forSync(batchOf(0, 2, "second")) })
			refuse(r)
			if err := r.log.Sync(); !errors.Is(err, ErrOffline) || !errors.Is(told, ErrOffline) {
				t.Errorf("sync: %v, the listener was told %v", err, told)
			}
			if _, err := r.log.Read(0, 2, 100, true); !errors.Is(err, ErrOffline) {
				t.Errorf("read: %v", err)
			}
			if err := r.dir.close(); !errors.Is(err, ErrOffline) {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

func TestAFullDiskRefusesWhatItWouldHaveToHold(t *testing.T) {
	r := newHeldRig(t, Config{SegmentBytes: 4 << 20, Preallocate: true})
	var err error
	r.fs.SetCapacity(1000)
	r.syncWhile(func() { _, _, err = r.log.AppendForSync(batchOf(0, 2, strings.Repeat("x", 2000)), 0) })
	if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrOffline) || r.log.EndOffset() != 1 {
		t.Errorf("%v, end %d", err, r.log.EndOffset())
	}
}
