package partition_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

func TestAppendAnswersAtOnceUnlessItWaitsForDurability(t *testing.T) {
	cases := map[string]struct {
		durability commitlog.Durability
		acks       int16
		waits      bool
	}{
		"fsync, acks=0":       {commitlog.Fsync, 0, false},
		"fsync, acks=1":       {commitlog.Fsync, 1, false},
		"fsync, acks=all":     {commitlog.Fsync, -1, true},
		"pagecache, acks=1":   {commitlog.PageCache, 1, false},
		"pagecache, acks=all": {commitlog.PageCache, -1, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *partition.Options) { o.Config.Durability = c.durability })
			var got answers
			r.p.Append(batch(3), partition.AppendRequest{Acks: c.acks, Timeout: time.Hour, CurrentEpoch: -1, Token: 7}, &got)
			if waiting := got.len() == 0; waiting != c.waits || r.p.Status().Waiting != got.missing(1) {
				t.Fatalf("waits: %v, want %v", waiting, c.waits)
			}
			if c.waits && r.p.HighWatermark() != 0 {
				t.Fatal("the high watermark passed what is synced")
			}
			r.sync()
			a := got.only(t)
			if a.err != nil || a.token != 7 || a.r.BaseOffset != 0 || a.r.LogAppendTime != -1 || r.p.HighWatermark() != 3 {
				t.Fatalf("%+v", a)
			}
		})
	}
}

// TestOnlyWhoWaitsForASyncIsKeptInMemory appends while a sync is at work: what is answered at once must
// survive that the process is killed.
func TestOnlyWhoWaitsForASyncIsKeptInMemory(t *testing.T) {
	for acks, written := range map[int16]bool{partition.AcksAll: false, partition.AcksLeader: true, partition.AcksNone: true} {
		fs := env.NewMemFS()
		r := openRig(t, fs, nil)
		r.p.Append(batch(1), partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}, new(answers))
		size := r.log.Size()
		var got answers
		fs.OnOp(func(op env.Op) error {
			if op.Kind == env.OpSync && strings.HasSuffix(op.Name, ".log") && r.log.EndOffset() == 1 {
				r.p.Append(batch(1), partition.AppendRequest{Acks: acks, Timeout: time.Hour, CurrentEpoch: -1}, &got)
			}
			return nil
		})
		r.sync()
		if grown := r.log.Size() > size; grown != written || got.len() == 1 != written {
			t.Errorf("acks=%d: written %v, answered %v, want %v", acks, grown, got.len() == 1, written)
		}
		r.sync()
		if a := got.only(t); a.err != nil || a.r.BaseOffset != 1 || r.p.HighWatermark() != 2 || r.log.Size() == size {
			t.Errorf("acks=%d: %+v, high watermark %d", acks, a, r.p.HighWatermark())
		}
		r.close()
	}
}

func TestAcksAllAreAnsweredInTheOrderOfAppends(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	for i := range 10 {
		r.p.Append(batch(1), partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1, Token: i}, &got)
	}
	r.sync()
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got.tokens(), want) {
		t.Fatal(got.tokens())
	}
	for i, a := range got.all() {
		if a.err != nil || a.r.BaseOffset != int64(i) {
			t.Fatalf("%+v", a)
		}
	}
}

func TestRefusedBatchesAreNotAppended(t *testing.T) {
	now := time.Now()
	stamped := func(ms ...int64) []byte {
		b := record.NewBuilder(record.Options{})
		for _, m := range ms {
			b.Append(m, []byte("k"), nil, nil)
		}
		return b.Build()
	}
	limits := func(o *partition.Options) { o.Config.AfterMax, o.Config.BeforeMax = time.Hour, time.Hour }
	compacted := func(o *partition.Options) { o.Config.Compact = true; limits(o) }
	keyless := func(ms int64) []byte {
		b := record.NewBuilder(record.Options{})
		b.Append(now.UnixMilli(), []byte("k"), nil, nil)
		b.Append(ms, nil, []byte("v"), nil)
		b.Append(now.UnixMilli(), []byte{}, nil, nil)
		return b.Build()
	}
	noKey := partition.RecordError{Index: 1, Message: "a compacted topic takes no record without a key"}
	badTime := func(i int32) partition.RecordError {
		return partition.RecordError{Index: i, Message: "the timestamp is out of the topic's range"}
	}
	late, early := now.Add(2*time.Hour).UnixMilli(), now.Add(-2*time.Hour).UnixMilli()
	cases := map[string]struct {
		options func(*partition.Options)
		bytes   []byte
		request partition.AppendRequest
		want    error
		records []partition.RecordError
	}{
		"no bytes":                            {want: kerr.InvalidRecord},
		"half a batch":                        {bytes: batch(1)[:70], want: kerr.InvalidRecord},
		"two batches":                         {bytes: append(batch(1), batch(1)...), want: kerr.InvalidRecord},
		"a damaged batch":                     {bytes: edit(batch(1), false, func(b record.Batch) { b[len(b)-1]++ }), want: kerr.CorruptMessage},
		"a message set of magic 1":            {bytes: edit(batch(1), false, func(b record.Batch) { b[16] = 1 }), want: kerr.InvalidRecord},
		"no records":                          {bytes: edit(batch(1), true, func(b record.Batch) { b[60] = 0 }), want: kerr.InvalidRecord},
		"a base offset":                       {bytes: edit(batch(1), false, func(b record.Batch) { b.SetBaseOffset(4) }), want: kerr.InvalidRecord},
		"a control batch":                     {bytes: record.NewEndTxn(1, 1, record.Control{}, 0), want: kerr.InvalidRecord},
		"log append time set by the producer": {bytes: edit(batch(1), true, func(b record.Batch) { b[22] |= 8 }), want: kerr.InvalidTimestamp},
		"larger than max.message.bytes":       {options: func(o *partition.Options) { o.Config.MaxMessageBytes = 61 }, bytes: batch(1), want: kerr.MessageTooLarge},
		"zstd in an old Produce":              {bytes: packed(compress.Zstd), request: partition.AppendRequest{ProduceVersion: 6}, want: kerr.UnsupportedCompressionType},
		"too far in the future":               {options: limits, bytes: stamped(late), want: kerr.InvalidTimestamp, records: []partition.RecordError{badTime(0)}},
		"too far in the past":                 {options: limits, bytes: stamped(now.UnixMilli(), early), want: kerr.InvalidTimestamp, records: []partition.RecordError{badTime(1)}},
		"a null key on a compacted topic":     {options: compacted, bytes: keyless(now.UnixMilli()), want: kerr.InvalidRecord, records: []partition.RecordError{noKey}},
		"a null key and a bad timestamp":      {options: compacted, bytes: stampedNull(now.UnixMilli(), early), want: kerr.InvalidRecord, records: []partition.RecordError{{Index: 0, Message: noKey.Message}, badTime(1)}},
		"records that do not decode, deep":    {options: func(o *partition.Options) { o.Config.Deep = true }, bytes: edit(batch(2), true, func(b record.Batch) { b[64] = 8 }), want: kerr.InvalidRecord},
		"a body that does not decompress":     {options: compacted, bytes: edit(packed(compress.Gzip), true, func(b record.Batch) { b[63] = 9 }), want: kerr.InvalidRecord},
		"a bomb":                              {options: func(o *partition.Options) { o.Config.Deep, o.Config.MaxDecompressed = true, 10 }, bytes: packed(compress.Zstd), want: kerr.InvalidRecord},
		"acks of 2":                           {bytes: batch(1), request: partition.AppendRequest{Acks: 2}, want: kerr.InvalidRequiredAcks},
		"an older leader epoch":               {bytes: batch(1), request: partition.AppendRequest{CurrentEpoch: 2}, want: kerr.FencedLeaderEpoch},
		"a newer leader epoch":                {bytes: batch(1), request: partition.AppendRequest{CurrentEpoch: 4}, want: kerr.UnknownLeaderEpoch},
		"too few replicas for acks=all":       {options: func(o *partition.Options) { o.Config.MinISR = 2 }, bytes: batch(1), request: partition.AppendRequest{Acks: -1}, want: kerr.NotEnoughReplicas},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.options)
			r.p.Lead(3)
			if c.request.CurrentEpoch == 0 {
				c.request.CurrentEpoch = -1
			}
			if c.request.ProduceVersion == 0 {
				c.request.ProduceVersion = 9
			}
			var got answers
			r.p.Append(slices.Clone(c.bytes), c.request, &got)
			a := got.only(t)
			if !errors.Is(a.err, c.want) || a.r.BaseOffset != -1 {
				t.Fatalf("got %v, %+v", a.err, a.r)
			}
			if d := cmp.Diff(c.records, a.r.RecordErrors); d != "" {
				t.Fatal(d)
			}
			if end := r.log.EndOffset(); end != 0 {
				t.Fatalf("log end %d", end)
			}
			if r.meter.refused != 1 {
				t.Fatal("not counted")
			}
		})
	}
}

func TestWhatTheRulesAllow(t *testing.T) {
	now := time.Now().UnixMilli()
	cases := map[string]struct {
		options func(*partition.Options)
		bytes   []byte
		version int16
	}{
		"zstd from Produce 7 on":               {bytes: packed(compress.Zstd), version: 7},
		"too few replicas without acks=all":    {options: func(o *partition.Options) { o.Config.MinISR = 2 }, bytes: batch(1)},
		"no timestamp at all":                  {options: func(o *partition.Options) { o.Config.BeforeMax = time.Hour }, bytes: stampedNull(-1)},
		"an old timestamp without a limit":     {options: func(o *partition.Options) { o.Config.AfterMax = time.Hour }, bytes: stampedNull(1)},
		"old timestamps under log append time": {options: func(o *partition.Options) { o.Config.LogAppendTime = true; o.Config.BeforeMax = time.Nanosecond }, bytes: stampedNull(1)},
		"empty keys on a compacted topic":      {options: func(o *partition.Options) { o.Config.Compact = true }, bytes: batch(2)},
		"a header that overstates timestamps": {
			options: func(o *partition.Options) { o.Config.AfterMax = time.Hour },
			bytes:   edit(stampedNull(now), true, func(b record.Batch) { binary.BigEndian.PutUint64(b[35:], uint64(now+1e9)) }),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.options)
			var got answers
			r.p.Append(c.bytes, partition.AppendRequest{Acks: 1, CurrentEpoch: -1, ProduceVersion: max(c.version, 7)}, &got)
			if a := got.only(t); a.err != nil {
				t.Fatal(a.err, a.r.Message)
			}
			r.sync()
			if got := r.read(0); len(got) == 0 || got[0].Check() != nil {
				t.Fatal("stored batch is broken")
			}
			if r.meter.batches != 1 || r.meter.records != int(r.log.EndOffset()) {
				t.Fatal("not counted", r.meter.batches, r.meter.records)
			}
		})
	}
}

func TestMaxTimestampIsCorrectedWhereRecordsAreWalked(t *testing.T) {
	r := newRig(t, func(o *partition.Options) { o.Config.Deep = true })
	r.append(edit(stampedNull(5, 9, 7), true, func(b record.Batch) { b[42] = 200 }))
	r.sync()
	if got := r.read(0)[0]; got.MaxTimestamp() != 9 || got.Check() != nil {
		t.Fatal(got.MaxTimestamp())
	}
}

func TestLogAppendTimeIsTheBrokersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *partition.Options) { o.Config.LogAppendTime = true })
		first := time.Now().UnixMilli()
		b := idempotent(5, 0, 2)
		if a := r.append(slices.Clone(b)); a.err != nil || a.r.LogAppendTime != first {
			t.Fatalf("%+v", a)
		}
		r.sync()
		for rec, err := range r.read(0)[0].Records(1000) {
			if err != nil || rec.Timestamp != first {
				t.Fatal(rec, err)
			}
		}
		time.Sleep(time.Minute)
		if a := r.append(b); a.err != nil || a.r.LogAppendTime != first || a.r.BaseOffset != 0 {
			t.Fatalf("a duplicate tells the original's time: %+v", a)
		}
	})
}

func TestTopicsMayChooseTheCodec(t *testing.T) {
	r := newRig(t, func(o *partition.Options) { o.Config.Recompress, o.Config.Codec = true, compress.LZ4 })
	r.append(packed(compress.Gzip))
	r.append(batch(1))
	r.append(packed(compress.LZ4))
	r.sync()
	for _, b := range r.read(0) {
		if b.Codec() != compress.LZ4 || b.Check() != nil {
			t.Fatal(b.Codec())
		}
	}
	r.p.SetConfig(partition.Config{Recompress: true, Codec: 7})
	if a := r.append(batch(1)); !errors.Is(a.err, kerr.UnsupportedCompressionType) {
		t.Fatal(a.err)
	}
}

func TestDuplicatesAreAnsweredLikeTheOriginal(t *testing.T) {
	r := newRig(t, nil)
	r.append(batch(2))
	var got answers
	all := partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}
	r.p.Append(idempotent(5, 0, 3), all, &got)
	r.p.Append(idempotent(5, 3, 1), all, &got)
	r.p.Append(idempotent(5, 0, 3), all, &got) // again, before anything is synced
	if got.len() != 0 {
		t.Fatal("a duplicate of an unsynced batch was answered")
	}
	r.sync()
	r.p.Append(idempotent(5, 0, 3), all, &got) // again, now that it is durable
	want := []int64{2, 5, 2, 2}
	for i, a := range got.all() {
		if a.err != nil || a.r.BaseOffset != want[i] {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	if got.len() != 4 || r.log.EndOffset() != 6 {
		t.Fatal(got.len(), r.log.EndOffset())
	}
	if a := r.append(idempotent(5, 9, 1)); !errors.Is(a.err, kerr.OutOfOrderSequenceNumber) {
		t.Fatal(a.err)
	}
	if n := len(r.p.Producers()); n != 1 {
		t.Fatal(n)
	}
}

func TestAppendsTimeOutAndTheirDataStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		var got answers
		for i, d := range []time.Duration{3 * time.Second, time.Second, 2 * time.Second} {
			r.p.Append(batch(1), partition.AppendRequest{Acks: -1, Timeout: d, CurrentEpoch: -1, Token: i}, &got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(got.tokens(), []int{1}) || !errors.Is(got.all()[0].err, kerr.RequestTimedOut) {
			t.Fatal(got.all())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(got.tokens(), []int{1, 2}) {
			t.Fatal(got.tokens())
		}
		r.sync()
		time.Sleep(time.Hour)
		synctest.Wait()
		if !slices.Equal(got.tokens(), []int{1, 2, 0}) || got.all()[2].err != nil || r.p.HighWatermark() != 3 {
			t.Fatal(got.all())
		}
		r.p.Append(batch(1), partition.AppendRequest{Acks: -1, CurrentEpoch: -1, Token: 9}, &got) // no time at all
		synctest.Wait()
		if a := got.all()[3]; a.token != 9 || !errors.Is(a.err, kerr.RequestTimedOut) {
			t.Fatal(a)
		}
	})
}

func TestClosingAnswersEveryone(t *testing.T) {
	gone := errors.New("gone")
	cases := map[string]struct {
		end  func(p *partition.Partition)
		want error
	}{
		"close":  {func(p *partition.Partition) { p.Close(gone); p.Close(errors.New("again")) }, gone},
		"follow": {func(p *partition.Partition) { p.Follow(2) }, kerr.NotLeaderForPartition},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			var got answers
			for range 3 {
				r.p.Append(batch(1), partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}, &got)
			}
			c.end(r.p)
			r.p.Append(batch(1), partition.AppendRequest{Acks: 1, CurrentEpoch: -1}, &got)
			if got.len() != 4 {
				t.Fatal(got.len())
			}
			for _, a := range got.all() {
				if !errors.Is(a.err, c.want) {
					t.Fatal(a.err)
				}
			}
			_, err := r.p.Read(partition.ReadRequest{CurrentEpoch: -1})
			if !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			r.sync() // a sync that comes later disturbs nobody
			if r.p.HighWatermark() != 0 {
				t.Fatal("moved without leading")
			}
		})
	}
}

func TestLeadershipOnlyGoesForward(t *testing.T) {
	r := newRig(t, nil)
	r.p.Lead(5)
	r.p.Follow(4)
	r.p.Lead(3)
	if s := r.p.Status(); !s.Leader || s.Epoch != 5 {
		t.Fatalf("%+v", s)
	}
	r.p.Follow(6)
	if s := r.p.Status(); s.Leader || s.Epoch != 6 {
		t.Fatalf("%+v", s)
	}
	r.p.Lead(7)
	r.append(batch(1))
	r.sync()
	if b := r.read(0)[0]; b.LeaderEpoch() != 7 {
		t.Fatal(b.LeaderEpoch())
	}
	r.p.Close(errors.New("gone"))
	r.p.Lead(9)
	r.p.Follow(9)
	if s := r.p.Status(); s.Leader || s.Epoch != 7 {
		t.Fatalf("closed for good: %+v", s)
	}
}

func TestInternalAppends(t *testing.T) {
	r := newRig(t, nil)
	in := partition.AppendRequest{Acks: 1, Internal: true, CurrentEpoch: -1}
	var got answers
	r.p.Append(append(batch(2), packed(compress.Zstd)...), in, &got)
	r.p.Append(record.NewEndTxn(5, 1, record.Control{Type: record.Commit, CoordinatorEpoch: 4}, 0), in, &got)
	r.p.Append(record.NewEndTxn(5, 1, record.Control{Type: record.Commit, CoordinatorEpoch: 3}, 0), in, &got)
	r.p.Append(batch(1)[:50], in, &got)
	want := []error{nil, nil, kerr.TransactionCoordinatorFenced, kerr.InvalidRecord}
	for i, a := range got.all() {
		if !errors.Is(a.err, want[i]) {
			t.Fatalf("%d: %v", i, a.err)
		}
	}
	r.sync()
	if n := len(r.read(0)); n != 3 {
		t.Fatal(n)
	}
}

// edit changes a copy of a batch, with or without a new CRC.
func edit(b []byte, seal bool, change func(record.Batch)) []byte {
	b = slices.Clone(b)
	change(b)
	if seal {
		binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

func batch(n int) []byte {
	b := record.NewBuilder(record.Options{LeaderEpoch: -1})
	for range n {
		b.Append(time.Now().UnixMilli(), []byte{}, []byte("value"), nil)
	}
	return b.Build()
}

func packed(c compress.Codec) []byte {
	b := record.NewBuilder(record.Options{Codec: c})
	b.Append(time.Now().UnixMilli(), []byte("key"), make([]byte, 300), nil)
	return b.Build()
}

// stampedNull has a record without a key for each timestamp but the last, which has one.
func stampedNull(ms ...int64) []byte {
	b := record.NewBuilder(record.Options{})
	for i, m := range ms {
		var key []byte
		if i == len(ms)-1 {
			key = []byte("k")
		}
		b.Append(m, key, nil, nil)
	}
	return b.Build()
}

func idempotent(id int64, seq int32, n int) []byte {
	return produced(record.Options{Producer: &record.Producer{ID: id, Sequence: seq}}, n)
}

func transactional(id int64, n int) []byte {
	return produced(record.Options{Producer: &record.Producer{ID: id}, Transactional: true}, n)
}

func produced(o record.Options, n int) []byte {
	b := record.NewBuilder(o)
	for range n {
		b.Append(time.Now().UnixMilli(), []byte("k"), []byte("v"), nil)
	}
	return b.Build()
}
