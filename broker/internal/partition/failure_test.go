package partition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

var errDisk = errors.New("disk says no")

func TestAFailedSyncIsToldToEveryoneWhoWaits(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, nil)
	r.append(idempotent(5, 0, 1))
	r.sync()
	var got answers
	all := partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}
	r.p.Append(idempotent(5, 1, 1), all, &got)
	r.p.Append(batch(1), all, &got)
	fs.OnOp(env.FailNth(env.OpSync, 1, errDisk))
	if err := r.log.Sync(); !errors.Is(err, commitlog.ErrOffline) {
		t.Fatal(err)
	}
	r.p.Append(idempotent(5, 1, 1), all, &got) // the batch that will never be durable, again
	r.p.Append(batch(1), all, &got)
	if got.len() != 4 {
		t.Fatal(got.len())
	}
	for i, a := range got.all() {
		if !errors.Is(a.err, commitlog.ErrOffline) {
			t.Fatalf("%d: %v", i, a.err)
		}
	}
	if r.p.HighWatermark() != 1 {
		t.Fatal("the high watermark passed a failed sync", r.p.HighWatermark())
	}
}

func TestAFailedWriteIsNotADefiniteRefusal(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, nil)
	fs.OnOp(env.FailNth(env.OpWrite, 1, errDisk))
	a := r.append(batch(1))
	var protocol *kerr.Error
	if !errors.Is(a.err, commitlog.ErrOffline) || errors.As(a.err, &protocol) || a.r.BaseOffset != -1 {
		t.Fatalf("%+v", a)
	}
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, nil)
	r.append(idempotent(5, 0, 1))
	r.sync()
	fs.SetCapacity(1)
	if a := r.append(idempotent(5, 1, 1)); !errors.Is(a.err, commitlog.ErrNoSpace) {
		t.Fatal(a.err)
	}
	if n := len(r.read(0)); n != 1 {
		t.Fatal("reads go on", n)
	}
	fs.SetCapacity(0)
	if a := r.append(idempotent(5, 1, 1)); a.err != nil || a.r.BaseOffset != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestABatchLargerThanASegmentIsRefused(t *testing.T) {
	r := newRig(t, nil)
	b := record.NewBuilder(record.Options{})
	b.Append(0, []byte("k"), make([]byte, 16<<10), nil)
	if a := r.append(b.Build()); !errors.Is(a.err, commitlog.ErrTooLarge) || r.log.EndOffset() != 0 {
		t.Fatal(a.err)
	}
}

func TestReadErrorsOfTheDiskReachTheReader(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, nil)
	r.append(stampedNull(5))
	r.sync()
	fs.OnOp(func(op env.Op) error {
		if op.Kind == env.OpRead || op.Kind == env.OpOpen {
			return errDisk
		}
		return nil
	})
	if _, _, _, err := r.p.OffsetForTime(1, false, -1); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	res, err := r.p.Read(partition.ReadRequest{MaxBytes: 1 << 20, CurrentEpoch: -1})
	if err == nil {
		_, err = res.Range.ReadAt(make([]byte, 10), 0)
		res.Range.Release()
	}
	if !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
}

func TestRecoveredTailIsServedAtOnce(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, nil)
	r.append(batch(2))
	after, _ := fs.Crash(env.KeepAll, 1) // the process died, the machine did not
	r2 := openRig(t, after, nil)
	if s := r2.p.Status(); s.HighWatermark != 2 || r2.log.SyncedOffset() != 2 {
		t.Fatalf("%+v", s)
	}
}
