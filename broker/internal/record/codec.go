package record

import "github.com/weirstream/weir/internal/compress"

// Codec is the compression of a batch, Coders do it: the types of package compress, under the
// names by which the rooms above see them.
type (
	Codec  = compress.Codec
	Coders = compress.Coders
)

// The codecs by their number in a batch's attributes.
const (
	None   = compress.None
	Gzip   = compress.Gzip
	Snappy = compress.Snappy
	LZ4    = compress.LZ4
	Zstd   = compress.Zstd
)
