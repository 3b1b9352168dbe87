// Package compress is the one place that knows Kafka's compression codecs. Every call works on
// whole byte slices, takes its encoder or decoder from a pool, and every decompression has a hard
// bound on what it may produce, so that a few hostile bytes cannot claim memory.
package compress

import (
	"errors"
	"fmt"
)

// Codec is a compression type as the low three bits of a batch's attributes carry it.
type Codec int8

// The codecs of the Kafka protocol, by their number on the wire.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var (
	// ErrTooLarge reports that the decompressed form exceeds the caller's limit.
	ErrTooLarge = errors.New("decompressed data exceeds the limit")
	// ErrCorrupt reports bytes that are not a valid stream of the codec.
	ErrCorrupt = errors.New("compressed data is corrupt")
	// ErrUnknownCodec reports a codec number or name that Kafka does not define.
	ErrUnknownCodec = errors.New("unknown compression codec")
)

// String returns Kafka's name of the codec, as compression.type spells it.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec-%d", int8(c))
}

// Known reports whether c is one of the codecs above.
func (c Codec) Known() bool { return c >= None && c <= Zstd }

// Parse returns the codec with Kafka's name; "uncompressed" is accepted for none.
func Parse(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c := None; c <= Zstd; c++ {
		if c.String() == name {
			return c, nil
		}
	}
	return None, fmt.Errorf("%w: %q", ErrUnknownCodec, name)
}

// Compress appends the compressed form of src to dst and returns the result. Snappy is written
// without xerial framing, lz4 as a frame of independent 64 KiB blocks: every Kafka client reads
// both. The only error is ErrUnknownCodec. src and dst must not overlap.
func (c *Coders) Compress(dst, src []byte, codec Codec) ([]byte, error) {
	if c == nil {
		c = new(Coders)
	}
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return c.gzipCompress(dst, src)
	case Snappy:
		return snappyCompress(dst, src), nil
	case LZ4:
		return c.lz4Compress(dst, src)
	case Zstd:
		return c.zstdCompress(dst, src)
	}
	return dst, fmt.Errorf("%w: %d", ErrUnknownCodec, int8(codec))
}

// Decompress appends the decompressed form of src to dst and returns the result. When it would
// be longer than limit bytes the error is ErrTooLarge; memory is claimed only as far as src can
// back it up, never by a length that src merely declares. Bytes that are no valid stream give an
// error that wraps ErrCorrupt. src and dst must not overlap.
func (c *Coders) Decompress(dst, src []byte, codec Codec, limit int) ([]byte, error) {
	if c == nil {
		c = new(Coders)
	}
	switch codec {
	case None:
		if len(src) > limit {
			return dst, ErrTooLarge
		}
		return append(dst, src...), nil
	case Gzip:
		return c.gzipDecompress(dst, src, limit)
	case Snappy:
		return snappyDecompress(dst, src, limit)
	case LZ4:
		return lz4Decompress(dst, src, limit)
	case Zstd:
		return c.zstdDecompress(dst, src, limit)
	}
	return dst, fmt.Errorf("%w: %d", ErrUnknownCodec, int8(codec))
}

// Compress is Coders.Compress with coders of its own, for those who compress rarely.
func Compress(dst, src []byte, codec Codec) ([]byte, error) {
	return new(Coders).Compress(dst, src, codec)
}

// Decompress is Coders.Decompress with coders of its own, for those who decompress rarely.
func Decompress(dst, src []byte, codec Codec, limit int) ([]byte, error) {
	return new(Coders).Decompress(dst, src, codec, limit)
}

func corrupt(c Codec, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, c, err)
}
