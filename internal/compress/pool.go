package compress

import (
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Coders compresses and decompresses with encoders and decoders that it keeps for the next call:
// one of them weighs up to a megabyte. The zero value is ready; a nil *Coders works and keeps
// nothing. It is safe for concurrent use and must not be copied.
type Coders struct {
	gzipWriters, gzipReaders, lz4Writers, zstdWriters, zstdReaders sync.Pool
}

// take returns an idle coder of the pool or makes one.
func take[T any](idle *sync.Pool, make func() (T, error)) (T, error) {
	if v, ok := idle.Get().(T); ok {
		return v, nil
	}
	return make()
}

func newGzipWriter() (*gzip.Writer, error) { return gzip.NewWriter(nil), nil }

func newGzipReader() (*gzip.Reader, error) { return new(gzip.Reader), nil }

func newLZ4Writer() (*lz4.Compressor, error) { return new(lz4.Compressor), nil }

func newZstdWriter() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
}

func newZstdReader() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
}
