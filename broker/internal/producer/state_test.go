package producer_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
)

const top = 1<<31 - 1 // the largest sequence number

type spec struct {
	id    int64
	epoch int16
	seq   int32
	n     int
	txn   bool
	ts    int64
}

func data(s spec) record.Batch {
	b := record.NewBuilder(record.Options{
		Transactional: s.txn,
		Producer:      &record.Producer{ID: s.id, Epoch: s.epoch, Sequence: s.seq},
	})
	for range max(s.n, 1) {
		b.Append(s.ts, nil, []byte("v"), nil)
	}
	return b.Build()
}

func marker(id int64, epoch int16, kind record.ControlType, coordinator int32, offset int64) record.Batch {
	b := record.NewEndTxn(id, epoch, record.Control{Type: kind, CoordinatorEpoch: coordinator}, 0)
	b.SetBaseOffset(offset)
	return b
}

// log is a partition's log as far as the state is concerned.
type log struct {
	state   *producer.State
	batches []record.Batch
	end     int64
}

func newLog() *log { return &log{state: producer.New()} }

func (l *log) put(b record.Batch) {
	b.SetBaseOffset(l.end)
	l.end = b.NextOffset()
	l.batches = append(l.batches, b)
	l.state.Replay(b)
}

// try appends what the state admits.
func (l *log) try(b record.Batch, o producer.Origin) (producer.Duplicate, bool, error) {
	d, dup, err := l.state.Check(b, o)
	if err == nil && !dup {
		l.put(b)
	}
	return d, dup, err
}

func TestSequencesOfOneProducer(t *testing.T) {
	five := []spec{{id: 1, seq: 0}, {id: 1, seq: 1, n: 2}, {id: 1, seq: 3}, {id: 1, seq: 4}, {id: 1, seq: 5}}
	cases := map[string]struct {
		before []spec
		next   spec
		dup    int64 // offset of the original, when wanted
		isDup  bool
		want   error
	}{
		"an unknown producer may start anywhere":       {next: spec{id: 1, seq: 17}},
		"the successor is taken":                       {before: five, next: spec{id: 1, seq: 6}},
		"the last batch again":                         {before: five, next: spec{id: 1, seq: 5}, isDup: true, dup: 5},
		"a batch in the middle again":                  {before: five, next: spec{id: 1, seq: 1, n: 2}, isDup: true, dup: 1},
		"the oldest of five again":                     {before: five, next: spec{id: 1, seq: 0}, isDup: true, dup: 0},
		"older than the window":                        {before: append(slices.Clone(five), spec{id: 1, seq: 6}), next: spec{id: 1, seq: 0}, want: kerr.OutOfOrderSequenceNumber},
		"a gap":                                        {before: five, next: spec{id: 1, seq: 7}, want: kerr.OutOfOrderSequenceNumber},
		"a known start with another length":            {before: five, next: spec{id: 1, seq: 1, n: 1}, want: kerr.OutOfOrderSequenceNumber},
		"an older epoch":                               {before: []spec{{id: 1, epoch: 3}}, next: spec{id: 1, epoch: 2, seq: 1}, want: kerr.InvalidProducerEpoch},
		"an older epoch with a known sequence":         {before: []spec{{id: 1, epoch: 3}}, next: spec{id: 1, epoch: 2}, want: kerr.InvalidProducerEpoch},
		"a new epoch starts at 0":                      {before: five, next: spec{id: 1, epoch: 1, seq: 0}},
		"a new epoch does not go on":                   {before: five, next: spec{id: 1, epoch: 1, seq: 6}, want: kerr.OutOfOrderSequenceNumber},
		"0 follows the largest int32":                  {before: []spec{{id: 1, seq: top}}, next: spec{id: 1, seq: 0}},
		"a batch may span the wrap":                    {before: []spec{{id: 1, seq: top - 1, n: 4}}, next: spec{id: 1, seq: 2}},
		"a batch that spans the wrap again":            {before: []spec{{id: 1, seq: top - 1, n: 4}}, next: spec{id: 1, seq: top - 1, n: 4}, isDup: true},
		"1 does not follow the largest int32":          {before: []spec{{id: 1, seq: top}}, next: spec{id: 1, seq: 1}, want: kerr.OutOfOrderSequenceNumber},
		"producers do not disturb one another":         {before: append(slices.Clone(five), spec{id: 2, seq: 100}), next: spec{id: 1, seq: 6}},
		"a plain write inside an open transaction":     {before: []spec{{id: 1, seq: 0, txn: true}}, next: spec{id: 1, seq: 1}, want: kerr.InvalidTxnState},
		"a transactional write inside the transaction": {before: []spec{{id: 1, seq: 0, txn: true}}, next: spec{id: 1, seq: 1, txn: true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := newLog()
			for _, s := range c.before {
				if _, dup, err := l.try(data(s), producer.Client); err != nil || dup {
					t.Fatal("setup", dup, err)
				}
			}
			d, dup, err := l.state.Check(data(c.next), producer.Client)
			if !errors.Is(err, c.want) || dup != c.isDup || dup && d.First != c.dup {
				t.Fatalf("got %+v, %v, %v", d, dup, err)
			}
		})
	}
}

func TestDuplicateTellsWhereTheOriginalIs(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 9, n: 4}))
	l.put(data(spec{id: 1, seq: 8, n: 3, ts: 77}))
	d, dup, err := l.state.Check(data(spec{id: 1, seq: 8, n: 3, ts: 77}), producer.Client)
	if want := (producer.Duplicate{First: 4, Last: 6, Timestamp: 77}); err != nil || !dup || d != want {
		t.Fatal(d, dup, err)
	}
}

func TestBatchesWithoutAProducerAlwaysPass(t *testing.T) {
	b := record.NewBuilder(record.Options{})
	b.Append(0, nil, nil, nil)
	s := producer.New()
	s.Replay(b.Build())
	if _, dup, err := s.Check(b.Build(), producer.Client); dup || err != nil || len(s.Producers()) != 0 {
		t.Fatal(dup, err)
	}
}

func TestCoordinatorsWriteWithoutSequences(t *testing.T) {
	l := newLog()
	for range 3 {
		if _, dup, err := l.try(data(spec{id: 1, epoch: 2, seq: record.NoSequence, txn: true}), producer.Coordinator); dup || err != nil {
			t.Fatal(dup, err)
		}
	}
	if _, _, err := l.try(data(spec{id: 1, epoch: 1, seq: record.NoSequence, txn: true}), producer.Coordinator); !errors.Is(err, kerr.InvalidProducerEpoch) {
		t.Fatal(err)
	}
}

func TestMarkers(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 1, epoch: 2, txn: true}))
	check := func(b record.Batch, want error) {
		t.Helper()
		if _, _, err := l.state.Check(b, producer.Coordinator); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	check(marker(1, 1, record.Commit, 5, 0), kerr.InvalidProducerEpoch)
	check(marker(1, 2, record.Commit, 5, 0), nil)
	l.put(marker(1, 2, record.Commit, 5, 0))
	check(marker(1, 2, record.Commit, 5, 0), nil) // a repeated marker is harmless
	check(marker(1, 2, record.Abort, 4, 0), kerr.TransactionCoordinatorFenced)
	broken := marker(1, 2, record.Abort, 4, 0)
	check(broken[:record.HeaderSize], kerr.InvalidRecord)
	// After a marker in a new epoch, that epoch starts at 0.
	l.put(marker(1, 3, record.Commit, 5, 0))
	check(data(spec{id: 1, epoch: 3, seq: 1}), nil)
	if _, _, err := l.state.Check(data(spec{id: 1, epoch: 3, seq: 1}), producer.Client); !errors.Is(err, kerr.OutOfOrderSequenceNumber) {
		t.Fatal(err)
	}
	if _, _, err := l.state.Check(data(spec{id: 1, epoch: 3, seq: 0}), producer.Client); err != nil {
		t.Fatal(err)
	}
}

func TestLastStableOffset(t *testing.T) {
	l := newLog()
	stable := func(hw, want int64) {
		t.Helper()
		if got := l.state.LastStable(hw); got != want {
			t.Fatalf("under %d: got %d, want %d", hw, got, want)
		}
	}
	l.put(data(spec{id: 9}))                                                      // 0
	stable(1, 1)                                                                  // no transactions: the high watermark
	l.put(data(spec{id: 1, txn: true}))                                           // 1
	l.put(data(spec{id: 2, txn: true}))                                           // 2
	l.put(data(spec{id: 1, seq: 1, txn: true}))                                   // 3
	stable(4, 1)                                                                  // the earliest open one
	stable(1, 1)                                                                  // a transaction above the watermark does not matter
	l.put(marker(1, 0, record.Abort, 0, 0))                                       // 4
	stable(4, 1)                                                                  // the marker is not below the watermark yet
	stable(5, 2)                                                                  // now it is, and the second transaction holds
	l.state.Passed(4)                                                             //
	stable(4, 1)                                                                  // 4 is not below 4
	l.state.Passed(5)                                                             //
	l.put(marker(2, 0, record.Commit, 0, 0))                                      // 5
	stable(5, 2)                                                                  //
	stable(6, 6)                                                                  //
	l.state.Passed(6)                                                             //
	stable(6, 6)                                                                  //
	l.put(marker(2, 0, record.Abort, 0, 0))                                       // 6: ends nothing
	want := []producer.Aborted{{ProducerID: 1, First: 1, Last: 4, LastStable: 2}} // only the real abort
	if d := cmp.Diff(want, l.state.TakeAborted()); d != "" {
		t.Fatal(d)
	}
	if l.state.TakeAborted() != nil {
		t.Fatal("told twice")
	}
}

func TestLastStableAfterAnAbortWithNothingElseOpen(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 1, txn: true}))
	l.put(marker(1, 0, record.Abort, 0, 0))
	if d := cmp.Diff([]producer.Aborted{{ProducerID: 1, First: 0, Last: 1, LastStable: 2}}, l.state.TakeAborted()); d != "" {
		t.Fatal(d)
	}
}

func TestIdleProducersExpire(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 1, ts: 5})) // an old timestamp does not make it idle
	l.put(data(spec{id: 2, txn: true}))
	const day = 24 * 3600 * 1000
	now := int64(100 * day)
	if n := l.state.Expire(now, day); n != 0 {
		t.Fatal(n)
	}
	if n := l.state.Expire(now+day-1, day); n != 0 {
		t.Fatal(n)
	}
	l.put(data(spec{id: 1, seq: 1}))
	if n := l.state.Expire(now+day, day); n != 0 {
		t.Fatal("the append did not count", n)
	}
	if n := l.state.Expire(now+2*day, day); n != 1 {
		t.Fatal(n)
	}
	left := l.state.Producers()
	if len(left) != 1 || left[0].ID != 2 {
		t.Fatal("an open transaction keeps its producer", left)
	}
}

func TestSnapshotIsKafkasFormat(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 7, epoch: 1, seq: 5, n: 3, ts: 0x0102, txn: true}))
	l.put(marker(6, 2, record.Commit, 9, 0))
	want := "0001" + "2e29a17a" + "00000002" +
		"0000000000000006" + "0002" + "ffffffff" + "ffffffffffffffff" + "00000000" + "0000000000000000" + "00000009" + "ffffffffffffffff" +
		"0000000000000007" + "0001" + "00000007" + "0000000000000002" + "00000002" + "0000000000000102" + "ffffffff" + "0000000000000000"
	if got := hex.EncodeToString(l.state.Snapshot()); got != want {
		t.Fatalf("\n got %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(producer.New().Snapshot()); got[:4] != "0001" || got[12:] != "00000000" {
		t.Fatal(got)
	}
}

func TestSnapshotKeepsWhatTheNextCheckNeeds(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 1, seq: 0, n: 2}))
	l.put(data(spec{id: 1, seq: 2, n: 2}))
	l.put(data(spec{id: 2, txn: true}))
	s := producer.New()
	if err := s.Load(l.state.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l.state.Producers(), s.Producers()); d != "" {
		t.Fatal(d)
	}
	for _, first := range []int64{0, 2} {
		d, dup, err := s.Check(data(spec{id: 1, seq: int32(first), n: 2}), producer.Client)
		if !dup || err != nil || d.First != first {
			t.Fatal(d, dup, err)
		}
	}
	if s.LastStable(5) != 4 {
		t.Fatal("the open transaction is lost")
	}
}

func TestBadSnapshotsAreRefusedAndLeaveNothing(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 1}))
	l.put(data(spec{id: 2}))
	good := l.state.Snapshot()
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		s := newLog().state
		s.Replay(data(spec{id: 5}))
		if err := s.Load(bad); !errors.Is(err, producer.ErrCorrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if len(s.Producers()) != 0 {
			t.Fatalf("byte %d: state left", i)
		}
	}
	for n := range good {
		if err := producer.New().Load(good[:n]); !errors.Is(err, producer.ErrCorrupt) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestSnapshotsThatContradictThemselvesAreRefused(t *testing.T) {
	one := newLog()
	one.put(data(spec{id: 3}))
	entry := one.state.Snapshot()[10:]
	cases := map[string][]byte{
		"a batch beyond the window":   slices.Concat([]byte{0, 0, 0, 6}, entry, entry, entry, entry, entry, entry),
		"a producer in two epochs":    slices.Concat([]byte{0, 0, 0, 2}, entry, entry[:9], []byte{1}, entry[10:]),
		"two transactions at once":    slices.Concat([]byte{0, 0, 0, 2}, entry[:38], make([]byte, 8), entry),
		"a count above the entries":   slices.Concat([]byte{0, 0, 0, 2}, entry),
		"a count that overflows":      slices.Concat([]byte{0xff, 0xff, 0xff, 0xff}, entry),
		"a negative producer id":      slices.Concat([]byte{0, 0, 0, 1, 0xff}, entry[1:]),
		"a negative offset delta":     slices.Concat([]byte{0, 0, 0, 1}, entry[:22], []byte{0xff}, entry[23:]),
		"a transaction at offset -99": slices.Concat([]byte{0, 0, 0, 1}, entry[:45], []byte{0x9d}),
	}
	for name, body := range cases {
		if err := producer.New().Load(sealed(body)); !errors.Is(err, producer.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := producer.New().Load(sealed(slices.Concat([]byte{0, 0, 0, 1}, entry))); err != nil {
		t.Error(err)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	l := newLog()
	l.put(data(spec{id: 1, txn: true}))
	l.put(marker(1, 0, record.Abort, 0, 0))
	l.put(data(spec{id: 1, seq: 1, txn: true}))
	l.state.Reset()
	if len(l.state.Producers()) != 0 || l.state.LastStable(9) != 9 || l.state.TakeAborted() != nil {
		t.Fatal("something is left")
	}
}

func TestReplayIgnoresWhatMakesNoSense(t *testing.T) {
	s := producer.New()
	s.Replay(nil)
	s.Replay(make([]byte, 60))
	s.Replay(marker(1, 0, record.LeaderChange, 0, 0))
	s.Replay(marker(1, 0, record.Commit, 0, 0)[:record.HeaderSize])
	if got := s.Producers(); len(got) != 0 {
		t.Fatal(got)
	}
}

// step draws one append as a partition may see it: mostly in order, sometimes repeated, stale,
// torn out of sequence, transactional or a marker.
func step(t *rapid.T, next map[int64]int32, l *log) {
	id := rapid.Int64Range(0, 3).Draw(t, "id")
	n := rapid.IntRange(1, 3).Draw(t, "n")
	epoch := int16(rapid.IntRange(0, 2).Draw(t, "epoch"))
	seq := next[id]
	if rapid.IntRange(0, 4).Draw(t, "odd") == 0 {
		seq = rapid.Int32Range(0, 8).Draw(t, "seq")
	}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		kind := rapid.SampledFrom([]record.ControlType{record.Abort, record.Commit, record.LeaderChange}).Draw(t, "marker")
		_, _, _ = l.try(marker(id, epoch, kind, rapid.Int32Range(0, 3).Draw(t, "coordinator"), 0), producer.Coordinator)
	default:
		b := data(spec{id: id, epoch: epoch, seq: seq, n: n, txn: rapid.Bool().Draw(t, "txn"), ts: int64(len(l.batches))})
		before := l.end
		if _, dup, err := l.try(b, producer.Client); err == nil && !dup && l.end > before {
			next[id] = record.AddSequence(b.LastSequence(), 1)
		}
	}
}

func TestReplayingTheLogGivesTheLiveState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, next := newLog(), map[int64]int32{}
		var snapshot []byte
		at := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step(t, next, l)
			if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
				snapshot, at = l.state.Snapshot(), len(l.batches)
			}
		}
		fromStart := producer.New()
		for _, b := range l.batches {
			fromStart.Replay(b)
		}
		if d := cmp.Diff(l.state, fromStart, cmp.AllowUnexported(producer.State{}), cmp.Exporter(everything)); d != "" {
			t.Fatal("replay from the start: " + d)
		}
		if snapshot == nil {
			return
		}
		fromSnapshot := producer.New()
		if err := fromSnapshot.Load(snapshot); err != nil {
			t.Fatal(err)
		}
		if string(fromSnapshot.Snapshot()) != string(snapshot) {
			t.Fatal("a loaded snapshot is written differently")
		}
		for _, b := range l.batches[at:] {
			fromSnapshot.Replay(b)
		}
		if d := cmp.Diff(l.state.Producers(), fromSnapshot.Producers()); d != "" {
			t.Fatal("replay from a snapshot: " + d)
		}
		if a, b := l.state.Snapshot(), fromSnapshot.Snapshot(); string(a) != string(b) {
			t.Fatal("snapshots differ")
		}
		// Transactions that ended before the snapshot are below the high watermark of a recovered log.
		l.state.Passed(l.end)
		fromSnapshot.Passed(l.end)
		if a, b := l.state.LastStable(l.end), fromSnapshot.LastStable(l.end); a != b {
			t.Fatalf("last stable offset %d and %d", a, b)
		}
	})
}

func TestAcceptedSequencesHaveNoGapsAndNoRepetitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, next := newLog(), map[int64]int32{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step(t, next, l)
		}
		type run struct {
			epoch int16
			last  int32
		}
		seen := map[int64]run{}
		for _, b := range l.batches {
			r, known := seen[b.ProducerID()]
			if known && b.ProducerEpoch() < r.epoch {
				t.Fatalf("epoch %d after %d at offset %d", b.ProducerEpoch(), r.epoch, b.BaseOffset())
			}
			if b.IsControl() {
				if c, err := b.Control(); err == nil && c.IsEndTxn() && (!known || b.ProducerEpoch() > r.epoch) {
					seen[b.ProducerID()] = run{b.ProducerEpoch(), record.NoSequence}
				}
				continue
			}
			switch {
			case !known:
			case b.ProducerEpoch() > r.epoch || r.last == record.NoSequence:
				if b.BaseSequence() != 0 {
					t.Fatalf("offset %d starts an epoch with sequence %d", b.BaseOffset(), b.BaseSequence())
				}
			case b.BaseSequence() != record.AddSequence(r.last, 1):
				t.Fatalf("offset %d has sequence %d after %d", b.BaseOffset(), b.BaseSequence(), r.last)
			}
			seen[b.ProducerID()] = run{b.ProducerEpoch(), b.LastSequence()}
		}
	})
}

func FuzzLoad(f *testing.F) {
	l := newLog()
	l.put(data(spec{id: 1, txn: true}))
	l.put(data(spec{id: 2, seq: 9}))
	f.Add(l.state.Snapshot()[6:])
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		s := producer.New()
		if s.Load(body) == nil && len(body) < 10 {
			t.Fatal("loaded nothing")
		}
		if err := s.Load(sealed(body)); err != nil {
			return
		}
		again := producer.New()
		if err := again.Load(s.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte(data(spec{id: 1, txn: true})))
	f.Add([]byte(marker(1, 0, record.Abort, 1, 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := producer.New()
		s.Replay(b)
		s.Replay(b)
		if len(b) >= record.HeaderSize {
			_, _, _ = s.Check(b, producer.Client)
			_, _, _ = s.Check(b, producer.Coordinator)
		}
		s.LastStable(s.LastStable(1 << 40))
		if err := producer.New().Load(s.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCheckAndReplay(b *testing.B) {
	s := producer.New()
	batch := data(spec{id: 1, n: 10})
	seq := int32(0)
	b.ReportAllocs()
	for b.Loop() {
		batch[53], batch[54], batch[55], batch[56] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
		if _, dup, err := s.Check(batch, producer.Client); dup || err != nil {
			b.Fatal(dup, err)
		}
		s.Replay(batch)
		seq = record.AddSequence(batch.LastSequence(), 1)
	}
}
