package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sort"
	"sync"

	"github.com/weirstream/weir/internal/env"
)

const (
	offsetWidth = 8  // relative offset uint32, position uint32
	timeWidth   = 12 // timestamp int64, relative offset uint32
	// keepTail and flushTail are how many bytes of newest entries are kept in memory at least,
	// and how many unwritten ones are collected before they are written.
	keepTail  = 8 << 10
	flushTail = 4 << 10
)

// index is a file of entries of one width in ascending order. The newest entries are in memory,
// where a reader at the log's end finds them; they reach the file in bunches, because whatever
// the file lacks is found again in the log.
type index struct {
	file    *File
	width   int
	mu      sync.Mutex
	count   int    // entries in all
	tail    []byte // the newest of them
	flushed int    // entries that the file holds
	spare   []byte // what the file holds beyond them, since a cut; the next flush ends it
}

func (x *index) add(entry []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tail = append(x.tail, entry...)
	x.count++
}

func (x *index) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count
}

func (x *index) unwritten() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return (x.count - x.flushed) * x.width
}

// settled tells whether the file holds all entries and no others, be it by what a cut has left. The
// caller holds mu.
func (x *index) settled() bool {
	return bytes.Equal(x.tail[len(x.tail)-(x.count-x.flushed)*x.width:], x.spare)
}

// complete tells whether a flush has nothing to write.
func (x *index) complete() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.settled()
}

// flush writes what the file lacks. It is not called concurrently with add or cut.
func (x *index) flush() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := (x.count - x.flushed) * x.width
	if x.settled() {
		x.flushed, x.spare = x.count, nil
		return nil
	}
	h, err := x.file.Acquire(true)
	if err != nil {
		return err
	}
	defer x.file.Release()
	if _, err := h.WriteAt(x.tail[len(x.tail)-n:], int64(x.flushed*x.width)); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if len(x.spare) > n {
		if err := h.Truncate(int64(x.count * x.width)); err != nil {
			return fmt.Errorf("cut index: %w", err)
		}
	}
	x.flushed, x.spare = x.count, nil
	if drop := (len(x.tail) - keepTail) / x.width * x.width; drop > keepTail {
		x.tail = append([]byte(nil), x.tail[drop:]...)
	}
	return nil
}

// forget drops the entries in memory; all of them are in the file.
func (x *index) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flushed == x.count {
		x.tail = nil
	}
}

// cut keeps the first n entries. The file is cut when the next entries are written, or never where
// they turn out to be those that it holds.
func (x *index) cut(n int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.count - len(x.tail)/x.width
	x.tail = x.tail[:max(0, n-before)*x.width]
	x.count = n
	x.flushed = min(x.flushed, n)
	h, err := x.file.Acquire(false)
	if errors.Is(err, fs.ErrNotExist) && n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.file.Release()
	size, err := h.Size()
	if err != nil {
		return fmt.Errorf("cut index: %w", err)
	}
	x.spare = nil
	keep := int64(x.flushed * x.width)
	if rest := size - keep; rest > 0 && rest <= flushTail {
		x.spare = make([]byte, rest)
		return ReadFull(h, x.spare, keep)
	}
	if size > keep {
		if err := h.Truncate(keep); err != nil {
			return fmt.Errorf("cut index: %w", err)
		}
	}
	return nil
}

// load takes over what is in the file, provided that ok holds for each entry with the one before
// it, nil at first. It reports whether it does; an index that is not sound is empty. Part of an
// entry at the end is what a power cut may leave; torn says whether that is expected.
func (x *index) load(torn bool, ok func(prev, entry []byte) bool) (sound bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count, x.flushed, x.tail, x.spare = 0, 0, nil, nil
	data, err := env.ReadFile(x.file.pool.fs, x.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	whole := len(data) / x.width * x.width
	if whole != len(data) && !torn {
		return false, nil
	}
	data = data[:whole]
	var prev []byte
	for at := 0; at < len(data); at += x.width {
		entry := data[at : at+x.width]
		if !ok(prev, entry) {
			return false, nil
		}
		prev = entry
	}
	x.count = len(data) / x.width
	x.flushed = x.count
	return true, nil
}

// search returns the number of leading entries for which before holds; it must hold for a
// beginning of the index. last is the entry before that place, valid when n > 0.
func (x *index) search(before func(entry []byte) bool) (n int, last [timeWidth]byte, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	inTail := len(x.tail) / x.width
	from := x.count - inTail
	at := sort.Search(inTail, func(i int) bool { return !before(x.tail[i*x.width : (i+1)*x.width]) })
	n = from + at
	if at > 0 {
		copy(last[:], x.tail[(at-1)*x.width:at*x.width])
		return n, last, nil
	}
	if from == 0 {
		return 0, last, nil
	}
	h, err := x.file.Acquire(false)
	if err != nil {
		return 0, last, err
	}
	defer x.file.Release()
	entry := make([]byte, x.width)
	read := func(i int) {
		if err == nil {
			err = ReadFull(h, entry, int64(i*x.width))
		}
	}
	n = sort.Search(from, func(i int) bool { read(i); return err != nil || !before(entry) })
	if n > 0 {
		read(n - 1)
		copy(last[:], entry)
	}
	return n, last, err
}

// last returns the newest entry.
func (x *index) last() (entry [timeWidth]byte, ok bool, err error) {
	n, entry, err := x.search(func([]byte) bool { return true })
	return entry, n > 0, err
}

// An offset entry tells where the batch that ends with an offset begins in the file.

func offsetEntry(entry []byte) (relative uint32, pos int64) {
	return binary.BigEndian.Uint32(entry), int64(binary.BigEndian.Uint32(entry[4:]))
}

func soundOffsets(size int64) func(prev, entry []byte) bool {
	return func(prev, entry []byte) bool {
		relative, pos := offsetEntry(entry)
		if relative > math.MaxInt32 || pos >= size || pos == 0 {
			return false
		}
		if prev == nil {
			return true
		}
		relative0, pos0 := offsetEntry(prev)
		return relative > relative0 && pos > pos0
	}
}

// A time entry tells the largest timestamp up to and with the batch that ends with an offset.

func timeEntry(entry []byte) (timestamp int64, relative uint32) {
	return int64(binary.BigEndian.Uint64(entry)), binary.BigEndian.Uint32(entry[8:])
}

func soundTimes(prev, entry []byte) bool {
	timestamp, relative := timeEntry(entry)
	if relative > math.MaxInt32 || timestamp < 0 {
		return false
	}
	if prev == nil {
		return true
	}
	timestamp0, relative0 := timeEntry(prev)
	return timestamp > timestamp0 && relative >= relative0
}
