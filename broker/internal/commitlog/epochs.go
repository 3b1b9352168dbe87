package commitlog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// epochs is the history of leaders: each epoch with the offset of its first batch (KIP-101).
type epochs struct {
	mu    sync.Mutex
	list  []epochStart // both fields ascend
	dirty bool         // the file lacks an epoch that has data, or holds one that is cut
}

type epochStart struct {
	epoch int32
	start int64
}

// assign begins an epoch at an offset, unless a later one has begun. data tells that the epoch
// has a batch, from when on the file needs to know of it.
func (e *epochs) assign(epoch int32, start int64, data bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.list); epoch < 0 || n > 0 && e.list[n-1].epoch >= epoch {
		e.dirty = e.dirty || data && n > 0 && e.list[n-1] == epochStart{epoch, start}
		return
	}
	e.list = slices.DeleteFunc(e.list, func(s epochStart) bool { return s.start >= start })
	e.list = append(e.list, epochStart{epoch, start})
	e.dirty = e.dirty || data
}

func (e *epochs) latest() (int32, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return -1, false
	}
	return e.list[len(e.list)-1].epoch, true
}

// end returns the largest known epoch that is not above the given one, and where it ends in a
// log that ends at logEnd.
func (e *epochs) end(epoch int32, logEnd int64) (int32, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.list)
	switch {
	case n == 0 || epoch < 0 || epoch > e.list[n-1].epoch:
		return -1, -1
	case epoch == e.list[n-1].epoch:
		return epoch, logEnd
	}
	above := slices.IndexFunc(e.list, func(s epochStart) bool { return s.epoch > epoch })
	if above == 0 {
		return epoch, e.list[0].start
	}
	return e.list[above-1].epoch, e.list[above].start
}

// cutEnd forgets epochs that begin at or after the end of the log.
func (e *epochs) cutEnd(end int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.list)
	e.list = slices.DeleteFunc(e.list, func(s epochStart) bool { return s.start >= end })
	e.dirty = e.dirty || len(e.list) != n
}

// cutStart forgets epochs that end at or before the start of the log.
func (e *epochs) cutStart(start int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := 0
	for i, s := range e.list {
		if s.start <= start {
			keep = i
		}
	}
	if len(e.list) > 0 && e.list[keep].start < start {
		e.list = slices.Delete(e.list, 0, keep)
		e.list[0].start = start
		e.dirty = true
	}
}

// encode returns the contents of the file. The caller reports a success through saved.
func (e *epochs) encode() (data []byte, dirty bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dirty, e.dirty = e.dirty, false
	lines := make([]string, len(e.list))
	for i, s := range e.list {
		lines[i] = fmt.Sprintf("%d %d", s.epoch, s.start)
	}
	return encodeLines(lines), dirty
}

// unsaved tells that writing what encode returned has failed.
func (e *epochs) unsaved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dirty = true
}

// decode replaces the history by the contents of a file. Errors wrap ErrCorrupt.
func (e *epochs) decode(data []byte) error {
	entries, err := parseLines(data, 2)
	if err != nil {
		return err
	}
	var list []epochStart
	for _, f := range entries {
		epoch, err := strconv.ParseInt(f[0], 10, 32)
		start, err2 := strconv.ParseInt(f[1], 10, 64)
		s := epochStart{int32(epoch), start}
		if n := len(list); errors.Join(err, err2) != nil || epoch < 0 || start < 0 ||
			n > 0 && (s.epoch <= list[n-1].epoch || s.start <= list[n-1].start) {
			return fmt.Errorf("%w: epoch %q", ErrCorrupt, strings.Join(f, " "))
		}
		list = append(list, s)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list, e.dirty = list, false
	return nil
}
