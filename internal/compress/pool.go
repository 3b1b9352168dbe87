package compress

import (
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// pool hands out values of one type and makes a new one when none is idle.
type pool[T any] struct {
	idle sync.Pool
	make func() (T, error)
}

func (p *pool[T]) get() (T, error) {
	if v, ok := p.idle.Get().(T); ok {
		return v, nil
	}
	return p.make()
}

func (p *pool[T]) put(v T) { p.idle.Put(v) }

// pools holds the idle coders of the whole process. No caller can observe which coder it got.
type pools struct {
	gzipWriters  pool[*gzip.Writer]
	gzipReaders  pool[*gzip.Reader]
	lz4Writers   pool[*lz4.Compressor]
	zstdEncoders pool[*zstd.Encoder]
	zstdDecoders pool[*zstd.Decoder]
}

//nolint:gochecknoglobals // idle coders only: an encoder weighs up to a megabyte, and a pool per caller would keep one for each partition
var shared = pools{
	gzipWriters: pool[*gzip.Writer]{make: func() (*gzip.Writer, error) { return gzip.NewWriter(nil), nil }},
	gzipReaders: pool[*gzip.Reader]{make: func() (*gzip.Reader, error) { return new(gzip.Reader), nil }},
	lz4Writers:  pool[*lz4.Compressor]{make: func() (*lz4.Compressor, error) { return new(lz4.Compressor), nil }},
	zstdEncoders: pool[*zstd.Encoder]{make: func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	}},
	zstdDecoders: pool[*zstd.Decoder]{make: func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
	}},
}
