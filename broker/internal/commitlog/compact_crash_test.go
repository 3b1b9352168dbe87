package commitlog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// TestACompactionLosesNothingToAPowerCut cuts the power before each operation of appends,
// transactions and compactions. What a new process finds must hold, for each key, the value that was
// acknowledged last or a later one, and be the same after it has compacted the log itself.
func TestACompactionLosesNothingToAPowerCut(t *testing.T) {
	fsys := env.NewMemFS()
	c := compacted()
	c.SegmentBytes, c.DeleteRetentionMs, c.MinDirtyRatio = 500, 0, 0.1
	d := openDir(t, fsys, DirOptions{ClusterID: "c", Faults: planted()})
	l := openCompacted(t, d, "a", c)
	acked, later := map[string]string{}, map[string][]string{}
	stride, recoveries := 1, 0
	if testing.Short() {
		stride = 9
	}
	fsys.OnOp(func(op env.Op) error {
		if !op.Kind.Changes() || op.Index%stride != 0 {
			return nil
		}
		for _, policy := range append(env.Policies(), env.KeepAll) {
			recoveries++
			disk, _ := fsys.Crash(policy, uint64(op.Index))
			at := fmt.Sprintf("cut before operation %d (%s %s), policy %d", op.Index, op.Kind, op.Name, policy)
			if err := checkCompacted(disk, c, acked, later); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		return nil
	})
	put := func(key, value string) {
		later[key] = append(later[key], value)
		mustAppend(t, l, pair(key, []byte(value), 1000+l.EndOffset()))
	}
	for i := range 7 {
		for j := range 8 {
			put(fmt.Sprint("key ", j%3), fmt.Sprint("value ", i, j))
		}
		put(fmt.Sprint("rare ", i), "value")
		transact(t, l, 7, false, "key 0", "aborted")
		later["key 1"] = append(later["key 1"], fmt.Sprint("committed ", i))
		transact(t, l, 7, true, "key 1", fmt.Sprint("committed ", i))
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		for key, v := range later {
			acked[key] = v[len(v)-1]
		}
		clear(later)
		switch i % 4 {
		case 1, 2:
			before := d.cleaned.Offsets[l.tp]
			if d.Clean(t.Context()); d.cleaned.Offsets[l.tp] == before {
				t.Errorf("nothing was compacted beyond %d", before)
			}
		case 3:
			if err := d.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			d.removeTrash(true)
		}
		if t.Failed() {
			break
		}
	}
	fsys.OnOp(nil)
	t.Logf("%d recoveries", recoveries)
}

// checkCompacted opens what a power cut has left.
func checkCompacted(disk *env.MemFS, c Config, acked map[string]string, later map[string][]string) error {
	d, err := OpenDir(testEnv(disk), dataDir, DirOptions{})
	if err != nil {
		return err
	}
	l, err := d.Open("a", 0, topicID("a"), c, &tally{})
	if err != nil {
		return err
	}
	if err := lead(l); err != nil {
		return err
	}
	got, err := values(l)
	if err != nil {
		return err
	}
	for key, value := range acked {
		if got[key] != value && !slices.Contains(later[key], got[key]) {
			return fmt.Errorf("%s is %q, acknowledged %q, later %q", key, got[key], value, later[key])
		}
	}
	for key := range got {
		if _, known := acked[key]; !known && later[key] == nil {
			return fmt.Errorf("%s was never written", key)
		}
	}
	d.Clean(context.Background())
	again, _ := disk.Crash(env.KeepNothing, 0)
	if d, err = OpenDir(testEnv(again), dataDir, DirOptions{}); err != nil {
		return fmt.Errorf("after the second cut: %w", err)
	}
	if l, err = d.Open("a", 0, topicID("a"), c, &tally{}); err != nil {
		return fmt.Errorf("after the second cut: %w", err)
	}
	if err := lead(l); err != nil {
		return err
	}
	after, err := values(l)
	if err != nil || !maps.Equal(got, after) {
		return fmt.Errorf("after the second cut: %v, not %v (%w)", after, got, err)
	}
	return nil
}

// lastStable finds the offset of the first transaction that is open in a log, and shows those that
// are aborted.
func lastStable(data []byte, abort func(AbortedTxn) error) (int64, error) {
	first := map[int64]int64{}
	for len(data) > 0 {
		b, rest, err := record.Split(data)
		if err != nil {
			return 0, err
		}
		data = rest
		start, open := first[b.ProducerID()]
		switch {
		case b.IsTransactional() && !b.IsControl() && !open:
			first[b.ProducerID()] = b.BaseOffset()
		case b.IsControl():
			delete(first, b.ProducerID())
			c, err := b.Control()
			if err == nil && c.Type == record.Abort && open && abort != nil {
				err = abort(AbortedTxn{ProducerID: b.ProducerID(), First: start, Last: b.BaseOffset()})
			}
			if err != nil {
				return 0, err
			}
		}
	}
	stable := int64(1 << 60)
	for _, offset := range first {
		stable = min(stable, offset)
	}
	return stable, nil
}

// lead does what a partition does that opens a log: it notes the transactions whose markers reached
// the disk before their index did, and says what is stable.
func lead(l *Log) error {
	data, err := readAll(l, l.StartOffset())
	if err != nil {
		return err
	}
	at, err := lastStable(data, func(t AbortedTxn) error { return l.AppendAborted(t) })
	keeper := all()
	keeper.at.Store(at)
	l.SetKeeper(keeper)
	return err
}
