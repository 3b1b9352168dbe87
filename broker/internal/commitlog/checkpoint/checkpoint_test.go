package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/internal/env"
)

const path = "/data/recovery-point-offset-checkpoint"

type points = map[layout.TP]int64

// diskWith is a disk with a checkpoint of that text.
func diskWith(t testing.TB, text string) *env.MemFS {
	t.Helper()
	disk := env.NewMemFS()
	if err := disk.MkdirAll("/data", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := disk.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	if err := env.WriteFileAtomic(disk, path, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestRead(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want points // nil if it is corrupt
	}{
		"as Kafka begins":      {"", points{}},
		"no entries":           {"0\n0\n", points{}},
		"entries":              {"0\n2\na.b-c 0 17\nt 3 0\n", points{{Topic: "a.b-c"}: 17, {Topic: "t", Partition: 3}: 0}},
		"the largest":          {"0\n1\nt 2147483647 9223372036854775807\n", points{{Topic: "t", Partition: 2147483647}: 9223372036854775807}},
		"another version":      {"1\n0\n", nil},
		"no count":             {"0\n", nil},
		"a count that is none": {"0\nx\n", nil},
		"torn":                 {"0\n2\nt 0 1\n", nil},
		"torn in a line":       {"0\n1\nt 0 1", nil},
		"more than said":       {"0\n1\nt 0 1\nt 1 1\n", nil},
		"a field too few":      {"0\n1\nt 0\n", nil},
		"a field too many":     {"0\n1\nt 0 1 2\n", nil},
		"no number":            {"0\n1\nt 0 x\n", nil},
		"negative":             {"0\n1\nt 0 -1\n", nil},
		"partition too large":  {"0\n1\nt 2147483648 1\n", nil},
		"zeros":                {"\x00\x00\x00\x00\x00\x00\x00\x00", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Read(diskWith(t, tc.text), path)
			if corrupt := errors.Is(err, layout.ErrCorrupt); corrupt != (tc.want == nil) || err != nil && !corrupt {
				t.Errorf("got %v", err)
			}
			if tc.want == nil {
				tc.want = points{} // what cannot be told counts for nothing
			}
			if diff := cmp.Diff(tc.want, f.Offsets); diff != "" || f.Path != path {
				t.Error(f.Path, diff)
			}
		})
	}
}

func TestMissingFileIsEmpty(t *testing.T) {
	disk := diskWith(t, "")
	f, err := Read(disk, "/data/other")
	if err != nil || f.Offsets == nil || len(f.Offsets) > 0 {
		t.Errorf("%v, %v", f, err)
	}
	broken := errors.New("broken disk")
	disk.OnOp(env.FailNth(env.OpOpen, 1, broken))
	if f, err := Read(disk, path); !errors.Is(err, broken) || f.Offsets == nil {
		t.Errorf("%v, %v", f, err)
	}
}

// TestWrite: what was written is there after a crash, what is there already is not
// written again, and what could not be written is tried the next time.
func TestWrite(t *testing.T) {
	disk := diskWith(t, "")
	f, err := Read(disk, path)
	if err != nil {
		t.Fatal(err)
	}
	first, second := points{{Topic: "t"}: 5, {Topic: "a", Partition: 1}: 2}, points{{Topic: "t"}: 6}
	if err := f.Write(disk, first); err != nil {
		t.Fatal(err)
	}
	after := func(policy env.Policy) points {
		crashed, _ := disk.Crash(policy, 1)
		read, err := Read(crashed, path)
		if err != nil {
			t.Fatal(err)
		}
		return read.Offsets
	}
	for _, policy := range env.Policies() {
		if diff := cmp.Diff(first, after(policy)); diff != "" {
			t.Error(diff)
		}
	}
	ops := disk.Ops()
	if err := f.Write(disk, maps.Clone(first)); err != nil || disk.Ops() != ops {
		t.Errorf("%d operations to write what is there, %v", disk.Ops()-ops, err)
	}
	full := errors.New("disk full")
	for _, kind := range []env.OpKind{env.OpWrite, env.OpSync, env.OpRename, env.OpSyncDir} {
		disk.OnOp(env.FailNth(kind, 1, full))
		if err := f.Write(disk, second); !errors.Is(err, full) || !maps.Equal(f.Offsets, first) {
			t.Errorf("%s: %v, and it holds %v", kind, err, f.Offsets)
		}
		disk.OnOp(nil)
		if got := after(env.KeepNothing); !maps.Equal(got, first) {
			t.Errorf("%s: after a crash it holds %v", kind, got)
		}
	}
	if err := f.Write(disk, second); err != nil || !maps.Equal(f.Offsets, second) || !maps.Equal(after(env.KeepNothing), second) {
		t.Errorf("the next time: %v", err)
	}
}

// FuzzRead: whatever stands in a checkpoint, it is corrupt or means offsets that can be
// written and read again.
func FuzzRead(f *testing.F) {
	f.Add("")
	f.Add("0\n0\n")
	f.Add("0\n2\na.b-c 0 17\nt 3 0\n")
	f.Add("0\n1\nt 0 -1\n")
	f.Add("0\n1\n\u0085 +0 1\n")
	f.Add(fmt.Sprintf("0\n1\nt 0 1\n%s", "\x00"))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		disk := diskWith(t, text)
		read, err := Read(disk, path)
		if err != nil {
			if !errors.Is(err, layout.ErrCorrupt) || len(read.Offsets) > 0 {
				t.Fatalf("%v, with %v", err, read.Offsets)
			}
			return
		}
		again := &File{Path: "/data/again"}
		if err := again.Write(disk, read.Offsets); err != nil {
			t.Fatal(err)
		}
		if again, err = Read(disk, again.Path); err != nil || !maps.Equal(again.Offsets, read.Offsets) {
			t.Fatalf("%v became %v, %v", read.Offsets, again.Offsets, err)
		}
	})
}
