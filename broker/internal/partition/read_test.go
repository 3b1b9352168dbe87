package partition_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

func TestReadsSeeWhatTheirKindMaySee(t *testing.T) {
	r := newRig(t, nil)
	r.p.Lead(3)
	r.append(batch(3))
	r.append(batch(2))
	r.sync()
	r.append(transactional(5, 2)) // 5..6
	r.append(batch(1))            // 7
	r.sync()
	r.append(batch(4)) // 8..11, not synced
	cases := map[string]struct {
		r       partition.ReadRequest
		first   int64
		batches int
		want    error
	}{
		"from the start":                   {partition.ReadRequest{Offset: 0}, 0, 4, nil},
		"inside a batch":                   {partition.ReadRequest{Offset: 2}, 0, 4, nil},
		"at a batch":                       {partition.ReadRequest{Offset: 3}, 3, 3, nil},
		"the last durable batch":           {partition.ReadRequest{Offset: 7}, 7, 1, nil},
		"at the high watermark":            {partition.ReadRequest{Offset: 8}, 0, 0, nil},
		"above the high watermark":         {partition.ReadRequest{Offset: 10}, 0, 0, nil},
		"at the log end":                   {partition.ReadRequest{Offset: 12}, 0, 0, nil},
		"beyond the log end":               {partition.ReadRequest{Offset: 13}, 0, 0, kerr.OffsetOutOfRange},
		"before the log start":             {partition.ReadRequest{Offset: -1}, 0, 0, kerr.OffsetOutOfRange},
		"a replica":                        {partition.ReadRequest{Offset: 8, Replica: true}, 8, 1, nil},
		"committed, before a transaction":  {partition.ReadRequest{Offset: 3, ReadCommitted: true}, 3, 1, nil},
		"committed, inside a transaction":  {partition.ReadRequest{Offset: 5, ReadCommitted: true}, 0, 0, nil},
		"committed, behind a transaction":  {partition.ReadRequest{Offset: 7, ReadCommitted: true}, 0, 0, nil},
		"too little room, but one batch":   {partition.ReadRequest{Offset: 0, MaxBytes: 1, MinOne: true}, 0, 1, nil},
		"too little room":                  {partition.ReadRequest{Offset: 0, MaxBytes: 1}, 0, 0, nil},
		"the right epoch":                  {partition.ReadRequest{Offset: 0, CurrentEpoch: 3}, 0, 4, nil},
		"an older epoch":                   {partition.ReadRequest{Offset: 0, CurrentEpoch: 2}, 0, 0, kerr.FencedLeaderEpoch},
		"a newer epoch":                    {partition.ReadRequest{Offset: 0, CurrentEpoch: 4}, 0, 0, kerr.UnknownLeaderEpoch},
		"a newer epoch out of range, also": {partition.ReadRequest{Offset: 99, CurrentEpoch: 4}, 0, 0, kerr.UnknownLeaderEpoch},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.r.CurrentEpoch == 0 {
				c.r.CurrentEpoch = -1
			}
			if c.r.MaxBytes == 0 {
				c.r.MaxBytes = 1 << 20
			}
			res, err := r.p.Read(c.r)
			if !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			got := contents(t, res.Range)
			if len(got) != c.batches || len(got) > 0 && got[0].BaseOffset() != c.first {
				t.Fatalf("%d batches", len(got))
			}
			if err == nil && (res.HighWatermark != 8 || res.LastStable != 5 || res.LogStart != 0) {
				t.Fatalf("%+v", res)
			}
		})
	}
	if n, m := r.p.ReadableBytes(0, false), r.p.ReadableBytes(5, true); n == 0 || m != 0 || r.p.ReadableBytes(99, false) != 0 {
		t.Fatal(n, m)
	}
}

func TestTransactionsHoldReadersBackUntilTheirMarkerIsDurable(t *testing.T) {
	r := newRig(t, nil)
	in := partition.AppendRequest{Acks: 1, Internal: true, CurrentEpoch: -1}
	var got answers
	r.append(transactional(5, 2))
	r.append(transactional(6, 1))
	r.p.Append(record.NewEndTxn(5, 0, record.Control{Type: record.Abort}, 0), in, &got) // 3
	if r.p.LastStable() != 0 {
		t.Fatal(r.p.LastStable())
	}
	r.sync()
	if r.p.LastStable() != 2 || r.p.HighWatermark() != 4 {
		t.Fatal(r.p.LastStable(), r.p.HighWatermark())
	}
	if a := r.append(batch(1)); a.err != nil {
		t.Fatal(a.err)
	}
	if a := r.append(idempotent(6, 1, 1)); !errors.Is(a.err, kerr.InvalidTxnState) {
		t.Fatal(a.err)
	}
	r.p.Append(record.NewEndTxn(6, 0, record.Control{Type: record.Commit}, 0), in, &got) // 5
	r.sync()
	if r.p.LastStable() != 6 {
		t.Fatal(r.p.LastStable())
	}
	want := []commitlog.AbortedTxn{{ProducerID: 5, First: 0, Last: 3, LastStable: 2}}
	check := func() {
		t.Helper()
		res, err := r.p.Read(partition.ReadRequest{MaxBytes: 1 << 20, ReadCommitted: true, CurrentEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		res.Range.Release()
		if d := cmp.Diff(want, res.Aborted); d != "" {
			t.Fatal(d)
		}
	}
	check()
	r.reopen()
	check()
	if res, err := r.p.Read(partition.ReadRequest{MaxBytes: 1 << 20, CurrentEpoch: -1}); err != nil || res.Aborted != nil {
		t.Fatal("uncommitted readers need no list", err)
	}
}

func TestOffsetsByTime(t *testing.T) {
	r := newRig(t, nil)
	r.p.Lead(2)
	r.append(stampedNull(10, 30, 20)) // 0..2
	r.append(stampedNull(40, 50))     // 3..4
	r.sync()
	r.p.Lead(3)
	r.append(transactional(5, 1)) // 5
	r.append(stampedNull(60))     // 6
	r.sync()
	late := time.Now().Add(time.Hour).UnixMilli()
	r.append(stampedNull(late)) // 7, not synced
	type place struct {
		Offset, Timestamp int64
		Epoch             int32
	}
	none := place{-1, -1, -1}
	cases := map[string]struct {
		ts        int64
		committed bool
		want      place
	}{
		"latest":                     {partition.TimeLatest, false, place{7, -1, 3}},
		"latest, committed":          {partition.TimeLatest, true, place{5, -1, 3}},
		"earliest":                   {partition.TimeEarliest, false, place{0, -1, 2}},
		"earliest local":             {partition.TimeEarliestLocal, false, place{0, -1, 2}},
		"latest tiered":              {partition.TimeLatestTiered, false, none},
		"earliest to upload":         {partition.TimeEarliestUpload, false, none},
		"before all":                 {0, false, place{0, 10, 2}},
		"inside a batch":             {11, false, place{1, 30, 2}},
		"exactly":                    {40, false, place{3, 40, 2}},
		"between batches":            {31, false, place{3, 40, 2}},
		"above the last stable":      {51, true, none},
		"above the high watermark":   {late, false, none},
		"the largest is not durable": {partition.TimeMax, false, none},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got place
			var err error
			got.Offset, got.Timestamp, got.Epoch, err = r.p.OffsetForTime(c.ts, c.committed, -1)
			if d := cmp.Diff(c.want, got); d != "" || err != nil {
				t.Fatal(err, d)
			}
		})
	}
	r.sync()
	if o, ts, epoch, err := r.p.OffsetForTime(partition.TimeMax, false, 3); o != 7 || ts != late || epoch != 3 || err != nil {
		t.Fatal(o, ts, epoch, err)
	}
	if _, _, _, err := r.p.OffsetForTime(0, false, 2); !errors.Is(err, kerr.FencedLeaderEpoch) {
		t.Fatal(err)
	}
	if _, _, _, err := r.p.OffsetForTime(-99, false, -1); !errors.Is(err, kerr.UnsupportedVersion) {
		t.Fatal(err)
	}
	if epoch, end, err := r.p.EpochEnd(-1, 2); epoch != 2 || end != 5 || err != nil {
		t.Fatal(epoch, end, err)
	}
	if epoch, end, err := r.p.EpochEnd(3, 3); epoch != 3 || end != 8 || err != nil {
		t.Fatal(epoch, end, err)
	}
	if _, _, err := r.p.EpochEnd(9, 3); !errors.Is(err, kerr.UnknownLeaderEpoch) {
		t.Fatal(err)
	}
}

func TestDeleteRecords(t *testing.T) {
	r := newRig(t, nil)
	r.append(batch(3))
	r.append(batch(3))
	r.sync()
	r.append(batch(1))
	for _, c := range []struct {
		offset, low int64
		want        error
	}{
		{2, 2, nil}, {1, 2, nil}, {7, -1, kerr.OffsetOutOfRange}, {-2, -1, kerr.OffsetOutOfRange}, {-1, 6, nil},
	} {
		if low, err := r.p.DeleteRecords(c.offset); low != c.low || !errors.Is(err, c.want) {
			t.Fatalf("%d: %d, %v", c.offset, low, err)
		}
	}
	if _, err := r.p.Read(partition.ReadRequest{Offset: 5, MaxBytes: 100, CurrentEpoch: -1}); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Fatal(err)
	}
	if o, _, epoch, err := r.p.OffsetForTime(partition.TimeEarliest, false, -1); o != 6 || epoch != 1 || err != nil {
		t.Fatal(o, epoch, err)
	}
	r.p.SetConfig(partition.Config{Compact: true})
	if _, err := r.p.DeleteRecords(-1); !errors.Is(err, kerr.PolicyViolation) {
		t.Fatal(err)
	}
	r.p.Follow(2)
	if _, err := r.p.DeleteRecords(-1); !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Fatal(err)
	}
}

type counter struct{ n int }

func (c *counter) Advanced(*partition.Partition) { c.n++ }

func TestWatchersAreToldOfWhatTheyMayRead(t *testing.T) {
	r := newRig(t, nil)
	var a, b, c counter
	watchA, watchB, watchC := partition.Watch{Watcher: &a}, partition.Watch{Watcher: &b}, partition.Watch{Watcher: &c}
	for _, w := range []*partition.Watch{&watchA, &watchB, &watchC} {
		r.p.Watch(w)
	}
	for range 5 {
		r.append(batch(1))
	}
	if a.n != 0 {
		t.Fatal("told before anything is durable")
	}
	r.sync()
	if a.n != 1 || b.n != 1 {
		t.Fatal("one sync, one call:", a.n, b.n)
	}
	watchA.Cancel()
	watchA.Cancel()
	r.append(batch(1))
	r.sync()
	if a.n != 1 || b.n != 2 || c.n != 2 {
		t.Fatal(a.n, b.n, c.n)
	}
	if _, err := r.p.DeleteRecords(-1); err != nil || b.n != 3 {
		t.Fatal(err, b.n)
	}
	r.p.Follow(2)
	r.p.Lead(3)
	r.p.Close(errors.New("gone"))
	if b.n != 6 || c.n != 6 {
		t.Fatal(b.n, c.n)
	}
	watchC.Cancel()
	watchB.Cancel()
	new(partition.Watch).Cancel()
}

func TestPageCacheReadersSeeEveryAppendAtOnce(t *testing.T) {
	r := newRig(t, func(o *partition.Options) { o.Config.Durability = commitlog.PageCache })
	var w counter
	watch := partition.Watch{Watcher: &w}
	r.p.Watch(&watch)
	defer watch.Cancel()
	r.append(batch(2))
	if w.n != 1 || r.p.HighWatermark() != 2 || len(r.read(0)) != 1 {
		t.Fatal(w.n, r.p.HighWatermark())
	}
}

func TestWhoCatchesUpFindsWhatWasAppendedBefore(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(r *rig, cancel context.CancelFunc)
		want int64
	}{
		"synced":    {func(r *rig, _ context.CancelFunc) { r.sync() }, 3},
		"deadline":  {func(*rig, context.CancelFunc) { time.Sleep(time.Second) }, 0}, // the bubble's clock moves, nobody waits
		"cancelled": {func(_ *rig, cancel context.CancelFunc) { cancel() }, 0},
		"closed":    {func(r *rig, _ context.CancelFunc) { r.p.Close(errDisk) }, 0},
		"follows":   {func(r *rig, _ context.CancelFunc) { r.p.Follow(2) }, 0},
		"sync fails": {func(r *rig, _ context.CancelFunc) {
			r.fs.(*env.MemFS).OnOp(env.FailNth(env.OpSync, 1, errDisk))
			_ = r.log.Sync()
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r.p.CatchUp(ctx, time.Now().Add(time.Second)) // there is nothing to wait for
				r.append(batch(3))
				var caught atomic.Bool
				go func() {
					r.p.CatchUp(ctx, time.Now().Add(time.Second))
					caught.Store(true)
				}()
				synctest.Wait()
				if caught.Load() || !r.p.Behind() {
					t.Fatal("caught up with what is not synced")
				}
				c.end(r, cancel)
				synctest.Wait()
				if !caught.Load() || r.p.HighWatermark() != c.want {
					t.Fatalf("returned: %v, high watermark %d", caught.Load(), r.p.HighWatermark())
				}
				if name != "deadline" && name != "cancelled" {
					r.p.CatchUp(t.Context(), time.Now().Add(time.Hour)) // in vain, or not needed
				}
			})
		})
	}
}

func TestSettingPageCacheReleasesWhoWaits(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	r.p.Append(batch(1), partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}, &got)
	r.p.SetConfig(partition.Config{Durability: commitlog.PageCache})
	if a := got.only(t); a.err != nil {
		t.Fatal(a.err)
	}
}

func TestIdleProducersAreForgotten(t *testing.T) {
	r := newRig(t, nil)
	r.append(idempotent(5, 0, 1))
	if n := r.p.ExpireProducers(time.Hour); n != 0 || len(r.p.Producers()) != 1 {
		t.Fatal(n)
	}
	if n := r.p.ExpireProducers(0); n != 1 || len(r.p.Producers()) != 0 {
		t.Fatal(n)
	}
}

func TestNames(t *testing.T) {
	r := newRig(t, nil)
	if r.p.Topic() != "t" || r.p.Index() != 4 || r.p.TopicID() != [16]byte{1} {
		t.Fatal(r.p.Topic(), r.p.Index())
	}
	r.append(batch(1))
	if s := r.p.Status(); s.End != 1 || s.Size == 0 || s.Start != 0 || !s.Leader || s.Epoch != 1 {
		t.Fatalf("%+v", s)
	}
}
