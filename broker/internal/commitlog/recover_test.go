package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// written makes a log of n batches of one record, synced but not stopped, and returns its disk.
func written(t *testing.T, n int, c Config) *env.MemFS {
	t.Helper()
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", c, &tally{})
	for i := range n {
		mustAppend(t, l, batchOf(0, int64(1000+i), fmt.Sprintf("value %d %s", i, strings.Repeat("x", 90))))
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	disk, _ := fsys.Crash(env.KeepAll, 0)
	return disk
}

const firstSegment = dataDir + "/a-0/00000000000000000000"

func TestATornTailIsCutToTheLastWholeBatch(t *testing.T) {
	one := batchOf(0, 5000, "one more")
	record.Batch(one).SetBaseOffset(10)
	badCRC := bytes.Clone(one)
	badCRC[len(badCRC)-1] ^= 1
	old := bytes.Clone(one)
	old[16] = 1
	huge := bytes.Clone(one)
	copy(huge[8:], []byte{0x7f, 0xff, 0xff, 0xff})
	negative := bytes.Clone(one)
	copy(negative[8:], []byte{0xff, 0xff, 0xff, 0xff})
	early := bytes.Clone(one)
	record.Batch(early).SetBaseOffset(3)
	for name, tail := range map[string][]byte{
		"part of a header":   one[:40],
		"one byte":           one[:1],
		"part of a body":     one[:len(one)-1],
		"zeroes":             make([]byte, 8192),
		"a few zeroes":       make([]byte, 20),
		"bad crc":            badCRC,
		"bad crc, then good": append(bytes.Clone(badCRC), one...),
		"old magic":          old,
		"huge length":        huge,
		"negative length":    negative,
		"offset went back":   early,
	} {
		t.Run(name, func(t *testing.T) {
			disk := written(t, 10, Config{IndexIntervalBytes: 200})
			before, err := env.ReadFile(disk, firstSegment+segment.LogSuffix)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, disk, firstSegment+segment.LogSuffix, func(b []byte) []byte { return append(b, tail...) })
			f := &tally{}
			l := openLog(t, openDir(t, disk, DirOptions{}), "a", Config{}, f)
			if l.EndOffset() != 10 || l.SyncedOffset() != 10 || f.next != 10 {
				t.Errorf("log ends at %d, synced %d, follower %d", l.EndOffset(), l.SyncedOffset(), f.next)
			}
			after, _ := disk.Crash(env.KeepNothing, 0)
			if data, err := env.ReadFile(after, firstSegment+segment.LogSuffix); err != nil || !bytes.Equal(data, before) {
				t.Errorf("%d bytes on disk, want %d (%v)", len(data), len(before), err)
			}
		})
	}
}

func TestTheLogEndsAtTheFirstBadBatchAndLaterSegmentsGo(t *testing.T) {
	c := Config{SegmentBytes: 700, FileDeleteDelayMs: 1000}
	disk := written(t, 20, c)
	rewrite(t, disk, dataDir+"/a-0/00000000000000000004"+segment.LogSuffix, func(b []byte) []byte {
		b[len(b)-1] ^= 1
		return b
	})
	d := openDir(t, disk, DirOptions{})
	l := openLog(t, d, "a", c, &tally{})
	if l.EndOffset() != 7 {
		t.Fatalf("log ends at %d", l.EndOffset())
	}
	if _, err := disk.Stat(dataDir + "/a-0/00000000000000000008" + segment.LogSuffix + segment.DeletedSuffix); err != nil {
		t.Errorf("the dropped segment was not kept aside: %v", err)
	}
	if first, _ := mustAppend(t, l, batchOf(0, 1, "next")); first != 7 {
		t.Errorf("next offset is %d", first)
	}
}

// TestHolesThatACompactionLeftAreNoDamage: Kafka's leaves no batch behind for the end of a segment.
func TestHolesThatACompactionLeftAreNoDamage(t *testing.T) {
	c := Config{SegmentBytes: 700, FileDeleteDelayMs: 1, Compact: true}
	beyond := dataDir + "/a-0/00000000000000000008" + segment.LogSuffix
	for _, row := range []struct {
		name    string
		compact bool
		cleaned int64 // what the checkpoint says
		damage  bool
		end     int64
		kept    string // where the segment beyond the hole is, and stays
	}{
		{"below the cleaner's offset", true, 8, false, 20, beyond},
		{"below the cleaner's offset, with a policy of today", false, 8, false, 20, beyond},
		{"above it", true, 4, false, 7, beyond + layout.StraySuffix},
		{"in a log that is not compacted", false, 0, false, 7, ""},
		{"below the cleaner's offset, behind damage", true, 8, true, 7, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			disk := written(t, 20, c)
			rewrite(t, disk, dataDir+"/a-0/00000000000000000004"+segment.LogSuffix, func(b []byte) []byte {
				for at := 0; ; {
					one, _, err := record.Split(b[at:])
					if err != nil {
						t.Fatal(err)
					}
					if one.BaseOffset() == 7 {
						if row.damage {
							at += 20
						}
						return b[:at]
					}
					at += len(one)
				}
			})
			if err := env.WriteFileAtomic(disk, dataDir+"/"+layout.CleanerFile, layout.EncodeOffsets(map[layout.TP]int64{{Topic: "a"}: row.cleaned})); err != nil {
				t.Fatal(err)
			}
			c := c
			c.Compact = row.compact
			for start := range 2 {
				d := openDir(t, disk, DirOptions{})
				f := &tally{}
				l := openLog(t, d, "a", c, f)
				d.removeTrash(true)
				if l.EndOffset() != row.end || f.next != row.end || f.wrong != "" {
					t.Fatalf("start %d: the log ends at %d, the follower at %d %s", start, l.EndOffset(), f.next, f.wrong)
				}
				disk, _ = disk.Crash(env.KeepAll, 0)
				if _, err := disk.Stat(row.kept); row.kept != "" && err != nil {
					t.Fatalf("start %d: %v", start, err)
				}
			}
		})
	}
}

func TestABadIndexIsBuiltAgain(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"missing":        nil,
		"empty":          func([]byte) []byte { return nil },
		"zeroes":         func(b []byte) []byte { return make([]byte, len(b)) },
		"garbage":        func(b []byte) []byte { return bytes.Repeat([]byte{0xab}, len(b)) },
		"half an entry":  func(b []byte) []byte { return b[:len(b)-5] },
		"hole of zeroes": func(b []byte) []byte { clear(b[len(b)/3 : len(b)/2]); return b },
		"too long":       func(b []byte) []byte { return append(b, b...) },
		"shifted":        func(b []byte) []byte { b[7]++; return b },
	} {
		for _, clean := range []bool{true, false} {
			for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix} {
				t.Run(fmt.Sprintf("%s%s clean=%v", name, suffix, clean), func(t *testing.T) {
					c := Config{SegmentBytes: 3000, IndexIntervalBytes: 300}
					disk := written(t, 100, c)
					d := openDir(t, disk, DirOptions{})
					openLog(t, d, "a", c, nil)
					if err := d.Checkpoint(); err != nil {
						t.Fatal(err)
					}
					if clean {
						if err := d.close(); err != nil {
							t.Fatal(err)
						}
					}
					disk, _ = disk.Crash(env.KeepAll, 0)
					for _, base := range []string{firstSegment, dataDir + "/a-0/00000000000000000090"} {
						if change == nil {
							_ = disk.Remove(base + suffix)
						} else if _, err := disk.Stat(base + suffix); err == nil {
							rewrite(t, disk, base+suffix, change)
						}
					}
					l := openLog(t, openDir(t, disk, DirOptions{}), "a", c, nil)
					if l.EndOffset() != 100 {
						t.Fatalf("log ends at %d", l.EndOffset())
					}
					checkLookups(t, l, 100)
				})
			}
		}
	}
}

// checkLookups finds each of n one-record batches by offset and by timestamp 1000+i.
func checkLookups(t *testing.T, l *Log, n int64) {
	t.Helper()
	for o := range n {
		r, err := l.Read(o, n, 1, true)
		if err != nil || r.Len() == 0 {
			t.Fatalf("read at %d: %d bytes, %v", o, r.Len(), err)
		}
		head := make([]byte, record.HeaderSize)
		if _, err := r.ReadAt(head, 0); err != nil || record.Batch(head).BaseOffset() != o {
			t.Errorf("read at %d gives %d, %v", o, record.Batch(head).BaseOffset(), err)
		}
		r.Release()
		found, ok, err := l.OffsetForTime(1000+o, n)
		if err != nil || !ok || found.Offset != o {
			t.Errorf("timestamp %d is at %d, %v, %v", 1000+o, found.Offset, ok, err)
		}
	}
}

// counting counts the bytes read from .log files.
func countLogReads(fsys *env.MemFS, read *int) {
	fsys.OnOp(func(op env.Op) error {
		if op.Kind == env.OpRead && strings.HasSuffix(op.Name, segment.LogSuffix) {
			*read += op.Bytes
		}
		return nil
	})
}

func TestRecoveryReadsOnlyFromTheRecoveryPoint(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	c := Config{IndexIntervalBytes: 4096}
	l := openLog(t, d, "a", c, nil)
	payload := strings.Repeat("x", 4000)
	for range 500 {
		mustAppend(t, l, batchOf(0, 1, payload))
	}
	if err := errors.Join(l.Sync(), d.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	if l.RecoveryPoint() != 500 {
		t.Fatalf("recovery point is %d", l.RecoveryPoint())
	}
	mustAppend(t, l, batchOf(0, 1, payload))
	disk, _ := fsys.Crash(env.KeepAll, 0)
	read := 0
	countLogReads(disk, &read)
	l = openLog(t, openDir(t, disk, DirOptions{}), "a", c, nil)
	if l.EndOffset() != 501 || read > 64<<10 {
		t.Errorf("log ends at %d after reading %d bytes of %d", l.EndOffset(), read, l.Size())
	}
}

func TestAStartWithPageCacheDoesNotWaitForTheDisk(t *testing.T) {
	for durability, want := range map[Durability]int64{Fsync: 10, PageCache: 0} {
		disk := written(t, 10, Config{})
		d := openDir(t, disk, DirOptions{})
		l := openLog(t, d, "a", Config{Durability: durability}, &tally{})
		if l.EndOffset() != 10 || l.SyncedOffset() != want {
			t.Errorf("durability %d: the log ends at %d and is synced up to %d, want 10 and %d", durability, l.EndOffset(), l.SyncedOffset(), want)
		}
		if err := d.sync(d.takeQueue()); err != nil || l.SyncedOffset() != 10 {
			t.Errorf("durability %d: the syncer leaves it synced up to %d, %v", durability, l.SyncedOffset(), err)
		}
	}
}

func TestACleanStopSkipsTheScan(t *testing.T) {
	disk := written(t, 2000, Config{IndexIntervalBytes: 4096})
	d := openDir(t, disk, DirOptions{})
	openLog(t, d, "a", Config{}, &tally{})
	d.SetBrokerEpoch(42)
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	read := 0
	countLogReads(disk, &read)
	d = openDir(t, disk, DirOptions{})
	if epoch, clean := d.StoppedCleanly(); !clean || epoch != 42 {
		t.Errorf("clean %v, epoch %d", clean, epoch)
	}
	f := &tally{}
	l := openLog(t, d, "a", Config{}, f)
	if l.EndOffset() != 2000 || f.next != 2000 || read > 32<<10 {
		t.Errorf("log ends at %d, follower at %d, %d bytes read", l.EndOffset(), f.next, read)
	}
	disk, _ = disk.Crash(env.KeepAll, 0)
	if _, clean := openDir(t, disk, DirOptions{}).StoppedCleanly(); clean {
		t.Error("the marker of a clean stop was still there after a start")
	}
}

func TestACorruptRecoveryCheckpointMeansFullRecovery(t *testing.T) {
	for _, text := range []string{"", "garbage", "0\n2\na 0 5\n", "1\n0\n", "0\n1\na zero 5\n", "0\n1\na 0 -5\n", "\x00\x00"} {
		disk := written(t, 10, Config{})
		if err := env.WriteFile(disk, dataDir+"/"+layout.RecoveryFile, []byte(text)); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, openDir(t, disk, DirOptions{}), "a", Config{}, nil)
		if l.EndOffset() != 10 {
			t.Errorf("%q: log ends at %d", text, l.EndOffset())
		}
	}
}

func TestLeaderEpochsComeBackFromTheLog(t *testing.T) {
	for name, spoil := range map[string]func(fsys *env.MemFS) error{
		"missing": func(fsys *env.MemFS) error { return ignoreMissing(fsys.Remove(dataDir + "/a-0/" + layout.EpochFile)) },
		"garbage": func(fsys *env.MemFS) error {
			return env.WriteFile(fsys, dataDir+"/a-0/"+layout.EpochFile, []byte("0\n1\nx y\n"))
		},
		"descending": func(fsys *env.MemFS) error {
			return env.WriteFile(fsys, dataDir+"/a-0/"+layout.EpochFile, []byte("0\n2\n5 5\n4 9\n"))
		},
		"beyond the end": func(fsys *env.MemFS) error {
			return env.WriteFile(fsys, dataDir+"/a-0/"+layout.EpochFile, []byte("0\n4\n1 0\n3 3\n7 5\n9 700\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := env.NewMemFS()
			d := openDir(t, fsys, DirOptions{})
			l := openLog(t, d, "a", Config{}, nil)
			for _, epoch := range []int32{1, 1, 1, 3, 3, 7} {
				if _, _, err := l.Append(batchOf(0, 1, "x"), epoch); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
			if err := spoil(fsys); err != nil {
				t.Fatal(err)
			}
			fsys, _ = fsys.Crash(env.KeepAll, 0)
			l = openLog(t, openDir(t, fsys, DirOptions{}), "a", Config{}, nil)
			for _, c := range []struct {
				ask, epoch int32
				end        int64
			}{{1, 1, 3}, {2, 1, 3}, {3, 3, 5}, {6, 3, 5}, {7, 7, 6}, {8, -1, -1}, {0, 0, 0}, {-1, -1, -1}} {
				if epoch, end := l.EpochEnd(c.ask); epoch != c.epoch || end != c.end {
					t.Errorf("epoch %d: %d ends at %d, want %d at %d", c.ask, epoch, end, c.epoch, c.end)
				}
			}
		})
	}
}

func TestACorruptSnapshotGivesWayToAnOlderOne(t *testing.T) {
	c := Config{SegmentBytes: 700}
	disk := written(t, 20, c)
	d := openDir(t, disk, DirOptions{})
	openLog(t, d, "a", c, &tally{})
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	names := []string{"00000000000000000020", "00000000000000000016"}
	for i := range names {
		rewrite(t, disk, dataDir+"/a-0/"+names[i]+segment.SnapshotSuffix, func(b []byte) []byte { b[3] ^= 1; return b })
		disk, _ = disk.Crash(env.KeepAll, 0)
		if err := env.WriteFile(disk, dataDir+"/a-0/00000000000000000555"+segment.SnapshotSuffix, []byte("stray")); err != nil {
			t.Fatal(err)
		}
		f := &tally{}
		openLog(t, openDir(t, disk, DirOptions{}), "a", c, f)
		if f.next != 20 || f.wrong != "" {
			t.Errorf("follower at %d %s", f.next, f.wrong)
		}
		for _, gone := range []string{names[i], "00000000000000000555"} {
			if _, err := disk.Stat(dataDir + "/a-0/" + gone + segment.SnapshotSuffix); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("snapshot %s is still there: %v", gone, err)
			}
		}
	}
}

// TestAFollowerSeesDeletedRecordsThatAreThere: their producer may not have heard of them.
func TestAFollowerSeesDeletedRecordsThatAreThere(t *testing.T) {
	disk := written(t, 3, Config{})
	d := openDir(t, disk, DirOptions{})
	l := openLog(t, d, "a", Config{}, nil)
	if err := errors.Join(l.Sync(), l.SetStartOffset(3)); err != nil {
		t.Fatal(err)
	}
	disk, _ = disk.Crash(env.KeepNothing, 0)
	f := &tally{}
	l = openLog(t, openDir(t, disk, DirOptions{}), "a", Config{}, f)
	if l.StartOffset() != 3 || l.EndOffset() != 3 || f.next != 3 {
		t.Errorf("log is %d to %d, follower at %d", l.StartOffset(), l.EndOffset(), f.next)
	}
}

func TestLeftoversOfAnEarlierProcessAreClearedAway(t *testing.T) {
	c := Config{}
	disk := written(t, 3, c)
	for _, name := range []string{"00000000000000000000.log.deleted", "00000000000000000000.log.cleaned", "00000000000000000009.index", "leader-epoch-checkpoint.tmp"} {
		if err := env.WriteFile(disk, dataDir+"/a-0/"+name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.MkdirAll(dataDir+"/b-0.0123-delete", 0o750); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, disk, DirOptions{})
	l := openLog(t, d, "a", c, nil)
	d.removeTrash(false)
	entries, err := disk.ReadDir(dataDir + "/a-0")
	if err != nil || len(entries) != 2 || l.EndOffset() != 3 {
		t.Errorf("left %v, %v", entries, err)
	}
	if _, err := disk.Stat(dataDir + "/b-0.0123-delete"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted log is still there: %v", err)
	}
}

func TestALogThatEndsBeforeItsStartBeginsThere(t *testing.T) {
	disk := written(t, 3, Config{})
	if err := env.WriteFile(disk, dataDir+"/"+layout.StartFile, []byte("0\n1\na 0 50\n")); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, disk, DirOptions{})
	l := openLog(t, d, "a", Config{}, &tally{})
	if l.StartOffset() != 50 || l.EndOffset() != 50 {
		t.Fatalf("log is %d to %d", l.StartOffset(), l.EndOffset())
	}
	mustAppend(t, l, batchOf(0, 1, "x"))
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, openDir(t, disk, DirOptions{}), "a", Config{}, &tally{})
	if l.StartOffset() != 50 || l.EndOffset() != 51 {
		t.Errorf("log is %d to %d", l.StartOffset(), l.EndOffset())
	}
}

func TestAnUnreadableSegmentFailsTheOpenOnly(t *testing.T) {
	failure := errors.New("input/output error")
	for _, kind := range []env.OpKind{env.OpRead, env.OpOpen, env.OpList} {
		for nth := 1; nth < 9; nth++ {
			disk := written(t, 3, Config{})
			d := openDir(t, disk, DirOptions{})
			disk.OnOp(env.FailNth(kind, nth, failure))
			l, err := d.Open("a", 0, topicID("a"), Config{}, &tally{})
			disk.OnOp(nil)
			if err != nil {
				if !errors.Is(err, failure) {
					t.Errorf("%s %d: %v", kind, nth, err)
				}
				if d.Err() != nil {
					continue // the sync of what was recovered needed the file
				}
				l = openLog(t, d, "a", Config{}, nil)
			}
			if l.EndOffset() != 3 {
				t.Errorf("%s %d: log ends at %d", kind, nth, l.EndOffset())
			}
		}
	}
}
