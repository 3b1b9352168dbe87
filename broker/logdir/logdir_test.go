package logdir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// written makes a log directory with a partition of several segments and an aborted transaction, not
// stopped cleanly.
func written(t *testing.T) *env.MemFS {
	t.Helper()
	fsys := env.NewMemFS()
	d, err := commitlog.OpenDir(env.Env{Clock: env.RealClock(), FS: fsys, Rand: rand.Reader}, "/data", commitlog.DirOptions{ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Open("a", 0, [16]byte{1}, commitlog.Config{SegmentBytes: 600, IndexIntervalBytes: 1}, producer.New())
	if err != nil {
		t.Fatal(err)
	}
	add := func(b record.Batch) int64 {
		_, last, err := l.Append(b, 2)
		if err != nil {
			t.Fatal(err)
		}
		return last
	}
	for i := range 12 {
		b := record.NewBuilder(record.Options{Producer: &record.Producer{ID: 7, Sequence: int32(i)}, Transactional: true})
		b.Append(int64(1000+i), []byte("key"), bytes.Repeat([]byte("v"), 50), []record.Header{{Key: "h", Value: []byte("x")}})
		first := add(b.Build())
		last := add(record.NewEndTxn(7, 0, record.Control{Type: record.Abort}, int64(1000+i)))
		if err := l.AppendAborted(commitlog.AbortedTxn{ProducerID: 7, First: first, Last: last, LastStable: last + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Sync(), d.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	disk, _ := fsys.Crash(env.KeepAll, 0)
	return disk
}

func change(t *testing.T, fsys env.FS, name string, f func(b []byte) []byte) {
	t.Helper()
	data, err := env.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := env.WriteFile(fsys, name, f(data)); err != nil {
		t.Fatal(err)
	}
}

func TestASoundDirectoryHasNoProblems(t *testing.T) {
	fsys := written(t)
	for _, path := range []string{"/data", "/data/a-0"} {
		r, err := Verify(fsys, path)
		if err != nil || len(r.Problems) != 0 || r.Partitions != 1 || r.Segments < 3 || r.Records != 24 || r.Batches != 24 || r.CleanStopped {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
	}
}

func TestEachProblemIsFound(t *testing.T) {
	const first = "/data/a-0/00000000000000000000"
	set := func(at int, b ...byte) func([]byte) []byte {
		return func(data []byte) []byte { copy(data[at:], b); return data }
	}
	replace := func(text string) func([]byte) []byte { return func([]byte) []byte { return []byte(text) } }
	for name, c := range map[string]struct {
		file   string
		change func([]byte) []byte
		at     int64
		what   string
		means  string
	}{
		"a flipped byte":         {first + ".log", set(70, 0xff), 0, "crc", badBatch},
		"a torn batch":           {first + ".log", func(b []byte) []byte { return b[:len(b)-1] }, -2, "no whole batch", badBatch},
		"a torn header":          {first + ".log", func(b []byte) []byte { return b[:20] }, 0, "no whole batch: 20 bytes", badBatch},
		"a huge length":          {first + ".log", set(8, 0x7f), 0, "length", badBatch},
		"an old magic":           {first + ".log", set(16, 1), 0, "no whole batch", badBatch},
		"offsets that go back":   {first + ".log", func(b []byte) []byte { n := record.Batch(b).Length(); return append(b, b[:n]...) }, -2, "after", badOrder},
		"offsets beyond":         {first + ".log", set(7, 99), 0, "belongs to the next segment", badOrder},
		"an index position":      {first + ".index", set(7, 3), 0, "no batch begins", badIndex},
		"an index offset":        {first + ".index", set(3, 99), 0, "is not at position", badIndex},
		"an index out of order":  {first + ".index", func(b []byte) []byte { return append(b, b[:8]...) }, -2, "after offset", badIndex},
		"part of an entry":       {first + ".index", func(b []byte) []byte { return append(b, 1) }, -2, "part of an entry", badIndex},
		"a timestamp too large":  {first + ".timeindex", set(0, 1), 0, "the largest of the segment", badIndex},
		"a timestamp of nothing": {first + ".timeindex", set(11, 99), 0, "the segment ends at", badIndex},
		"timestamps go back":     {first + ".timeindex", func(b []byte) []byte { return append(b, b[:12]...) }, -2, "after timestamp", badIndex},
		"a transaction version":  {first + ".txnindex", set(0, 1), 0, "version 0", badTxns},
		"a marker elsewhere":     {first + ".txnindex", set(25, 99), 0, "not in the segment", badTxns},
		"a marker that is none":  {first + ".txnindex", set(25, 0), 0, "no abort marker", badTxns},
		"markers out of order":   {first + ".txnindex", func(b []byte) []byte { return append(b, b[:34]...) }, -2, "after", badTxns},
		"an id that is none":     {"/data/a-0/partition.metadata", replace("version: 7"), -1, "partition.metadata", badStart},
		"epochs that are none":   {"/data/a-0/leader-epoch-checkpoint", replace("x"), -1, "checkpoint", badEpochs},
		"an epoch beyond":        {"/data/a-0/leader-epoch-checkpoint", replace("0\n1\n3 999\n"), -1, "begins at 999", badEpochs},
		"recovery points":        {"/data/recovery-point-offset-checkpoint", replace("x"), -1, "checkpoint", badPoints},
		"a point beyond the log": {"/data/recovery-point-offset-checkpoint", replace("0\n1\na 0 999\n"), -1, "the log ends at 24", "durable"},
		"meta.properties":        {"/data/meta.properties", replace("x"), -1, "version", badStart},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := written(t)
			change(t, fsys, c.file, c.change)
			r, err := Verify(fsys, "/data")
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Problems, func(p Problem) bool {
				return p.File == c.file && (p.Position == c.at || c.at == -2 && p.Position > 0) && strings.Contains(p.What, c.what) && strings.Contains(p.Means, c.means)
			}) {
				t.Errorf("found %+v", r.Problems)
			}
			if err := Dump(fsys, "/data", DumpOptions{Records: true}, func(Entry) error { return nil }); err != nil {
				t.Errorf("dump: %v", err)
			}
		})
	}
}

// TestMissingTransactionIndex: what was aborted must stand in the index of the segment with the marker.
func TestMissingTransactionIndex(t *testing.T) {
	const first = "/data/a-0/00000000000000000000"
	fsys := written(t)
	if err := fsys.Remove(first + ".txnindex"); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(fsys, "/data")
	if err != nil || len(r.Problems) == 0 {
		t.Fatalf("%+v, %v", r.Problems, err)
	}
	for i, p := range r.Problems {
		if p.File != first+".txnindex" || p.Position != -1 || p.Means != lostTxns || !strings.Contains(p.What, "no entry of the abort marker") {
			t.Errorf("%d: %+v", i, p)
		}
	}
}

func TestLeftoversAndSnapshots(t *testing.T) {
	fsys := written(t)
	r, err := Verify(fsys, "/data")
	if err != nil || len(r.Problems) > 0 {
		t.Fatal(r, err)
	}
	if err := errors.Join(
		env.WriteFile(fsys, "/data/a-0/00000000000000000000.log.swap", nil),
		env.WriteFile(fsys, "/data/a-0/00000000000000000024.snapshot", []byte("none")),
	); err != nil {
		t.Fatal(err)
	}
	if r, err = Verify(fsys, "/data"); err != nil || len(r.Problems) != 2 || r.Problems[0].Means != leftover || r.Problems[1].Means != badSnapshot {
		t.Errorf("%+v, %v", r.Problems, err)
	}
}

func TestDumpShowsEveryKindOfFile(t *testing.T) {
	fsys := written(t)
	kinds := map[string]int{}
	err := Dump(fsys, "/data", DumpOptions{Records: true}, func(e Entry) error {
		switch {
		case e.Batch != nil && e.Batch.Control == "abort":
			kinds["abort"]++
		case e.Batch != nil:
			kinds["batch"]++
			if r := e.Batch.Records[0]; string(r.Key) != "key" || string(r.Headers["h"]) != "x" || r.Decoded != "" {
				t.Errorf("record %+v", r)
			}
		case e.Index != nil:
			kinds[filepath.Ext(e.File)]++
		case e.Aborted != nil:
			kinds["aborted"]++
		case e.Producer != nil:
			kinds["producer"]++
		case e.Text != "":
			kinds["text"]++
		}
		return nil
	})
	if err != nil || kinds["abort"] != 12 || kinds["batch"] != 12 || kinds["aborted"] != 12 || kinds["producer"] == 0 || kinds[".index"] == 0 || kinds[".timeindex"] == 0 || kinds["text"] < 4 {
		t.Errorf("%v, %v", kinds, err)
	}
	full := errors.New("full")
	for _, path := range []string{"/data", "/data/a-0/00000000000000000000.log", "/data/a-0/00000000000000000000.index", "/data/meta.properties"} {
		if err := Dump(fsys, path, DumpOptions{}, func(Entry) error { return full }); !errors.Is(err, full) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestDumpOfIndexes: Kafka sets room aside in an index, megabytes of zeroes that are no entries; what is
// none either way is shown as a problem and ends the file.
func TestDumpOfIndexes(t *testing.T) {
	const first = "/data/a-0/00000000000000000000"
	for name, c := range map[string]struct {
		suffix string
		change func(b []byte) []byte
		shown  func(sound int) int
		what   string
	}{
		"room":                {".index", func(b []byte) []byte { return append(b, make([]byte, 8<<10)...) }, func(n int) int { return n }, ""},
		"room for timestamps": {".timeindex", func(b []byte) []byte { return append(b, make([]byte, 12<<10)...) }, func(n int) int { return n }, ""},
		"torn":                {".index", func(b []byte) []byte { return append(b, 1) }, func(n int) int { return n }, "part of an entry"},
		"torn transactions":   {".txnindex", func(b []byte) []byte { return b[:len(b)-1] }, func(n int) int { return n - 1 }, "part of an entry"},
		"another version":     {".txnindex", func(b []byte) []byte { b[1] = 7; return b }, func(int) int { return 0 }, "no entry of version 0"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := written(t)
			entries := func() (n int, problem string) {
				err := Dump(fsys, first+c.suffix, DumpOptions{}, func(e Entry) error {
					if e.Problem != nil {
						problem += e.Problem.What
						return nil
					}
					n++
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				return n, problem
			}
			sound, problem := entries()
			if sound == 0 || problem != "" {
				t.Fatalf("%d entries, %s", sound, problem)
			}
			change(t, fsys, first+c.suffix, c.change)
			if n, problem := entries(); n != c.shown(sound) || problem != c.what {
				t.Errorf("%d entries of %d, problem %q", n, sound, problem)
			}
		})
	}
}

func TestInternalTopicsAreDecoded(t *testing.T) {
	for _, c := range []struct{ topic, key, value, want string }{
		{"__consumer_offsets", "\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03", "\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a", `offset of group "g" for t-3: 42`},
		{"__consumer_offsets", "\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03", "", `offset of group "g" for t-3: forgotten`},
		{"__consumer_offsets", "\x00\x02\x00\x01g", "\x00\x03\x00\x01c\x00\x00\x00\x05", `group "g": generation 5, protocol type "c"`},
		{"__consumer_offsets", "\x00\x02\x00\x01g", "", `group "g": gone`},
		{"__consumer_offsets", "\x00\x09\x00\x01g", "", `group "g": record of type 9`},
		{"__consumer_offsets", "\x00\x01\x00\x09g", "x", "unreadable"},
		{"__consumer_offsets", "\x00\x02\x00\x09g", "x", "unreadable"},
		{"__consumer_offsets", "\x00\x02\x00\x01g", "x", "unreadable"},
		{"__consumer_offsets", "\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03", "x", "unreadable"},
		{"__transaction_state", "\x00\x00\x00\x01x", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x02\x00\x00\x03\xe8\x01", `transactional id "x": producer 7 epoch 2, Ongoing, timeout 1000 ms`},
		{"__transaction_state", "\x00\x00\x00\x01x", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x02\x00\x00\x03\xe8\x63", "state 99"},
		{"__transaction_state", "\x00\x00\x00\x01x", "", `transactional id "x": gone`},
		{"__transaction_state", "\x00\x00\x00\x01x", "y", "unreadable"},
		{"__transaction_state", "\x00\x05", "", "record of type 5"},
		{"other", "k", "v", ""},
	} {
		value := []byte(c.value)
		if c.value == "" {
			value = nil
		}
		if got := decode(c.topic, []byte(c.key), value); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q: %s, not %s", c.key, got, c.want)
		}
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	fsys := written(t)
	if err := errors.Join(fsys.MkdirAll("/empty", 0o750), env.WriteFile(fsys, "/file", nil)); err != nil {
		t.Fatal(err)
	}
	show := func(Entry) error { return nil }
	for _, path := range []string{"/empty", "/file"} {
		_, err := Verify(fsys, path)
		if err2 := Dump(fsys, path, DumpOptions{}, show); !errors.Is(err, ErrNothing) || !errors.Is(err2, ErrNothing) {
			t.Errorf("%s: %v, %v", path, err, err2)
		}
	}
	for _, kind := range []env.OpKind{env.OpList, env.OpOpen, env.OpRead} {
		for n := 1; ; n++ {
			left := n
			fsys.OnOp(func(op env.Op) error {
				if op.Kind.Changes() {
					t.Errorf("%s of %s changes the directory", op.Kind, op.Name)
				}
				if op.Kind == kind {
					left--
				}
				if op.Kind == kind && left == 0 {
					return syscall.EIO
				}
				return nil
			})
			_, err := Verify(fsys, "/data")
			fsys.OnOp(nil)
			if left > 0 {
				break
			}
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s number %d fails: %v", kind, n, err)
			}
		}
	}
}
