package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// A rewritten segment takes the place of old ones in steps that a power cut may end anywhere:
//
//  1. Its files are written as .cleaned and synced, with their directory. An opening log that
//     finds a .cleaned file removes it, and every .swap of the same or a later offset (Settle).
//  2. They are renamed to .swap, and the directory is synced. From then on an opening log finishes
//     the swap: what the new segment covers goes, and the .swap files get their names.
//  3. The old files are renamed to .deleted, and .swap to the names of a segment, the .log first.
//
// A new segment ends with the offset that its last old one ended with, even if that takes an empty
// batch, so it tells itself what it covers, and segments follow one another without holes.

// Rewrite is a segment that is made of others, in files beside theirs. It is not safe for
// concurrent use.
type Rewrite struct {
	*Segment
	pool     *Pool
	interval int
	buf      []byte
	written  int64        // with what is in buf
	rest     record.Batch // what stands for the end of the newest segment copied
	same     bool         // nothing was left out so far
	sources  int
}

// writeChunk is about how many bytes are written at once.
const writeChunk = 1 << 20

// NewRewrite returns an empty segment with a base offset. It touches nothing on disk.
func NewRewrite(pool *Pool, dir string, base int64, interval int) *Rewrite {
	return &Rewrite{Segment: newBeside(pool, dir, base, layout.CleanedSuffix), pool: pool, interval: interval, same: true}
}

// Each shows visit every batch of the segment, whole and valid until it returns, and whether it is
// the last.
func (s *Segment) Each(visit func(b record.Batch, last bool) error) error {
	h, err := s.Log.Acquire(false)
	if err != nil {
		return err
	}
	defer s.Log.Release()
	size := s.Size()
	sc := s.Scan(h, 0, size, true)
	defer sc.Close()
	for {
		b, at, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = visit(b, at+int64(len(b)) == size)
		}
		if err != nil {
			return fmt.Errorf("segment %d at position %d: %w", s.Base, at, err)
		}
	}
}

// WriteError tells that a rewritten segment cannot be written, as opposed to read from.
type WriteError struct{ Err error }

// Error tells what failed.
func (e *WriteError) Error() string { return "write compacted segment: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Copy appends what filter leaves of the batches of the next old segment: its argument, another
// batch, or nil. rest makes what stands for a last batch of which nothing is left, should the
// segment end with it. Errors of writing are *WriteError.
func (o *Rewrite) Copy(s *Segment, filter func(record.Batch) (record.Batch, error), rest func(record.Batch) record.Batch) error {
	o.rest = nil
	o.sources++
	return s.Each(func(b record.Batch, last bool) error {
		left, err := filter(b)
		if err != nil {
			return err
		}
		if left == nil {
			o.same = false
			if last {
				o.rest = rest(b)
			}
			return nil
		}
		o.same = o.same && &left[0] == &b[0]
		return o.append(left)
	})
}

// Written is how many bytes were appended.
func (o *Rewrite) Written() int64 { return o.written }

// Takes tells whether a further segment surely fits.
func (o *Rewrite) Takes(s *Segment, maxBytes int64, maxIndex int) bool {
	return o.written+s.Size() <= min(maxBytes, math.MaxInt32) && s.Next()-1-o.Base <= math.MaxInt32 && !o.Full(maxIndex)
}

// Same tells that the segment is the one it was made of.
func (o *Rewrite) Same() bool { return o.same && o.sources == 1 }

func (o *Rewrite) append(b record.Batch) error {
	o.Note(b, o.written, o.interval)
	o.buf = append(o.buf, b...)
	o.written += int64(len(b))
	if len(o.buf) >= writeChunk {
		return o.flush()
	}
	return nil
}

// flush writes what is in memory. The file is made, and emptied of an attempt that failed, with
// its first bytes.
func (o *Rewrite) flush() error {
	h, err := o.Log.Acquire(true)
	if err != nil {
		return &WriteError{err}
	}
	defer o.Log.Release()
	at := o.written - int64(len(o.buf))
	if at == 0 {
		err = h.Truncate(0)
	}
	if err == nil {
		_, err = h.WriteAt(o.buf, at)
	}
	if err == nil {
		err = o.FlushIndexes()
	}
	if err != nil {
		return &WriteError{err}
	}
	o.buf = o.buf[:0]
	return nil
}

// Finish completes the segment, which ends before the offset next, with its transaction index.
// Nothing is synced.
func (o *Rewrite) Finish(next int64, txns []byte) error {
	if o.rest != nil {
		if err := o.append(o.rest); err != nil {
			return err
		}
	}
	if err := o.flush(); err != nil {
		return err
	}
	err := o.Seal()
	for _, f := range []*File{o.offsets.file, o.times.file} { // Kafka's tools want them even if empty
		if err == nil {
			if _, err = f.Acquire(true); err == nil {
				f.Release()
			}
		}
	}
	if err == nil && len(txns) > 0 {
		err = env.WriteFile(o.pool.fs, o.Prefix+TxnSuffix+layout.CleanedSuffix, txns)
	}
	if err != nil {
		return &WriteError{err}
	}
	o.Publish(next, o.written)
	return nil
}

// Files are the names of the segment's files until Swap; not all need exist.
func (o *Rewrite) Files() (names []string) {
	for _, suffix := range []string{LogSuffix, IndexSuffix, TimeSuffix, TxnSuffix} {
		names = append(names, o.Prefix+suffix+layout.CleanedSuffix)
	}
	return names
}

// Dir is the directory of the segment's files.
func (o *Rewrite) Dir() string { return filepath.Dir(o.Prefix) }

// Discard removes what was written.
func (o *Rewrite) Discard() error {
	o.Retire()
	var errs []error
	for _, name := range o.Files() {
		errs = append(errs, ignoreMissing(o.pool.fs.Remove(name)))
	}
	return errors.Join(errs...)
}

// Swap is steps 2 and 3, once the files are durable: sync is the syncing of their directory. It
// returns the names that the old segments can be removed by. They can be read until they are
// retired, which is to follow when readers are sent to the new one.
func (o *Rewrite) Swap(old []*Segment, sync func() error) (trash []string, err error) {
	rename := func(from, to string) error {
		name := o.Prefix + TxnSuffix
		return errors.Join(o.Rename(to), ignoreMissing(o.pool.fs.Rename(name+from, name+to)))
	}
	if err := rename(layout.CleanedSuffix, layout.SwapSuffix); err != nil {
		return nil, err
	}
	if err := sync(); err != nil {
		return nil, err
	}
	for i, s := range old {
		others := []string{TxnSuffix, SnapshotSuffix}
		if i == 0 {
			others = others[:1] // the snapshot belongs to the new segment
		}
		paths, err := s.renameDeleted(o.pool.fs, others)
		if err != nil {
			return nil, err
		}
		trash = append(trash, paths...)
	}
	return trash, rename(layout.SwapSuffix, "")
}

// Settle ends the swaps that the last process, or Kafka, was at in a directory with the given
// entries: those whose files are all there as .swap are finished, others undone. It tells whether
// it changed the directory, which it does not sync. Damage is that of a .swap file, which the
// error names.
func Settle(pool *Pool, dir string, entries []fs.DirEntry) (changed bool, err error) {
	undone := int64(math.MaxInt64)
	swaps := map[int64][]string{} // suffixes by base offset
	for _, e := range entries {
		base, suffix, ok := ParseName(e.Name())
		switch ext := filepath.Ext(e.Name()); {
		case ext == layout.CleanedSuffix:
			if changed = true; ok {
				undone = min(undone, base)
			}
			if err := pool.fs.Remove(filepath.Join(dir, e.Name())); err != nil {
				return true, fmt.Errorf("remove unfinished compaction: %w", err)
			}
		case ext == layout.SwapSuffix && ok:
			swaps[base] = append(swaps[base], suffix)
		}
	}
	for _, base := range slices.Sorted(maps.Keys(swaps)) {
		changed = true
		if base >= undone {
			err = undo(pool.fs, dir, base, swaps[base])
		} else {
			err = complete(pool, dir, base, swaps[base], entries)
		}
		if err != nil {
			return true, err
		}
	}
	return changed, nil
}

func undo(fsys env.FS, dir string, base int64, suffixes []string) error {
	for _, suffix := range suffixes {
		if err := fsys.Remove(filepath.Join(dir, Name(base, suffix))); err != nil {
			return fmt.Errorf("undo compaction: %w", err)
		}
	}
	return nil
}

func complete(pool *Pool, dir string, base int64, suffixes []string, entries []fs.DirEntry) error {
	if at := slices.Index(suffixes, LogSuffix+layout.SwapSuffix); at >= 0 {
		end, err := swapEnd(pool, dir, base)
		if err != nil {
			return err
		}
		for _, e := range entries {
			o, suffix, ok := ParseName(e.Name())
			if !ok || o < base || o >= end || strings.Count(suffix, ".") > 1 || o == base && suffix == SnapshotSuffix {
				continue
			}
			if err := ignoreMissing(pool.fs.Remove(filepath.Join(dir, e.Name()))); err != nil {
				return fmt.Errorf("remove compacted segment: %w", err)
			}
		}
		suffixes[0], suffixes[at] = suffixes[at], suffixes[0] // the .log first
	}
	for _, suffix := range suffixes {
		from := filepath.Join(dir, Name(base, suffix))
		if err := pool.fs.Rename(from, strings.TrimSuffix(from, layout.SwapSuffix)); err != nil {
			return fmt.Errorf("finish compaction: %w", err)
		}
	}
	return nil
}

// swapEnd returns the offset that a segment with .swap files covers up to.
func swapEnd(pool *Pool, dir string, base int64) (end int64, err error) {
	s := newBeside(pool, dir, base, layout.SwapSuffix)
	h, err := s.Log.Acquire(false)
	if err != nil {
		return 0, err
	}
	defer s.Retire()
	defer s.Log.Release()
	size, err := h.Size()
	if err != nil {
		return 0, fmt.Errorf("size of compacted segment: %w", err)
	}
	sc := s.Scan(h, 0, size, false)
	defer sc.Close()
	for {
		b, _, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.Log.Name(), err)
		}
		end = b.NextOffset()
	}
}
