package commitlog

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

// benchLog returns a log on the real disk. Nothing syncs: what is measured is the page cache.
func benchLog(b *testing.B) *Log {
	b.Helper()
	d, err := OpenDir(env.Real(), b.TempDir(), DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	l := openLog(b, d, "bench", Config{SegmentBytes: 256 << 20, IndexIntervalBytes: 4096}, nil)
	b.Cleanup(func() {
		if err := d.close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			l := benchLog(b)
			batch := batchOf(0, 1, strings.Repeat("x", size))
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mustAppend(b, l, batch)
				if i%(1<<30/size) == 1<<30/size-1 { // bounds the disk that is used
					if err := l.TruncateTo(0); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	l := benchLog(b)
	batch := batchOf(0, 1, strings.Repeat("x", 1000))
	for range 100_000 {
		mustAppend(b, l, batch)
	}
	for name, from := range map[string]int64{"tail": 99_990, "middle": 50_000} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := l.Read(from, 100_000, 1, true)
				if err != nil {
					b.Fatal(err)
				}
				r.Release()
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	l := benchLog(b)
	batch := batchOf(0, 1, strings.Repeat("x", 16<<10))
	for range 4000 {
		mustAppend(b, l, batch)
	}
	buf := make([]byte, 1<<20)
	b.SetBytes(60 * int64(len(batch)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, err := l.Read(int64(i*60%3900), 4000, 60*len(batch), true)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := r.ReadAt(buf[:r.Len()], 0); err != nil || n != 60*len(batch) {
			b.Fatal(n, err)
		}
		r.Release()
	}
}

func BenchmarkOpenCleanly(b *testing.B) {
	e := env.Real()
	dir := b.TempDir()
	open := func() (*Dir, []*Log) {
		d, err := OpenDir(e, dir, DirOptions{})
		if err != nil {
			b.Fatal(err)
		}
		logs := make([]*Log, 1000)
		for i := range logs {
			logs[i] = openLog(b, d, fmt.Sprint("t", i), Config{}, nil)
		}
		return d, logs
	}
	d, logs := open()
	for _, l := range logs {
		mustAppend(b, l, batchOf(0, 1, "x"))
	}
	if err := d.close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d, _ := open()
		b.StopTimer()
		if err := d.close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkClean compacts 64 MB of records of 100 bytes, each key five times; half of the log was
// compacted before.
func BenchmarkClean(b *testing.B) {
	for _, codec := range []compress.Codec{compress.None, compress.LZ4} {
		b.Run(codec.String(), func(b *testing.B) {
			const keys, size = 120_000, 64 << 20
			for b.Loop() {
				b.StopTimer()
				d, err := OpenDir(env.Real(), b.TempDir(), DirOptions{Faults: Faults{SkipSync: true}})
				if err != nil {
					b.Fatal(err)
				}
				l := openLog(b, d, "a", Config{SegmentBytes: 16 << 20, IndexIntervalBytes: 4096, Compact: true}, nil)
				l.SetKeeper(all())
				value, n, written := make([]byte, 80), 0, 0
				for half := range 2 {
					for written < (half+1)*size/2 {
						rb := record.NewBuilder(record.Options{Codec: codec})
						for range 150 {
							n = (n*1103515245 + 12345) % (1 << 31)
							binary.BigEndian.PutUint64(value[n%70:], uint64(n))
							rb.Append(1, fmt.Appendf(nil, "key %d", n%keys), value, nil)
							written += 100
						}
						mustAppend(b, l, rb.Build())
					}
					if err := l.Sync(); err != nil {
						b.Fatal(err)
					}
					if half == 0 {
						d.Clean(b.Context())
					}
				}
				bytes := l.Size()
				b.SetBytes(bytes)
				b.StartTimer()
				d.Clean(b.Context())
			}
		})
	}
}
