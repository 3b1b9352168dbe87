package cleaner

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
)

// step is one round over what the one before left.
type step struct {
	from, now int64 // retention is 100
	want      string
}

func TestRounds(t *testing.T) {
	for _, c := range []struct {
		name, log string
		producers map[int64]Last
		steps     []step
	}{
		{
			name:  "the newest of each key stays, with its offset",
			log:   "a=1 b=1 a=2\nc=1\nb=2 d=1\n",
			steps: []step{{want: "0-2 2:a=2\n3-3 3:c=1\n4-5 4:b=2 5:d=1\n"}},
		},
		{
			name:  "a batch that loses every record goes",
			log:   "a=1\na=2\na=3 b=1\n",
			steps: []step{{want: "2-3 2:a=3 3:b=1\n"}},
		},
		{
			name:  "the last batch stays, empty if need be",
			log:   "a=1\n-=2\n",
			steps: []step{{want: "0-0 0:a=1\n1-1\n"}, {from: 2, want: "0-0 0:a=1\n1-1\n"}},
		},
		{
			name:  "a record without a key goes",
			log:   "-=1 a=1\n-=2\nb=1\n",
			steps: []step{{want: "0-1 1:a=1\n3-3 3:b=1\n"}},
		},
		{
			name:  "an empty key is a key, an empty value no tombstone",
			log:   "=1\n=2\na=\n",
			steps: []step{{want: "1-1 1:=2\n2-2 2:a=\n"}, {from: 3, now: 1000, want: "1-1 1:=2\n2-2 2:a=\n"}},
		},
		{
			name: "a tombstone gets a horizon, and goes when that has passed",
			log:  "a=1\na=~ b=1\nc=1\n",
			steps: []step{
				{now: 1000, want: "1-2 horizon 1100 1:a=~ 2:b=1\n3-3 3:c=1\n"},
				{from: 4, now: 1099, want: "1-2 horizon 1100 1:a=~ 2:b=1\n3-3 3:c=1\n"},
				{from: 4, now: 1100, want: "1-2 horizon 1100 2:b=1\n3-3 3:c=1\n"},
			},
		},
		{
			name: "a tombstone that is not the newest goes at once",
			log:  "a=~\na=1\nb=1\n",
			steps: []step{
				{now: 1000, want: "1-1 1:a=1\n2-2 2:b=1\n"},
			},
		},
		{
			name: "a committed transaction loses its marker after its last record",
			log:  "t7: a=1\nt7 commit\na=2\nb=1\n",
			steps: []step{
				{now: 1000, want: "1-1 t7 commit\n2-2 2:a=2\n3-3 3:b=1\n"},
				{from: 4, now: 2000, want: "1-1 t7 horizon 2100 commit\n2-2 2:a=2\n3-3 3:b=1\n"},
				{from: 4, now: 2099, want: "1-1 t7 horizon 2100 commit\n2-2 2:a=2\n3-3 3:b=1\n"},
				{from: 4, now: 2100, want: "2-2 2:a=2\n3-3 3:b=1\n"},
			},
		},
		{
			name: "the marker of a transaction with a record left stays",
			log:  "t7: a=1 b=1\nt7 commit\na=2\n",
			steps: []step{
				{now: 1000, want: "0-1 t7 1:b=1\n2-2 t7 commit\n3-3 3:a=2\n"},
				{from: 4, now: 9000, want: "0-1 t7 1:b=1\n2-2 t7 commit\n3-3 3:a=2\n"},
			},
		},
		{
			name: "an aborted record goes and leaves the value before it",
			log:  "a=1\nt7: a=2 b=1\nt7 abort\nc=1\n",
			steps: []step{
				{now: 1000, want: "0-0 0:a=1\n3-3 t7 abort\n4-4 4:c=1\n"},
				{from: 5, now: 2000, want: "0-0 0:a=1\n3-3 t7 horizon 2100 abort\n4-4 4:c=1\n"},
				{from: 5, now: 2100, want: "0-0 0:a=1\n4-4 4:c=1\n"},
			},
		},
		{
			name: "an aborted tombstone deletes nothing",
			log:  "a=1\nt7: a=~\nt7 abort\nb=1\n",
			steps: []step{
				{now: 1000, want: "0-0 0:a=1\n2-2 t7 abort\n3-3 3:b=1\n"},
			},
		},
		{
			name: "transactions of one producer, one aborted and one not",
			log:  "t7: a=1\nt7 abort\nt7: a=2\nt7 commit\nt7: a=3\nt7 abort\nb=1\n",
			steps: []step{
				{now: 1000, want: "1-1 t7 abort\n2-2 t7 2:a=2\n3-3 t7 commit\n5-5 t7 abort\n6-6 6:b=1\n"},
			},
		},
		{
			name: "transactions that overlap",
			log:  "t7: a=1\nt8: a=2\nt7: b=1\nt8 abort\nt7 commit\nc=1\n",
			steps: []step{
				{now: 1000, want: "0-0 t7 0:a=1\n2-2 t7 2:b=1\n3-3 t8 abort\n4-4 t7 commit\n5-5 5:c=1\n"},
			},
		},
		{
			name:      "the last batch of an active producer stays for its sequence",
			log:       "p7: a=1\np7: a=2\np8: a=3\na=4\nb=1\n",
			producers: map[int64]Last{7: {Offset: 1}},
			steps: []step{
				{want: "1-1 p7\n3-3 3:a=4\n4-4 4:b=1\n"},
				{from: 5, want: "1-1 p7\n3-3 3:a=4\n4-4 4:b=1\n"},
			},
		},
		{
			name:      "an aborted batch that is an active producer's last keeps its marker",
			log:       "t7: a=1\nt7 abort\nb=1\n",
			producers: map[int64]Last{7: {Offset: 0}},
			steps: []step{
				{now: 1000, want: "0-0 t7\n1-1 t7 abort\n2-2 2:b=1\n"},
				{from: 3, now: 9000, want: "0-0 t7\n1-1 t7 abort\n2-2 2:b=1\n"},
			},
		},
		{
			name:      "a marker stays when it is all that is known of an active producer",
			log:       "t7: a=1\nt7 commit\na=2\n",
			producers: map[int64]Last{7: {Offset: -1}},
			steps: []step{
				{now: 1000, want: "1-1 t7 commit\n2-2 2:a=2\n"},
				{from: 3, now: 9000, want: "1-1 t7 commit\n2-2 2:a=2\n"},
			},
		},
		{
			name:  "what was compacted before counts less than what was not",
			log:   "a=1 b=1\nc=1\na=2\n",
			steps: []step{{from: 2, want: "0-1 1:b=1\n2-2 2:c=1\n3-3 3:a=2\n"}},
		},
	} {
		for _, codec := range []record.Codec{record.None, record.LZ4, record.Zstd, record.Snappy, record.Gzip} {
			t.Run(c.name+"/"+codec.String(), func(t *testing.T) {
				log, aborted := parse(t, c.log, 0, codec)
				end := log[len(log)-1].NextOffset()
				for _, s := range c.steps {
					var upTo int64
					log, aborted, upTo = clean(t, log, Options{From: s.from, Now: s.now, DeleteRetention: 100, Aborted: aborted, Producers: c.producers})
					if diff := cmp.Diff(s.want, show(t, log)); diff != "" {
						t.Errorf("round at %d: %s", s.now, diff)
					}
					if upTo != end {
						t.Errorf("compacted up to %d, not %d", upTo, end)
					}
				}
			})
		}
	}
}

func TestAbortedTransactionsStayIndexedWhileABatchOfThemWasMet(t *testing.T) {
	log, aborted := parse(t, "t7: a=1\nt7 abort\nt8: b=1\nt8 commit\n", 0, record.None)
	for round, want := range []int{1, 0, 0} {
		log, aborted, _ = clean(t, log, Options{Now: 1000, DeleteRetention: 100, Aborted: aborted})
		if len(aborted) != want {
			t.Errorf("round %d: %d transactions indexed, not %d", round, len(aborted), want)
		}
	}
}

func TestAnEntryWhoseMarkerIsLostDoesNotAbortTheNextTransaction(t *testing.T) {
	log, aborted := parse(t, "t7: a=1\nt7 abort\nt7: b=1\nt7 commit\nc=1\n", 0, record.None)
	log = log[2:]
	left, _, _ := clean(t, log, Options{Aborted: aborted})
	if want := "2-2 t7 2:b=1\n3-3 t7 commit\n4-4 4:c=1\n"; show(t, left) != want {
		t.Errorf("left %s", show(t, left))
	}
}

func TestAFullMapEndsTheRoundBeforeTheFirstKeyWithoutAPlace(t *testing.T) {
	keys := make([]string, 0, 200)
	for i := range 200 {
		keys = append(keys, "k"+string(rune('A'+i%26))+string(rune('a'+i/26))+"=1")
	}
	log, _ := parse(t, "x=0\n-=0\n"+strings.Join(keys, " ")+"\nx=1\n", 0, record.None)
	m := NewOffsetMap(0, 0.5, 1<<40, seeds()) // 64 places, half of them used
	left, _, end := clean(t, log, Options{Map: m})
	if end != 2+31 || m.Used() != 1 {
		t.Errorf("compacted up to %d, map used %v", end, m.Used())
	}
	text := show(t, left)
	if !strings.HasPrefix(text, "0-0 0:x=0\n2-201 2:kAa=1 ") || strings.Count(text, ":k") != 200 || !strings.HasSuffix(text, "202-202 202:x=1\n") {
		t.Errorf("left %s", text)
	}
	left, _, end = clean(t, left, Options{From: 33, Map: NewOffsetMap(1<<20, 0.9, 1000, seeds())})
	if text := show(t, left); end != 203 || strings.Contains(text, "0:x=0\n2") {
		t.Errorf("second round up to %d: %s", end, text)
	}
}

func TestBatchesThatLoseNothingAreTheSameBytes(t *testing.T) {
	log, _ := parse(t, "a=1 b=1\nt7: c=1\nt7 commit\n", 0, record.Zstd)
	r := New(Options{Map: NewOffsetMap(1<<16, 0.9, 10, seeds()), MaxDecompressed: 1 << 20})
	for _, b := range log {
		if _, err := r.Index(b); err != nil {
			t.Fatal(err)
		}
	}
	r.Rewind(nil)
	for _, b := range log {
		left, err := r.Filter(b)
		if err != nil || &left[0] != &b[0] {
			t.Errorf("batch at %d was made anew: %v", b.BaseOffset(), err)
		}
	}
}

func TestLogAppendTimeStandsForEveryRecord(t *testing.T) {
	log, _ := parse(t, "a=1 a=~\n", 0, record.None)
	log[0].SetAppendTime(77)
	left, _, _ := clean(t, log, Options{Now: 1000, DeleteRetention: 100})
	if b := left[0]; !b.IsLogAppendTime() || b.MaxTimestamp() != 77 || b.BaseTimestamp() != 1100 || b.Count() != 1 {
		t.Errorf("max timestamp %d, base %d, %d records", b.MaxTimestamp(), b.BaseTimestamp(), b.Count())
	}
	for r, err := range left[0].Records(100) {
		if err != nil || r.Timestamp != 77 || r.Offset != 1 {
			t.Errorf("record %v, %v", r, err)
		}
	}
}

func TestControlBatchesOfOtherKindsStay(t *testing.T) {
	b := record.NewBuilder(record.Options{Control: true, LeaderEpoch: 3})
	b.Append(0, []byte{0, 0, 0, 2}, []byte{0, 0}, nil) // a leader change
	leader := b.Build()
	leader.SetBaseOffset(0)
	emptied := record.NewEndTxn(9, 0, record.Control{Type: record.Commit}, 1)
	emptied.SetBaseOffset(1)
	emptied = emptied.Emptied(nil) // as Kafka leaves them
	rest, _ := parse(t, "a=1\n", 2, record.None)
	left, _, end := clean(t, append([]record.Batch{leader, emptied}, rest...), Options{Now: 5})
	if len(left) != 2 || !left[0].IsControl() || left[1].BaseOffset() != 2 || end != 3 {
		t.Errorf("%d batches left, up to %d", len(left), end)
	}
}

func TestADamagedBatchIsAnError(t *testing.T) {
	for name, spoil := range map[string]func(b record.Batch) record.Batch{
		"crc":     func(b record.Batch) record.Batch { b[len(b)-1] ^= 1; return b },
		"records": func(b record.Batch) record.Batch { return reseal(b, 61) },
		"codec":   func(b record.Batch) record.Batch { return reseal(b, 22) },
	} {
		log, _ := parse(t, "a=1 b=1\n", 0, record.None)
		b := spoil(log[0])
		r := New(Options{Map: NewOffsetMap(1<<10, 0.9, 10, seeds()), MaxDecompressed: 100})
		if _, err := r.Index(b); !errors.Is(err, record.ErrCorrupt) && !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: index says %v", name, err)
		}
		r = New(Options{Map: NewOffsetMap(1<<10, 0.9, 10, seeds()), MaxDecompressed: 100, From: 5})
		r.Rewind(nil)
		if _, err := r.Filter(b); !errors.Is(err, record.ErrCorrupt) && !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: filter says %v", name, err)
		}
	}
	marker := record.NewEndTxn(9, 0, record.Control{Type: record.Commit}, 1)
	marker = reseal(marker, 61)
	r := New(Options{Map: NewOffsetMap(1<<10, 0.9, 10, seeds())})
	_, err := r.Index(marker)
	r.Rewind(nil)
	if _, err2 := r.Filter(marker); err == nil || err2 == nil {
		t.Errorf("a marker that is none: %v, %v", err, err2)
	}
	large, _ := parse(t, "a="+strings.Repeat("x", 1000)+"\n", 0, record.Zstd)
	r = New(Options{Map: NewOffsetMap(1<<10, 0.9, 10, seeds()), MaxDecompressed: 100})
	if _, err := r.Index(large[0]); !errors.Is(err, compress.ErrTooLarge) {
		t.Errorf("a batch that decompresses to more than it may: %v", err)
	}
}

// reseal changes a byte and makes the checksum hold again.
func reseal(b record.Batch, at int) record.Batch {
	b[at] ^= 7
	b.SetMaxTimestamp(b.MaxTimestamp())
	return b
}
