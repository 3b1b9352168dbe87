package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

func TestThePoolClosesTheLeastRecentlyUsed(t *testing.T) {
	p := NewPool(env.NewMemFS(), 3, 0)
	files := make([]*File, 6)
	for i := range files {
		files[i] = p.File(fmt.Sprint("/f", i))
		if _, err := files[i].Acquire(true); err != nil {
			t.Fatal(err)
		}
	}
	if p.Open() != 6 {
		t.Errorf("%d open while all are held", p.Open())
	}
	for _, f := range files {
		f.Release()
	}
	if p.Open() != 3 || files[2].handle != nil || files[3].handle == nil {
		t.Errorf("%d open", p.Open())
	}
	if _, err := files[3].Acquire(false); err != nil {
		t.Fatal(err)
	}
	files[3].Retire()
	if files[3].handle == nil {
		t.Error("a held file was closed")
	}
	files[3].Release()
	if files[3].handle != nil || p.Open() != 2 {
		t.Errorf("a retired file stays open, %d in all", p.Open())
	}
	if _, err := p.File("/missing").Acquire(false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// filled returns a segment of n batches of one record with timestamps 1000+i, written but for
// index entries that are in memory.
func filled(t *testing.T, n, interval int) *Segment {
	t.Helper()
	return filledIn(t, NewPool(env.NewMemFS(), 10, 2*windowSize), "/", n, interval)
}

func filledIn(t *testing.T, pool *Pool, dir string, n, interval int) *Segment {
	t.Helper()
	if err := pool.fs.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	s := New(pool, dir, 5)
	h, err := s.Log.Acquire(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Log.Release)
	pos := int64(0)
	for i := range n {
		b := record.NewBuilder(record.Options{BaseOffset: 5 + int64(i)})
		b.Append(int64(1000+i), nil, []byte("value"), nil)
		batch := b.Build()
		if _, err := h.WriteAt(batch, pos); err != nil {
			t.Fatal(err)
		}
		s.Note(batch, pos, interval)
		pos += int64(len(batch))
		s.Publish(batch.NextOffset(), pos)
	}
	return s
}

func TestIndexesFindTheSameInMemoryAndOnDisk(t *testing.T) {
	const n = 5000 // more entries than are kept in memory
	s := filled(t, n, 0)
	for _, when := range []string{"in memory", "written", "forgotten", "loaded"} {
		switch when {
		case "written":
			if err := s.FlushIndexes(); err != nil {
				t.Fatal(err)
			}
		case "forgotten":
			if err := s.Seal(); err != nil {
				t.Fatal(err)
			}
		case "loaded":
			s.Loaded(false)
			if err := s.Ready(0); err != nil {
				t.Fatal(err)
			}
		}
		h, err := s.Log.Acquire(false)
		if err != nil {
			t.Fatal(err)
		}
		sc := s.Headers(h)
		for i := int64(0); i < n; i += 97 {
			p, ok, err := s.FindOffset(sc, 5+i, s.Size(), 0)
			if err != nil || !ok || p.Base != 5+i {
				t.Errorf("%s: offset %d found at %d, %v", when, 5+i, p.Base, err)
			}
			if o, err := s.BeforeTime(1000 + i); err != nil || o > 5+i || o < 5+i-2 {
				t.Errorf("%s: timestamp %d begins at %d, %v", when, 1000+i, o, err)
			}
			if end, err := s.Boundary(sc, p, p.Pos+int64(p.Size)+3); err != nil || end != p.Pos+int64(p.Size) {
				t.Errorf("%s: boundary %d, want %d, %v", when, end, p.Pos+int64(p.Size), err)
			}
		}
		sc.Close()
		s.Log.Release()
		if ts, at := s.Largest(); ts != 1000+n-1 || at != 5+n-1 {
			t.Errorf("%s: largest timestamp %d at %d", when, ts, at)
		}
	}
}

// Kafka's tools cannot read a time index that has no offset index beside it.
func TestASegmentOfOneBatchHasBothIndexes(t *testing.T) {
	fsys := env.NewMemFS()
	s := filledIn(t, NewPool(fsys, 10, 2*windowSize), "/", 1, 0)
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	for suffix, want := range map[string]int{IndexSuffix: 0, TimeSuffix: timeWidth} {
		if data, err := env.ReadFile(fsys, s.Prefix+suffix); err != nil || len(data) != want {
			t.Errorf("%s: %d bytes, %v; want %d", suffix, len(data), err, want)
		}
	}
}

func TestReadersGoOnWhereOneHasStopped(t *testing.T) {
	const n = 5000
	s := filled(t, n, 1<<20) // no index entry but the first
	h, err := s.Log.Acquire(false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Log.Release()
	counted := &countingReader{ReaderAt: h}
	find := func(offset int64) (Place, int) {
		t.Helper()
		counted.bytes = 0
		sc := s.Headers(counted)
		defer sc.Close()
		p, ok, err := s.FindOffset(sc, offset, s.Size(), 1<<20)
		if err != nil || !ok || p.Base != offset {
			t.Fatalf("offset %d found at %d, %v", offset, p.Base, err)
		}
		return p, counted.bytes
	}
	at, far := find(5 + n/2)
	sc := s.Headers(h)
	s.Reached(sc, at.Base, at.Pos)
	if p, near := find(5 + n/2); p != at || near > nearChunk || far < 10*near {
		t.Errorf("found %v after %d bytes, before %v after %d", p, near, at, far)
	}
	s.Reached(sc, at.Base, at.Pos+7) // bytes within a batch
	if p, bytes := find(5 + n/2); p != at || bytes < far {
		t.Errorf("a hint that is wrong leads to %v after %d bytes", p, bytes)
	}
	after, _ := find(at.Base + 1)
	s.Reached(sc, at.Base, after.Pos) // the beginning of another batch
	if p, _ := find(5 + n/2); p != at {
		t.Errorf("a hint at another batch leads to %v", p)
	}
	s.SetSize(s.Size()) // a cut
	s.Reached(sc, at.Base, at.Pos)
	if _, bytes := find(5 + n/2); bytes < far {
		t.Errorf("a hint of before a cut was followed, %d bytes were read", bytes)
	}
	sc.Close()
}

// countingReader counts the bytes that are read.
type countingReader struct {
	io.ReaderAt

	bytes int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.bytes += len(p)
	return c.ReaderAt.ReadAt(p, off)
}

func TestNames(t *testing.T) {
	if got := Name(42, LogSuffix); got != "00000000000000000042.log" {
		t.Error(got)
	}
	for _, name := range []string{"42.log", "00000000000000000042", "0000000000000000004x.log", "99999999999999999999.log"} {
		if base, _, ok := ParseName(name); ok {
			t.Errorf("%s is taken for %d", name, base)
		}
	}
}
