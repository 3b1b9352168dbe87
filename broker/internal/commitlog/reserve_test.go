package commitlog

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

// reservingFS notes what segments reserve and to what they are cut.
type reservingFS struct {
	env.FS
	reserved, cut []int64
	err           error
}

func (f *reservingFS) OpenFile(name string, flag int, perm fs.FileMode) (env.File, error) {
	h, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return h, err
	}
	return &reservingFile{h, f}, nil
}

type reservingFile struct {
	env.File
	fs *reservingFS
}

func (f *reservingFile) Preallocate(size int64) error {
	f.fs.reserved = append(f.fs.reserved, size)
	return f.fs.err
}

func (f *reservingFile) Truncate(size int64) error {
	if size > 0 {
		f.fs.cut = append(f.fs.cut, size)
	}
	return f.File.Truncate(size)
}

func TestSpaceIsReservedAsASegmentGrowsAndGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		config   Config
		err      error
		reserved []int64
	}{
		"by growth":    {Config{SegmentBytes: 8_500_000}, nil, []int64{5_062_500, 6_187_500, 7_312_500, 8_437_500, 8_500_000}},
		"at once":      {Config{SegmentBytes: 8_500_000, Preallocate: true}, nil, []int64{8_500_000, 8_500_000}},
		"not possible": {Config{SegmentBytes: 8_500_000}, errors.ErrUnsupported, []int64{5_062_500}},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := &reservingFS{FS: env.NewMemFS(), err: c.err}
			d := openDir(t, fsys, DirOptions{})
			l := openLog(t, d, "t", c.config, nil)
			batch := batchOf(compress.None, 1, strings.Repeat("x", 499_928))
			if len(batch) != 500_000 {
				t.Fatal(len(batch))
			}
			for range 18 { // 9 MB: one segment is full, the next begins
				mustAppend(t, l, batch)
			}
			if !slices.Equal(fsys.reserved, c.reserved) {
				t.Errorf("reserved up to %d, want %d", fsys.reserved, c.reserved)
			}
			if want := []int64{8_500_000}; !slices.Equal(fsys.cut, want) {
				t.Errorf("cut to %d, want %d", fsys.cut, want)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAFileThatCannotBeTrimmedIsNotSealed(t *testing.T) {
	m := env.NewMemFS()
	fsys := &reservingFS{FS: m}
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "t", Config{SegmentBytes: 5 << 20}, nil)
	batch := batchOf(compress.None, 1, strings.Repeat("x", 1<<20))
	for range 4 {
		mustAppend(t, l, batch)
	}
	failure := errors.New("no")
	m.OnOp(func(op env.Op) error {
		if op.Kind == env.OpTruncate && strings.HasSuffix(op.Name, ".log") {
			return failure
		}
		return nil
	})
	if _, _, err := l.Append(batch, 0); !errors.Is(err, failure) || !errors.Is(err, ErrOffline) {
		t.Errorf("%v", err)
	}
}
