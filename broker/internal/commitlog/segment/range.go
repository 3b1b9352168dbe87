package segment

import (
	"errors"
	"io"
	"os"

	"github.com/weirstream/weir/internal/env"
)

// Range is a run of whole batches in one segment's file, or a copy of them in memory. Until Release
// the file stays open and readable, even if the log is deleted meanwhile. The zero Range is empty and
// needs no Release, nor does one in the memory that was lent.
type Range struct {
	file   *File
	handle env.File
	pos    int64
	n      int
	held   []byte  // instead of the file
	window *window // that holds them; nil for memory that was lent
}

// Len is the length in bytes.
func (r Range) Len() int { return r.n }

// InMemory tells whether the batches need no file.
func (r Range) InMemory() bool { return r.held != nil }

// Lent tells whether the batches were copied into the memory that was lent.
func (r Range) Lent() bool { return r.held != nil && r.window == nil }

// ReadAt reads as io.ReaderAt says, off counting from the beginning of the range.
func (r Range) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(r.n) {
		return 0, io.EOF
	}
	if r.held != nil {
		n := copy(p, r.held[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	cut := int64(len(p)) > int64(r.n)-off
	if cut {
		p = p[:int64(r.n)-off]
	}
	n, err := r.handle.ReadAt(p, r.pos+off)
	switch {
	case n < len(p) && errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF // the log was truncated underneath
	case n == len(p) && cut:
		return n, io.EOF
	case n == len(p):
		return n, nil
	}
	return n, err
}

// File returns the descriptor and the position in it, where the file system has descriptors.
func (r Range) File() (f *os.File, pos int64, ok bool) {
	if o, has := r.handle.(env.OSFile); has {
		return o.OSFile(), r.pos, true
	}
	return nil, 0, false
}

// Release gives the file back; the range must not be used after it.
func (r Range) Release() {
	if r.file != nil {
		r.file.Release()
	}
	if r.window != nil {
		r.window.release()
	}
}

// Range returns the n bytes from pos on: as they were read ahead, in the memory lent to the scanner where
// they fit, or in the file.
func (s *Segment) Range(sc *Scanner, pos int64, n int) (Range, error) {
	if held := sc.windowBytes(pos, n); held != nil {
		return Range{n: n, held: held, window: sc.window}, nil
	}
	held, err := sc.lentBytes(pos, n)
	if err != nil {
		return Range{}, err
	}
	if held != nil {
		return Range{n: n, held: held}, nil
	}
	h, err := s.Log.Acquire(false)
	if err != nil {
		return Range{}, err
	}
	return Range{file: s.Log, handle: h, pos: pos, n: n}, nil
}
