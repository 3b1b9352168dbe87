package commitlog

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

// fuzzed makes a directory with a log of several segments that was not stopped cleanly, and names its files.
func fuzzed(t testing.TB) (disk *env.MemFS, files []string) {
	t.Helper()
	disk = env.NewMemFS()
	d := openDir(t, disk, DirOptions{})
	l := openLog(t, d, "t", Config{SegmentBytes: 600, IndexIntervalBytes: 1}, &tally{})
	l.AssignEpoch(0)
	for i := range 8 {
		mustAppend(t, l, batchOf(compress.None, int64(1000*i), "a", "b", string(make([]byte, 100))))
	}
	if err := l.AppendAborted(AbortedTxn{ProducerID: 1, First: 0, Last: 4, LastStable: 3}); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dataDir, filepath.Join(dataDir, "t-0")} {
		entries, err := disk.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.IsDir() && e.Name() != ".lock" {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	slices.Sort(files)
	disk, _ = disk.Crash(env.KeepAll, 0)
	return disk, files
}

// FuzzOpen: whatever stands in one file of a data directory (a segment, an index, a snapshot, a
// checkpoint), the directory and its log open, or say which file is corrupt; what the log then
// holds are intact batches in order. The first byte picks the file, the second where the rest goes.
func FuzzOpen(f *testing.F) {
	_, files := fuzzed(f)
	for i := range files {
		f.Add([]byte{byte(i), 0})
		f.Add([]byte{byte(i), 0, '0', '\n', '9', '\n'})
		f.Add([]byte{byte(i), 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 2 || len(in) > 4096 {
			return
		}
		disk, files := fuzzed(t)
		rewrite(t, disk, files[int(in[0])%len(files)], func(old []byte) []byte {
			at := min(int(in[1]), len(old))
			return slices.Concat(old[:at], in[2:], old[min(len(old), at+len(in)-2):])
		})
		d, err := OpenDir(testEnv(disk), dataDir, DirOptions{})
		if err != nil {
			wantsCorrupt(t, err)
			return
		}
		l, err := d.Open("t", 0, topicID("t"), Config{SegmentBytes: 600, IndexIntervalBytes: 1}, &tally{})
		if err != nil {
			wantsCorrupt(t, err)
			return
		}
		data, err := readAll(l, l.StartOffset())
		if err != nil {
			return // what was overwritten in place below the recovery point shows when it is read
		}
		for next := int64(-1); len(data) > 0; {
			b, rest, err := record.Split(data)
			if err != nil || b.BaseOffset() < next {
				t.Fatalf("batch %d behind %d: %v", b.BaseOffset(), next, err)
			}
			next, data = b.NextOffset(), rest
		}
		if _, _, err := l.OffsetForTime(3000, l.EndOffset()); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Logf("by time: %v", err)
		}
	})
}

func wantsCorrupt(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
		t.Fatalf("%v", err)
	}
}
