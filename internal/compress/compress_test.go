package compress_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/internal/compress"
)

func all() []compress.Codec {
	return []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	if _, err := r.Read(b); err != nil {
		panic(err)
	}
	return b
}

func samples() map[string][]byte {
	return map[string][]byte{
		"nothing":     {},
		"one byte":    {7},
		"text":        []byte(strings.Repeat("GET /index.html HTTP/1.1 ", 5000)),
		"noise":       noise(300_000),
		"one block":   bytes.Repeat([]byte("x"), 64<<10),
		"many blocks": bytes.Repeat(noise(1000), 400),
	}
}

func TestEveryCodecRoundTrips(t *testing.T) {
	var c compress.Coders
	for _, codec := range all() {
		for name, want := range samples() {
			t.Run(codec.String()+"/"+name, func(t *testing.T) {
				packed, err := c.Compress([]byte("head"), want, codec)
				if err != nil || string(packed[:4]) != "head" {
					t.Fatal("compress", err)
				}
				got, err := c.Decompress([]byte("front"), packed[4:], codec, len(want))
				if err != nil || string(got[:5]) != "front" || !bytes.Equal(got[5:], want) {
					t.Fatal("decompress", err)
				}
				if len(want) > 0 {
					if _, err := c.Decompress(nil, packed[4:], codec, len(want)-1); !errors.Is(err, compress.ErrTooLarge) {
						t.Fatalf("one byte over the limit: %v", err)
					}
				}
			})
		}
	}
}

func TestRoundTripOfAnyBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := bytes.Repeat(rapid.SliceOf(rapid.Byte()).Draw(t, "unit"), rapid.IntRange(1, 50).Draw(t, "times"))
		codec := rapid.SampledFrom(all()).Draw(t, "codec")
		packed, err := compress.Compress(nil, want, codec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := compress.Decompress(nil, packed, codec, len(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatal("differs", err)
		}
	})
}

// lz4Frame makes a frame with the reference-like writer of another implementation.
func lz4Frame(t testing.TB, src []byte, o ...lz4.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(o...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(src); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestForeignStreamsAreRead(t *testing.T) {
	want := samples()["text"]
	xerial := func(chunk int) []byte {
		out := append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 1, 0, 0, 0, 1)
		for rest := want; len(rest) > 0; {
			n := min(chunk, len(rest))
			block := s2.EncodeSnappy(nil, rest[:n])
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
			rest = rest[n:]
		}
		return out
	}
	var gz bytes.Buffer
	for _, half := range [][]byte{want[:1000], want[1000:]} { // two members
		w := gzip.NewWriter(&gz)
		_, _ = w.Write(half)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var zs bytes.Buffer
	zw, err := zstd.NewWriter(&zs, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(zw, bytes.NewReader(want)) // streamed: no content size in the frame
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		codec compress.Codec
		b     []byte
	}{
		"xerial, one chunk":        {compress.Snappy, xerial(len(want))},
		"xerial, Java's chunks":    {compress.Snappy, xerial(32 << 10)},
		"gzip of two members":      {compress.Gzip, gz.Bytes()},
		"zstd without a size":      {compress.Zstd, zs.Bytes()},
		"lz4, 4 MiB and checksums": {compress.LZ4, lz4Frame(t, want, lz4.BlockChecksumOption(true), lz4.ChecksumOption(true))},
		"lz4 with a size":          {compress.LZ4, lz4Frame(t, want, lz4.SizeOption(uint64(len(want))))},
		"lz4, 64 KiB, as Java":     {compress.LZ4, lz4Frame(t, want, lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false))},
		"lz4, two frames":          {compress.LZ4, append(lz4Frame(t, want[:500]), lz4Frame(t, want[500:])...)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := compress.Decompress(nil, c.b, c.codec, len(want))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatal(len(got), err)
			}
			if _, err := compress.Decompress(nil, c.b, c.codec, len(want)-1); !errors.Is(err, compress.ErrTooLarge) {
				t.Fatalf("over the limit: %v", err)
			}
			for _, cut := range []int{1, len(c.b) / 2, len(c.b) - 1} {
				if got, err := compress.Decompress(nil, c.b[:cut], c.codec, len(want)); err == nil && bytes.Equal(got, want) {
					t.Fatalf("cut at %d and not noticed", cut)
				}
			}
		})
	}
}

func TestOurLZ4FramesAreReadElsewhere(t *testing.T) {
	for name, want := range samples() {
		packed, err := compress.Compress(nil, want, compress.LZ4)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(packed)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLZ4BlocksMayReferToEarlierOnes(t *testing.T) {
	block := []byte("a dependent block that repeats, a dependent block that repeats")
	want := append(bytes.Clone(block), block...)
	packed := []byte("\x04\x22\x4d\x18\x40\x40\x00") // independence not set
	packed = binary.LittleEndian.AppendUint32(packed, uint32(len(block))|1<<31)
	packed = append(packed, block...)
	// One sequence: no literals, a match of the whole first block, then its last five bytes as literals.
	match := len(block) - 5
	second := []byte{0x0f, byte(len(block)), 0, byte(match - 4 - 15)}
	second = append(append(second, 5<<4), block[len(block)-5:]...)
	packed = binary.LittleEndian.AppendUint32(packed, uint32(len(second)))
	packed = append(packed, second...)
	packed = append(packed, 0, 0, 0, 0)
	got, err := compress.Decompress(nil, packed, compress.LZ4, 1000)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestBombsAreRefusedBeforeTheyGrow(t *testing.T) {
	const limit = 1 << 20
	zeros := make([]byte, 64<<20)
	for _, codec := range all()[1:] {
		bomb, err := compress.Compress(nil, zeros, codec)
		if err != nil {
			t.Fatal(err)
		}
		if grew := allocated(func() {
			if _, err := compress.Decompress(nil, bomb, codec, limit); !errors.Is(err, compress.ErrTooLarge) {
				t.Errorf("%s: %v", codec, err)
			}
		}); grew > 8*limit {
			t.Errorf("%s: %d bytes claimed under a limit of %d", codec, grew, limit)
		}
	}
}

func TestDeclaredSizesAreNotBelieved(t *testing.T) {
	const limit = 512 << 20
	cases := map[string]struct {
		codec compress.Codec
		b     []byte
	}{
		"snappy":           {compress.Snappy, binary.AppendUvarint(nil, 400<<20)},
		"xerial":           {compress.Snappy, append([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x05"), binary.AppendUvarint(nil, 400<<20)...)},
		"lz4 with a size":  {compress.LZ4, []byte("\x04\x22\x4d\x18\x68\x70\x00\x00\x00\x19\x00\x00\x00\x00\x00\x00")},
		"zstd with a size": {compress.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x19, 1, 0, 0}},
		"zstd, one window": {compress.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x88, 1, 0, 0}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if grew := allocated(func() {
				if out, err := compress.Decompress(nil, c.b, c.codec, limit); err == nil && len(out) > 0 {
					t.Error("bytes out of nothing")
				}
			}); grew > 4<<20 {
				t.Fatalf("%d bytes claimed for %d", grew, len(c.b))
			}
		})
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDamagedStreamsAreCorrupt(t *testing.T) {
	cases := []struct {
		codec compress.Codec
		b     string
	}{
		{compress.Gzip, ""},
		{compress.Gzip, "not gzip at all, surely"},
		{compress.Snappy, ""},
		{compress.Snappy, "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00"},
		{compress.Snappy, "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xff"},
		{compress.Snappy, "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x05\xff"},
		{compress.LZ4, ""},
		{compress.LZ4, "\x04\x22\x4d\x18\x60\x40\x82"},                     // no end mark
		{compress.LZ4, "\x04\x22\x4d\x18\x60\x30\x82\x00\x00\x00\x00"},     // no such block size
		{compress.LZ4, "\x04\x22\x4d\x18\x20\x40\x82\x00\x00\x00\x00"},     // no such version
		{compress.LZ4, "\x04\x22\x4d\x18\x61\x40\x82\x00\x00\x00\x00"},     // a dictionary
		{compress.LZ4, "\x04\x22\x4d\x18\x68\x40\x82\x00"},                 // the size cut off
		{compress.LZ4, "\x04\x22\x4d\x18\x60\x40\x82\xff\xff\xff\x7f\x00"}, // a block larger than blocks may be
		{compress.LZ4, "\x04\x22\x4d\x18\x60\x40\x82\x02\x00\x00\x00\xff\xff"},
		{compress.LZ4, "\x04\x22\x4d\x18\x60\x40\x82\x00\x00\x00\x00junk"},
		{compress.Zstd, "not zstd"},
	}
	for _, c := range cases {
		if _, err := compress.Decompress(nil, []byte(c.b), c.codec, 1<<20); !errors.Is(err, compress.ErrCorrupt) {
			t.Errorf("%s %q: %v", c.codec, c.b, err)
		}
	}
	packed, err := compress.Compress(nil, samples()["text"], compress.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compress.Decompress(nil, packed[:len(packed)/2], compress.Gzip, 1<<20); !errors.Is(err, compress.ErrCorrupt) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for _, c := range all() {
		got, err := compress.Parse(c.String())
		if err != nil || got != c || !c.Known() {
			t.Error(c, got, err)
		}
	}
	if c, err := compress.Parse("uncompressed"); err != nil || c != compress.None {
		t.Error(err)
	}
	if _, err := compress.Parse("brotli"); !errors.Is(err, compress.ErrUnknownCodec) {
		t.Error(err)
	}
	if bad := compress.Codec(6); bad.Known() || bad.String() != "codec-6" {
		t.Error(bad)
	}
	if _, err := compress.Compress(nil, nil, 6); !errors.Is(err, compress.ErrUnknownCodec) {
		t.Error(err)
	}
	if _, err := compress.Decompress(nil, nil, 6, 1); !errors.Is(err, compress.ErrUnknownCodec) {
		t.Error(err)
	}
	var none *compress.Coders
	if b, err := none.Compress(nil, []byte("a"), compress.Gzip); err != nil || len(b) == 0 {
		t.Error(err)
	}
	if _, err := none.Decompress(nil, []byte("a"), compress.None, 1); err != nil {
		t.Error(err)
	}
}

func TestCodersAreSafeForConcurrentUse(t *testing.T) {
	var c compress.Coders
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			want := bytes.Repeat(fmt.Appendf(nil, "worker %d ", i), 2000)
			for _, codec := range all() {
				packed, err := c.Compress(nil, want, codec)
				if err != nil {
					t.Error(err)
				}
				got, err := c.Decompress(nil, packed, codec, len(want))
				if err != nil || !bytes.Equal(got, want) {
					t.Error(codec, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecompress(f *testing.F) {
	for _, codec := range all() {
		packed, err := compress.Compress(nil, []byte("seed seed seed seed"), codec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, uint8(codec))
	}
	f.Add([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x05\xff"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, codec uint8) {
		const limit = 1 << 16
		out, err := compress.Decompress(nil, data, compress.Codec(codec%6), limit)
		if err == nil && len(out) > limit {
			t.Fatal("limit passed")
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	src := samples()["text"]
	var c compress.Coders
	for _, codec := range all()[1:] {
		packed, err := c.Compress(nil, src, codec)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(codec.String(), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				if dst, err = c.Decompress(dst[:0], packed, codec, len(src)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
