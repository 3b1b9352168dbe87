package commitlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// countingFS counts the reads of log files.
type countingFS struct {
	env.FS
	reads atomic.Int64
}

func (f *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (env.File, error) {
	h, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return h, err
	}
	return &countingFile{h, f}, nil
}

type countingFile struct {
	env.File
	fs *countingFS
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.reads.Add(1)
	return f.File.ReadAt(p, off)
}

// several returns a log of batches of many sizes in several segments.
func several(t *testing.T, fsys env.FS) *Log {
	l := openLog(t, openDir(t, fsys, DirOptions{}), "a", Config{SegmentBytes: 30_000, IndexIntervalBytes: 4096}, nil)
	for i := range 60 {
		mustAppend(t, l, batchOf(0, int64(i), strings.Repeat("v", i*i%2500), "second"))
	}
	return l
}

func bytesOf(t *testing.T, r Range) []byte {
	t.Helper()
	got := make([]byte, r.Len())
	if n, err := r.ReadAt(got, 0); n != len(got) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%d of %d bytes: %v", n, len(got), err)
	}
	return got
}

func TestReadingIntoMemoryFindsWhatReadingFinds(t *testing.T) {
	l := several(t, env.NewMemFS())
	end := l.EndOffset()
	copied, left := 0, 0
	for from := int64(0); from < end; from += 3 {
		for _, upTo := range []int64{from + 1, from + 2, from + 7, end} {
			for _, most := range []int{0, 1, 60, 61, 500, 4000, 4096, 9000, 1 << 20} {
				for _, room := range []int{0, 60, 700, 4096, 40_000} {
					minOne := (int(from)+most+room)%2 == 0
					want, err := l.Read(from, upTo, most, minOne)
					if err != nil {
						t.Fatal(err)
					}
					got, err := l.ReadInto(make([]byte, room), from, upTo, most, minOne)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(bytesOf(t, got), bytesOf(t, want)) || got.Lent() && got.Len() > room || !got.InMemory() && want.Len() > 0 && want.Len() <= room {
						t.Fatalf("[%d, %d) max %d min one %v into %d: %d bytes, in memory %v, want %d",
							from, upTo, most, minOne, room, got.Len(), got.InMemory(), want.Len())
					}
					if got.InMemory() {
						copied++
					} else if got.Len() > 0 {
						left++
					}
					want.Release()
					got.Release()
				}
			}
		}
	}
	if copied < 1000 || left < 1000 {
		t.Errorf("%d ranges in memory and %d in files prove little", copied, left)
	}
}

func TestAReaderThatGoesOnReadsOnce(t *testing.T) {
	for _, most := range []int{4096, 20_000} { // a part of a segment, which is read ahead, and most of one
		fsys := &countingFS{FS: env.NewMemFS()}
		l := several(t, fsys)
		into := make([]byte, 64<<10)
		answers := int64(0)
		for from := int64(0); from < l.EndOffset(); answers++ {
			before := fsys.reads.Load()
			r, err := l.ReadInto(into, from, l.EndOffset(), most, true)
			if err != nil || !r.InMemory() {
				t.Fatalf("at %d: %d bytes, in memory %v, %v", from, r.Len(), r.InMemory(), err)
			}
			if n := fsys.reads.Load() - before; n > 1 {
				t.Errorf("%d bytes at %d took %d reads", r.Len(), from, n)
			}
			for data := bytesOf(t, r); len(data) > 0; {
				var b record.Batch
				if b, data, err = record.Split(data); err != nil {
					t.Fatal(err)
				}
				from = b.NextOffset()
			}
			r.Release()
		}
		if n, ahead := fsys.reads.Load(), most == 4096; ahead != (n < answers/2) {
			t.Errorf("%d answers of %d bytes took %d reads", answers, most, n)
		}
	}
}

func TestACopyOutlivesItsLog(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{})
	l := openLog(t, d, "a", Config{}, nil)
	b := batchOf(0, 1, "hello")
	mustAppend(t, l, b)
	r, err := l.ReadInto(make([]byte, 1000), 0, 1, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.TruncateTo(0), d.Delete("a", 0)); err != nil {
		t.Fatal(err)
	}
	d.removeTrash(true)
	if !bytes.Equal(bytesOf(t, r), b) {
		t.Error("the copy has changed")
	}
	if _, _, ok := r.File(); ok {
		t.Error("a copy has a file")
	}
	if n, err := r.ReadAt(make([]byte, 10), int64(len(b)-3)); n != 3 || !errors.Is(err, io.EOF) {
		t.Errorf("end: %d, %v", n, err)
	}
	r.Release()
}

func TestAFileThatWasCutUnderneathIsNotCopied(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", Config{}, nil)
	mustAppend(t, l, batchOf(0, 1, strings.Repeat("v", 10_000)))
	h, err := fsys.OpenFile(dataDir+"/a-0/00000000000000000000.log", 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Truncate(5000), h.Close()); err != nil { // the header can still be read
		t.Fatal(err)
	}
	if _, err := l.ReadInto(make([]byte, 20_000), 0, 1, 20_000, true); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at once: %v", err)
	}
	if _, err := l.ReadInto(make([]byte, 20_000), 0, 1, 1, true); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("behind its header: %v", err)
	}
}
