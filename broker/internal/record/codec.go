package record

import "github.com/weirstream/weir/internal/compress"

// Codec is the compression of a batch, under the name by which the rooms above see it.
type Codec = compress.Codec

// Coders compress and decompress, under the name by which the rooms above see them.
type Coders = compress.Coders

// The codecs by their number in a batch's attributes.
const (
	None   = compress.None
	Gzip   = compress.Gzip
	Snappy = compress.Snappy
	LZ4    = compress.LZ4
	Zstd   = compress.Zstd
)

// ParseCodec returns the codec of a name of compression.type; "producer" is none of them.
func ParseCodec(name string) (Codec, error) { return compress.Parse(name) }
