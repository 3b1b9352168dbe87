package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// sink lets a stream writer append to a slice.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

func (c *Coders) gzipCompress(dst, src []byte) ([]byte, error) {
	w, err := take(&c.gzipWriters, newGzipWriter)
	if err != nil {
		return dst, err
	}
	defer c.gzipWriters.Put(w)
	out := &sink{b: dst}
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return out.b, nil
}

func (c *Coders) gzipDecompress(dst, src []byte, limit int) ([]byte, error) {
	r, err := take(&c.gzipReaders, newGzipReader)
	if err != nil {
		return dst, err
	}
	defer c.gzipReaders.Put(r)
	if err := r.Reset(bytes.NewReader(src)); err != nil {
		return dst, corrupt(Gzip, err)
	}
	start := len(dst)
	dst = slices.Grow(dst, min(limit, 4*len(src)))
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, 512)
		}
		room := min(cap(dst)-len(dst), limit-(len(dst)-start)+1)
		n, err := r.Read(dst[len(dst) : len(dst)+room])
		dst = dst[:len(dst)+n]
		if len(dst)-start > limit {
			return dst[:start], ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst[:start], corrupt(Gzip, err)
		}
	}
}

func snappyCompress(dst, src []byte) []byte {
	at := len(dst)
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
	return dst[:at+len(s2.EncodeSnappy(dst[at:cap(dst)], src))]
}

// A block of snappy grows by at most 64 bytes for each 3 bytes of input.
const snappyMaxRatio = 22

// xerialHeader is what snappy-java's stream format starts with; two int32 versions follow, then
// blocks that each have an int32 length in front.
const (
	xerialMagic      = "\x82SNAPPY\x00"
	xerialHeaderSize = len(xerialMagic) + 8
)

func snappyDecompress(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < xerialHeaderSize || string(src[:len(xerialMagic)]) != xerialMagic {
		return snappyBlock(dst, src, limit)
	}
	start := len(dst)
	for rest := src[xerialHeaderSize:]; len(rest) > 0; {
		if len(rest) < 4 {
			return dst[:start], corrupt(Snappy, io.ErrUnexpectedEOF)
		}
		n := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(n) > uint64(len(rest)) {
			return dst[:start], corrupt(Snappy, io.ErrUnexpectedEOF)
		}
		var err error
		if dst, err = snappyBlock(dst, rest[:n], limit-(len(dst)-start)); err != nil {
			return dst[:start], err
		}
		rest = rest[n:]
	}
	return dst, nil
}

func snappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return dst, corrupt(Snappy, err)
	}
	if n > snappyMaxRatio*len(src) {
		return dst, corrupt(Snappy, errors.New("declared length is impossible"))
	}
	if n > limit {
		return dst, ErrTooLarge
	}
	at := len(dst)
	dst = slices.Grow(dst, n)
	out, err := s2.Decode(dst[at:at+n], src)
	if err != nil {
		return dst[:at], corrupt(Snappy, err)
	}
	return dst[:at+len(out)], nil
}

func (c *Coders) zstdCompress(dst, src []byte) ([]byte, error) {
	e, err := take(&c.zstdWriters, newZstdWriter)
	if err != nil {
		return dst, err
	}
	defer c.zstdWriters.Put(e)
	return e.EncodeAll(src, dst), nil
}

// A zstd block yields at most 128 KiB and takes at least 4 bytes.
const (
	zstdBlockOut = 128 << 10
	zstdBlockIn  = 4
)

// zstdDecompress gives the decoder room in growing steps: a frame's declared size is believed
// only when its blocks could fill it.
func (c *Coders) zstdDecompress(dst, src []byte, limit int) ([]byte, error) {
	d, err := take(&c.zstdReaders, newZstdReader)
	if err != nil {
		return dst, err
	}
	defer c.zstdReaders.Put(d)
	possible := min(limit, (len(src)/zstdBlockIn+1)*zstdBlockOut)
	start := len(dst)
	for room := min(possible, max(4<<10, 8*len(src))); ; room = min(possible, 4*room) {
		dst = slices.Grow(dst, room)
		out, err := d.DecodeAll(src, dst[:start:start+room])
		switch {
		case err == nil:
			return out, nil
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded) && !errors.Is(err, zstd.ErrWindowSizeExceeded):
			return dst[:start], corrupt(Zstd, err)
		case room == limit:
			return dst[:start], ErrTooLarge
		case room == possible:
			return dst[:start], corrupt(Zstd, err)
		}
	}
}
