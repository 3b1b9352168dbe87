package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/weirstream/weir/broker/internal/record"
)

const (
	headerChunk = 4 << 10   // read at once when only headers are wanted
	nearChunk   = 512       // read at first when one header is probably all that is wanted
	bodyChunk   = 256 << 10 // read at once when whole batches are
	// maxBatch is what a length field may say before it is taken for garbage.
	maxBatch = 256 << 20
)

// Scanner walks the batches of a segment's file without decoding them. Its buffer is reused:
// what Next returns is valid until the following call.
type Scanner struct {
	pool  *Pool
	file  *File
	src   io.ReaderAt // nil until the file is opened
	open  bool        // the scanner did that
	pos   int64       // of the batch that Next returns
	end   int64
	chunk int
	whole bool   // Next returns whole batches, else only their headers
	own   []byte // its memory
	buf   []byte // what was read last, in own or lent
	at    int64  // file position of buf[0]
	cuts  uint32 // of the segment when the scanner was made

	lent   []byte  // the caller's memory
	wanted int64   // how much of the file the caller wants in it
	lentAt int64   // file position of lent[0]
	filled int     // how much of lent holds bytes of the file
	window *window // holds what was read ahead, or nil
}

func (s *Scanner) reset(src io.ReaderAt, file *File, whole bool) {
	s.src, s.file, s.whole, s.at = src, file, whole, 0
	s.buf, s.lent, s.filled = nil, nil, 0
	s.chunk = headerChunk
	if whole {
		s.chunk = bodyChunk
	}
}

// seek goes on at another place of the same file; what was read already is not read again.
func (s *Scanner) seek(from, end int64) { s.pos, s.end = from, end }

// first says how much is read at once at first, within bounds.
func (s *Scanner) first(n int64) { s.chunk = int(min(max(n, nearChunk), headerChunk)) }

// Lend makes the scanner read batches of n bytes at most into p, with the header of the first where
// it can, for Range to return them.
func (s *Scanner) Lend(p []byte, n int) { s.lent, s.wanted = p, int64(n) }

// ahead reads what may be wanted of a segment from pos on, if that has room in the memory lent.
func (s *Scanner) ahead(g *Segment, pos, limit int64) {
	n := int(min(s.wanted, limit-pos))
	if n > len(s.lent) || n < record.HeaderSize {
		return
	}
	if s.window = g.within(pos, n); s.window == nil {
		s.window = g.readAhead(s, pos, n)
	}
	if s.window != nil {
		s.buf, s.at = s.window.bytes, s.window.at
		return
	}
	if s.ReadFull(s.lent[:n], pos) != nil {
		return // Next will tell
	}
	s.lentAt, s.filled = pos, n
	s.buf, s.at = s.lent[:n], pos
}

// ReadFull reads all of p from the file at a position.
func (s *Scanner) ReadFull(p []byte, off int64) error {
	if s.src == nil {
		h, err := s.file.Acquire(false)
		if err != nil {
			return err
		}
		s.src, s.open = h, true
	}
	return ReadFull(s.src, p, off)
}

// has tells whether what was read last reaches up to a position.
func (s *Scanner) has(pos int64) bool { return s.at+int64(len(s.buf)) >= pos }

// windowBytes returns n bytes from pos on as they were read ahead, and holds the window once more, or nil.
func (s *Scanner) windowBytes(pos int64, n int) []byte {
	if s.window == nil {
		return nil
	}
	p := s.window.from(pos, n)
	if p != nil {
		s.window.refs.Add(1)
	}
	return p
}

// lentBytes returns n bytes from pos on in the memory lent, or nil where that has no room for them.
func (s *Scanner) lentBytes(pos int64, n int) ([]byte, error) {
	if n > len(s.lent) {
		return nil, nil
	}
	p := s.lent[:n:n]
	if pos == s.lentAt && n <= s.filled {
		return p, nil
	}
	return p, s.ReadFull(p, pos)
}

// Close gives the scanner back.
func (s *Scanner) Close() {
	if s.open {
		s.file.Release()
	}
	if s.window != nil {
		s.window.release()
	}
	s.src, s.file, s.open, s.buf, s.lent, s.window = nil, nil, false, nil, nil, nil
	s.pool.scans.Put(s)
}

// Next returns the batch at pos and moves behind it. The error is io.EOF at the end, wraps
// record.ErrShort or record.ErrCorrupt for bytes that are no batch, or is one of reading.
func (s *Scanner) Next() (b record.Batch, pos int64, err error) {
	pos = s.pos
	if pos >= s.end {
		return nil, pos, io.EOF
	}
	if s.end-pos < record.HeaderSize {
		return nil, pos, fmt.Errorf("%w: %d bytes at position %d", record.ErrShort, s.end-pos, pos)
	}
	head, err := s.bytes(record.HeaderSize)
	if err != nil {
		return nil, pos, err
	}
	b = record.Batch(head)
	size := int64(b.Length())
	switch {
	case b.Magic() != record.Magic || size < record.HeaderSize || size > maxBatch || b.LastOffsetDelta() < 0 || b.BaseOffset() < 0:
		return nil, pos, fmt.Errorf("%w: no batch at position %d", record.ErrCorrupt, pos)
	case size > s.end-pos:
		return nil, pos, fmt.Errorf("%w: %d of %d bytes at position %d", record.ErrShort, s.end-pos, size, pos)
	}
	if s.whole {
		if b, err = s.bytes(int(size)); err != nil {
			return nil, pos, err
		}
	}
	s.pos += size
	return b, pos, nil
}

// bytes returns n bytes at pos; n was checked against end. What was read of them before is not read
// again.
func (s *Scanner) bytes(n int) ([]byte, error) {
	var have []byte
	if off := s.pos - s.at; off >= 0 && off < int64(len(s.buf)) {
		have = s.buf[off:]
	}
	if n <= len(have) {
		return have[:n], nil
	}
	want := int(min(s.end-s.pos, int64(max(n, s.chunk))))
	if !s.whole {
		s.chunk = headerChunk
	}
	into := s.own
	if cap(into) < want {
		into = make([]byte, want)
	}
	into = into[:want]
	read := copy(into, have)
	s.own, s.buf, s.at = into, into, s.pos
	if err := s.ReadFull(into[read:], s.pos+int64(read)); err != nil {
		s.buf = nil
		return nil, err
	}
	return s.buf[:n], nil
}

// ReadFull reads all of p; an early end of the file means that it was cut underneath the reader.
func ReadFull(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read log: %w", err)
}

// IsDamage tells bytes that are no batch from trouble in reading them.
func IsDamage(err error) bool {
	return errors.Is(err, record.ErrShort) || errors.Is(err, record.ErrCorrupt) ||
		errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrOldFormat)
}
