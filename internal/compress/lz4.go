package compress

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format (lz4_Frame_format.md of the lz4 project), as far as Kafka uses it. The
// frame is handled here and not by a stream reader, so that each block is decoded straight into
// the caller's slice and no buffer is claimed by what a header declares.
const (
	lz4Magic        = 0x184D2204
	lz4FlagDict     = 1 << 0
	lz4FlagChecksum = 1 << 2
	lz4FlagSize     = 1 << 3
	lz4FlagBlockSum = 1 << 4
	lz4FlagIndep    = 1 << 5
	lz4Version      = 1 << 6
	lz4VersionMask  = 3 << 6
	lz4Stored       = 1 << 31 // in a block's length: the block is not compressed
	lz4BlockSize    = 64 << 10
	lz4Window       = 64 << 10
	lz4MaxRatio     = 255
)

// lz4Header starts every frame written here: version 1, independent blocks of 64 KiB, no content
// checksum (the batch has its CRC), and the header checksum of exactly these flags.
const lz4Header = "\x04\x22\x4d\x18\x60\x40\x82"

var errLZ4Frame = errors.New("bad frame")

func (c *Coders) lz4Compress(dst, src []byte) ([]byte, error) {
	w, err := take(&c.lz4Writers, newLZ4Writer)
	if err != nil {
		return dst, err
	}
	defer c.lz4Writers.Put(w)
	dst = append(dst, lz4Header...)
	for block := range slices.Chunk(src, lz4BlockSize) {
		at := len(dst)
		dst = slices.Grow(dst, 4+lz4.CompressBlockBound(len(block)))
		n, err := w.CompressBlock(block, dst[at+4:cap(dst)])
		if err != nil || n == 0 || n >= len(block) {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(block))|lz4Stored)
			dst = append(dst, block...)
			continue
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
		dst = dst[:at+4+n]
	}
	return binary.LittleEndian.AppendUint32(dst, 0), nil
}

// lz4Decompress reads one or more frames. The header's and the content's own checksums are
// skipped: old Java producers computed the former wrongly, and the batch CRC covers both.
func lz4Decompress(dst, src []byte, limit int) ([]byte, error) {
	start := len(dst)
	for first := true; first || len(src) > 0; first = false {
		f, rest, err := lz4FrameOf(src)
		if err != nil {
			return dst[:start], corrupt(LZ4, err)
		}
		if dst, src, err = f.decode(dst, rest, limit-(len(dst)-start)); err != nil {
			return dst[:start], err
		}
	}
	return dst, nil
}

type lz4Frame struct {
	flags    byte
	blockMax int
}

func lz4FrameOf(src []byte) (f lz4Frame, rest []byte, err error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return f, nil, errLZ4Frame
	}
	f.flags = src[4]
	sizeCode := src[5] >> 4 & 7
	if f.flags&lz4VersionMask != lz4Version || f.flags&lz4FlagDict != 0 || sizeCode < 4 {
		return f, nil, errLZ4Frame
	}
	f.blockMax = 1 << (8 + 2*sizeCode)
	head := 7
	if f.flags&lz4FlagSize != 0 {
		head += 8
	}
	if len(src) < head {
		return f, nil, io.ErrUnexpectedEOF
	}
	return f, src[head:], nil
}

func (f lz4Frame) decode(dst, src []byte, limit int) (out, rest []byte, err error) {
	start := len(dst)
	for {
		block, stored, rest, err := f.next(src)
		if err != nil {
			return dst, nil, corrupt(LZ4, err)
		}
		if block == nil {
			return dst, rest, nil
		}
		if stored {
			dst = append(dst, block...)
		} else if dst, err = f.block(dst, start, block); err != nil {
			return dst, nil, corrupt(LZ4, err)
		}
		if len(dst)-start > limit {
			return dst, nil, ErrTooLarge
		}
		src = rest
	}
}

// next cuts one block off src; a nil block is the end of the frame.
func (f lz4Frame) next(src []byte) (block []byte, stored bool, rest []byte, err error) {
	if len(src) < 4 {
		return nil, false, nil, io.ErrUnexpectedEOF
	}
	word := binary.LittleEndian.Uint32(src)
	n := int(word &^ lz4Stored)
	tail := 0
	switch {
	case word == 0 && f.flags&lz4FlagChecksum != 0:
		tail = 4
	case word != 0 && f.flags&lz4FlagBlockSum != 0:
		tail = 4
	}
	if n > f.blockMax || 4+n+tail > len(src) {
		return nil, false, nil, io.ErrUnexpectedEOF
	}
	rest = src[4+n+tail:]
	if word == 0 {
		return nil, false, rest, nil
	}
	return src[4 : 4+n], word&lz4Stored != 0, rest, nil
}

// block appends one decompressed block to dst; blocks of a dependent frame may refer to the
// window before them, which starts no earlier than the frame.
func (f lz4Frame) block(dst []byte, start int, block []byte) ([]byte, error) {
	at := len(dst)
	dst = slices.Grow(dst, min(f.blockMax, lz4MaxRatio*len(block)))
	room := dst[at:min(cap(dst), at+f.blockMax)]
	var n int
	var err error
	if f.flags&lz4FlagIndep != 0 {
		n, err = lz4.UncompressBlock(block, room)
	} else {
		n, err = lz4.UncompressBlockWithDict(block, room, dst[max(start, at-lz4Window):at])
	}
	if err != nil {
		return dst[:at], err
	}
	return dst[:at+n], nil
}
