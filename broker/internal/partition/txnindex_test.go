package partition_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// TestDamagedTransactionIndexIsRebuilt: the log tells which transactions were aborted, whatever the
// indexes say after a clean stop.
func TestDamagedTransactionIndexIsRebuilt(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, func(o *partition.Options) { o.Config.MaxMessageBytes = 1 << 20 })
	want := r.transactions()
	names := indexesIn(t, fs)
	if len(want) != 40 || len(names) < 3 {
		t.Fatalf("%d aborted transactions in %d indexes", len(want), len(names))
	}
	for what, damage := range map[string]func(b []byte) []byte{
		"torn":          func(b []byte) []byte { return b[:len(b)-7] },
		"foreign bytes": func(b []byte) []byte { return append(b, "what?"...) },
		"zeroes":        func(b []byte) []byte { return append(b[:34], make([]byte, len(b)-34)...) },
	} {
		for at, name := range names {
			sound, err := env.ReadFile(fs, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := env.WriteFile(fs, name, damage([]byte(string(sound)))); err != nil {
				t.Fatal(err)
			}
			r = openRig(t, fs, nil)
			if diff := cmp.Diff(want, r.log.AbortedIn(0, r.log.EndOffset())); diff != "" {
				t.Errorf("%s, index %d (-want +got):\n%s", what, at, diff)
			}
			r.close()
			if again, err := env.ReadFile(fs, name); err != nil || string(again) != string(sound) {
				t.Errorf("%s, index %d: the file is not as it was: %v", what, at, err)
			}
		}
	}
}

// TestLostIndexesAreRebuilt: who deletes the indexes of a stopped broker to have them made again gets
// those of transactions too.
func TestLostIndexesAreRebuilt(t *testing.T) {
	fs := env.NewMemFS()
	r := openRig(t, fs, nil)
	want := r.transactions()
	for at, name := range indexesIn(t, fs) {
		sound, err := env.ReadFile(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, lost := range []string{name, strings.TrimSuffix(name, ".txnindex") + ".timeindex"} {
			if err := fs.Remove(lost); err != nil {
				t.Fatal(err)
			}
		}
		r = openRig(t, fs, nil)
		if diff := cmp.Diff(want, r.log.AbortedIn(0, r.log.EndOffset())); diff != "" {
			t.Errorf("index %d (-want +got):\n%s", at, diff)
		}
		r.close()
		if again, err := env.ReadFile(fs, name); err != nil || string(again) != string(sound) {
			t.Errorf("index %d: the file is not as it was: %v", at, err)
		}
	}
}

// transactions writes some over several segments, closes the log and returns those that were aborted.
func (r *rig) transactions() []commitlog.AbortedTxn {
	r.t.Helper()
	for i := range int32(60) {
		by := record.Producer{ID: 5, Sequence: i}
		r.append(inTxnOf(by, strings.Repeat("x", 500)))
		r.end(marker(0, record.ControlType(i%3%2)))
	}
	aborted := r.log.AbortedIn(0, r.log.EndOffset())
	r.close()
	return aborted
}

func indexesIn(t *testing.T, fs *env.MemFS) (names []string) {
	t.Helper()
	entries, err := fs.ReadDir("/data/t-4")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".txnindex" {
			names = append(names, filepath.Join("/data/t-4", e.Name()))
		}
	}
	return names
}

// TestAbortedListIsThatOfTheRange: rule 78.
func TestAbortedListIsThatOfTheRange(t *testing.T) {
	r := newRig(t, nil)
	for i := range int32(6) { // offsets 2i and 2i+1
		r.append(inTxnOf(record.Producer{ID: 5, Sequence: i}, strings.Repeat("x", 300)))
		r.end(marker(0, record.Abort))
	}
	r.sync()
	res, err := r.p.Read(partition.ReadRequest{Offset: 4, MaxBytes: 1000, MinOne: true, ReadCommitted: true, CurrentEpoch: -1})
	if err != nil {
		t.Fatal(err)
	}
	batches := contents(t, res.Range)
	last := batches[len(batches)-1].LastOffset()
	for _, a := range res.Aborted {
		if a.Last < 4 || a.First > last {
			t.Errorf("transaction %+v has nothing in 4 to %d", a, last)
		}
	}
	if len(res.Aborted) == 0 || last > 9 {
		t.Errorf("%d aborted transactions up to offset %d", len(res.Aborted), last)
	}
}

// TestLastStableIsNotBelowTheStart: records of an open transaction may be deleted; who asks for the end of
// committed data is not sent to where nothing is.
func TestLastStableIsNotBelowTheStart(t *testing.T) {
	r := newRig(t, nil)
	for i := range int32(3) {
		r.append(inTxnOf(record.Producer{ID: 5, Sequence: i}, "x"))
	}
	r.sync()
	for _, to := range []int64{0, 2, 3} {
		if _, err := r.p.DeleteRecords(to); err != nil {
			t.Fatal(err)
		}
		latest, _, _, err := r.p.OffsetForTime(partition.TimeLatest, true, -1)
		if err != nil || latest != to || r.p.LastStable() != to || r.p.Status().LastStable != to {
			t.Errorf("start %d: latest %d, %v, last stable %d, %+v", to, latest, err, r.p.LastStable(), r.p.Status())
		}
		res, err := r.p.Read(partition.ReadRequest{Offset: to, MaxBytes: 1000, MinOne: true, ReadCommitted: true, CurrentEpoch: -1})
		if err != nil || res.LastStable != to {
			t.Errorf("start %d: %+v, %v", to, res, err)
		}
	}
}
