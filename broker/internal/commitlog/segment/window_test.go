package segment

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

const step = 1000 // bytes that a reader of these tests asks for

// next reads as a reader that goes on does, and returns the range and the offset that follows it.
func next(t *testing.T, s *Segment, offset int64) (Range, int64) {
	t.Helper()
	sc := s.Headers(nil)
	defer sc.Close()
	sc.Lend(make([]byte, step), step)
	p, ok, err := s.FindOffset(sc, offset, s.Size(), 0)
	if err != nil || !ok || p.Base != offset {
		t.Fatalf("offset %d found at %d, %v", offset, p.Base, err)
	}
	end, err := s.Boundary(sc, p, min(p.Pos+step, s.Size()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Range(sc, p.Pos, int(end-p.Pos))
	if err != nil {
		t.Fatal(err)
	}
	return r, record.Batch(lastOf(contents(t, r))).NextOffset()
}

func contents(t *testing.T, r Range) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.Len())))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lastOf returns the last of the batches in b.
func lastOf(b []byte) []byte {
	for n := record.Batch(b).Length(); n < len(b); n = record.Batch(b).Length() {
		b = b[n:]
	}
	return b
}

func TestReadersFindWhatWasReadAhead(t *testing.T) {
	s := filled(t, 3000, 4096)
	file := make([]byte, s.Size())
	if err := ReadFull(s.Log.handle, file, 0); err != nil {
		t.Fatal(err)
	}
	var got []byte
	ranges, ahead := 0, 0
	for offset := int64(5); offset < s.Next(); ranges++ {
		Touch([]*Segment{nil, s}, []int64{0, offset})
		var r Range
		r, offset = next(t, s, offset)
		if r.InMemory() && !r.Lent() {
			ahead++
		}
		got = append(got, contents(t, r)...)
		r.Release()
	}
	if !bytes.Equal(got, file) || ahead < ranges*9/10 {
		t.Errorf("%d of %d bytes, %d of %d ranges read ahead", len(got), len(file), ahead, ranges)
	}
	if w := s.window.Load(); w == nil || w.refs.Load() != 1 || len(s.Log.pool.windows.all) != 1 {
		t.Errorf("a segment that nobody reads has %d windows, %v", len(s.Log.pool.windows.all), w)
	}
}

func TestACutShowsNothingThatWasReadAhead(t *testing.T) {
	s := filled(t, 1000, 4096)
	held, offset := next(t, s, 5)
	before := contents(t, held)
	late := s.Headers(nil) // a reader from before the cut
	defer late.Close()
	late.Lend(make([]byte, step), step)
	cut, end := int64(held.Len()), s.Next()
	s.SetSize(cut)
	if s.window.Load() != nil || !bytes.Equal(contents(t, held), before) {
		t.Error("the cut has left a window, or taken it from its reader")
	}
	s.SetNext(offset)
	for pos := cut; s.Next() < end; {
		b := record.NewBuilder(record.Options{BaseOffset: s.Next()})
		b.Append(7, nil, []byte("other"), nil)
		batch := b.Build()
		if _, err := s.Log.handle.WriteAt(batch, pos); err != nil {
			t.Fatal(err)
		}
		pos += int64(len(batch))
		s.Publish(batch.NextOffset(), pos)
	}
	if w := s.readAhead(late, cut, step); w != nil || s.window.Load() != nil {
		t.Error("a reader from before the cut has left a window")
	}
	for offset < end {
		var r Range
		r, offset = next(t, s, offset)
		if bytes.Contains(contents(t, r), []byte("value")) {
			t.Errorf("up to %d there are values of before the cut", offset)
		}
		r.Release()
	}
	held.Release()
	if free := len(s.Log.pool.windows.free); free != len(s.Log.pool.windows.all)-1 {
		t.Errorf("%d of %d windows are free", free, len(s.Log.pool.windows.all))
	}
}

func TestAWindowIsTakenFromItsSegmentOnceInAWhile(t *testing.T) {
	pool := NewPool(env.NewMemFS(), 10, windowSize)
	a, b := filledIn(t, pool, "/a", 1000, 4096), filledIn(t, pool, "/b", 1000, 4096)
	read := func(s *Segment, times int) (ahead bool) {
		for range times {
			r, _ := next(t, s, 5)
			ahead = !r.Lent()
			r.Release()
		}
		return ahead
	}
	if !read(a, 1) || read(b, patience-1) {
		t.Fatal("the first has no window, or the second has")
	}
	if !read(b, 1) || a.window.Load() != nil {
		t.Error("the second is not given the window of the first in the end")
	}
	held, _ := next(t, b, 5)
	if read(a, patience) {
		t.Error("a window is taken from a reader")
	}
	if held.Release(); !read(a, 1) {
		t.Error("a window that its reader has let go of is not free")
	}
	if a.Retire(); a.window.Load() != nil || len(pool.windows.free) != 1 {
		t.Error("a retired segment keeps its window")
	}
}

func TestWindowsPassFromReaderToReader(t *testing.T) {
	pool := NewPool(env.NewMemFS(), 10, 2*windowSize)
	var g sync.WaitGroup
	for i := range 3 {
		s := filledIn(t, pool, fmt.Sprint("/", i), 2000, 4096)
		for range 2 {
			g.Go(func() {
				for range 5 {
					for offset := int64(5); offset < s.Next(); {
						Touch([]*Segment{s}, []int64{offset})
						r, after := next(t, s, offset)
						for data := contents(t, r); len(data) > 0; {
							b, rest, err := record.Split(data)
							if err != nil || b.BaseOffset() != offset || b.Check() != nil {
								t.Errorf("at %d there is a batch of %d, %v", offset, b.BaseOffset(), err)
								return
							}
							data, offset = rest, b.NextOffset()
						}
						if offset != after {
							t.Errorf("a range ends at %d, not %d", offset, after)
						}
						r.Release()
					}
				}
			})
		}
		g.Go(func() {
			for range 100 {
				s.SetSize(s.Size())
			}
		})
	}
	g.Wait()
	for _, w := range pool.windows.all {
		if n := w.refs.Load(); n > 1 || n < 0 {
			t.Errorf("a window is held %d times", n)
		}
	}
}
