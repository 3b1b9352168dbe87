package commitlog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/weirstream/weir/internal/env"
)

func TestReadersOfOldFilesGoOn(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 60, 3)
	old := *l.segs.Load()
	want := mustAll(t, l)
	var ranges []Range
	for from := int64(0); from < 60; from += 5 {
		r, err := l.Read(from, 60, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	d.Clean(t.Context())
	d.removeTrash(true)
	if bytes.Equal(mustAll(t, l), want) {
		t.Fatal("nothing was compacted")
	}
	for _, r := range ranges {
		buf := make([]byte, r.Len())
		if _, err := r.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if !bytes.Contains(want, buf) {
			t.Error("a range has other bytes than when it was read")
		}
		r.Release()
	}
	// One that looks into the old list late does not take the new file for the old one.
	if _, err := l.read(old, reading{upTo: 60, maxBytes: 1 << 20, minOne: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func mustAll(t testing.TB, l *Log) []byte {
	t.Helper()
	data, err := readAll(l, l.StartOffset())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestConsumersReadAcrossSwaps(t *testing.T) {
	d := openDir(t, env.NewMemFS(), DirOptions{MaxOpenFiles: 4})
	l := openCompacted(t, d, "a", compacted())
	churn(t, l, 50, 5)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				v, err := values(l)
				if err != nil || len(v) != 5 {
					t.Errorf("%d keys: %v", len(v), err)
					return
				}
				if _, ok, err := l.OffsetForTime(1000, 1<<60); err != nil || !ok {
					t.Errorf("by time: %v", err)
				}
				if _, ok, err := l.MaxTimestamp(); err != nil || !ok {
					t.Errorf("largest timestamp: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 30 {
		churn(t, l, 20, 5)
		d.Clean(t.Context())
		d.removeTrash(true)
	}
	close(done)
	readers.Wait()
}
