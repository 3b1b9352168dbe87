package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

// chance is repeatable randomness for an Env.
type chance struct {
	mu  sync.Mutex
	src *rand.ChaCha8
}

func (c *chance) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.src.Read(p)
}

func testEnv(fsys env.FS) env.Env {
	return env.Env{Clock: env.RealClock(), FS: fsys, Rand: &chance{src: rand.NewChaCha8([32]byte{1})}}
}

const dataDir = "/data"

func openDir(t testing.TB, fsys env.FS, o DirOptions) *Dir {
	t.Helper()
	d, err := OpenDir(testEnv(fsys), dataDir, o)
	if err != nil {
		t.Fatalf("open directory: %v", err)
	}
	return d
}

func openLog(t testing.TB, d *Dir, topic string, c Config, f Follower) *Log {
	t.Helper()
	l, err := d.Open(topic, 0, topicID(topic), c, f)
	if err != nil {
		t.Fatalf("open log: %v", err)
	}
	return l
}

func topicID(topic string) (id [16]byte) {
	copy(id[:], topic)
	return id
}

// batchOf builds a batch of records with consecutive timestamps.
func batchOf(codec compress.Codec, ts int64, values ...string) []byte {
	b := record.NewBuilder(record.Options{Codec: codec})
	for i, v := range values {
		b.Append(ts+int64(i), nil, []byte(v), nil)
	}
	return b.Build()
}

func mustAppend(t testing.TB, l *Log, batch []byte) (first, last int64) {
	t.Helper()
	first, last, err := l.Append(batch, 0)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return first, last
}

// readAll returns the bytes of the log from an offset to its end, and on to the new end if it grows:
// what was left to read may have been compacted into what is beyond.
func readAll(l *Log, from int64) ([]byte, error) {
	var out []byte
	for from < l.EndOffset() {
		upTo := l.EndOffset()
		r, err := l.Read(from, upTo, 1<<20, true)
		if err != nil {
			return out, fmt.Errorf("read at %d: %w", from, err)
		}
		if r.Len() == 0 && l.EndOffset() > upTo {
			continue
		}
		if r.Len() == 0 {
			return out, fmt.Errorf("nothing at %d of %d", from, upTo)
		}
		buf := make([]byte, r.Len())
		_, err = r.ReadAt(buf, 0)
		r.Release()
		if err != nil && !errors.Is(err, io.EOF) {
			return out, err
		}
		out = append(out, buf...)
		for len(buf) > 0 {
			b, rest, err := record.Split(buf)
			if err != nil {
				return out, err
			}
			from, buf = b.NextOffset(), rest
		}
	}
	return out, nil
}

// tally is a follower that remembers the last batch and complains of disorder.
type tally struct {
	next  int64
	crc   uint32
	wrong string
}

func (f *tally) Reset() { f.next, f.crc = 0, 0 }

func (f *tally) Replay(b record.Batch) {
	if b.BaseOffset() < f.next {
		f.wrong = fmt.Sprintf("batch %d after %d", b.BaseOffset(), f.next)
	}
	f.next, f.crc = b.NextOffset(), b.CRC()
}

func (f *tally) Snapshot() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(f.next))
	b = binary.BigEndian.AppendUint32(b, f.crc)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func (f *tally) Load(b []byte) error {
	f.Reset()
	if len(b) != 16 || crc32.ChecksumIEEE(b[:12]) != binary.BigEndian.Uint32(b[12:]) {
		return ErrCorrupt
	}
	f.next, f.crc = int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])
	return nil
}

// rewrite changes a file's bytes in segment.Place, durably.
func rewrite(t testing.TB, fsys env.FS, name string, change func([]byte) []byte) {
	t.Helper()
	data, err := env.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := env.WriteFileAtomic(fsys, name, change(data)); err != nil {
		t.Fatal(err)
	}
}
