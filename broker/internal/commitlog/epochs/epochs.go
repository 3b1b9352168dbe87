// Package epochs is the history of a log's leaders, from which followers and consumers learn where
// a leader's records end (KIP-101, KIP-279).
package epochs

import (
	"slices"
	"sync"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
)

// History is each epoch with the offset of its first batch. The zero value knows none. It is safe
// for concurrent use.
type History struct {
	mu    sync.Mutex
	list  []layout.EpochStart // both fields ascend
	dirty bool                // the file lacks an epoch that has data, or holds one that is cut
}

// Assign begins an epoch at an offset, unless a later one has begun. data tells that the epoch
// has a batch, from when on the file needs to know of it.
func (e *History) Assign(epoch int32, start int64, data bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.list); epoch < 0 || n > 0 && e.list[n-1].Epoch >= epoch {
		e.dirty = e.dirty || data && n > 0 && e.list[n-1] == layout.EpochStart{Epoch: epoch, Start: start}
		return
	}
	e.list = slices.DeleteFunc(e.list, func(s layout.EpochStart) bool { return s.Start >= start })
	e.list = append(e.list, layout.EpochStart{Epoch: epoch, Start: start})
	e.dirty = e.dirty || data
}

// Latest returns the newest epoch; ok is false when there is none.
func (e *History) Latest() (int32, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return -1, false
	}
	return e.list[len(e.list)-1].Epoch, true
}

// End returns the largest known epoch that is not above the given one, and where it ends in a
// log that ends at logEnd.
func (e *History) End(epoch int32, logEnd int64) (int32, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.list)
	switch {
	case n == 0 || epoch < 0 || epoch > e.list[n-1].Epoch:
		return -1, -1
	case epoch == e.list[n-1].Epoch:
		return epoch, logEnd
	}
	above := slices.IndexFunc(e.list, func(s layout.EpochStart) bool { return s.Epoch > epoch })
	if above == 0 {
		return epoch, e.list[0].Start
	}
	return e.list[above-1].Epoch, e.list[above].Start
}

// CutEnd forgets epochs that begin at or after the end of the log.
func (e *History) CutEnd(end int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.list)
	e.list = slices.DeleteFunc(e.list, func(s layout.EpochStart) bool { return s.Start >= end })
	e.dirty = e.dirty || len(e.list) != n
}

// CutStart forgets epochs that end at or before the start of the log.
func (e *History) CutStart(start int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := 0
	for i, s := range e.list {
		if s.Start <= start {
			keep = i
		}
	}
	if len(e.list) > 0 && e.list[keep].Start < start {
		e.list = slices.Delete(e.list, 0, keep)
		e.list[0].Start = start
		e.dirty = true
	}
}

// Encode returns the contents of the file. The caller reports a success through saved.
func (e *History) Encode() (data []byte, dirty bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dirty, e.dirty = e.dirty, false
	return layout.EncodeEpochs(e.list), dirty
}

// Unsaved tells that writing what encode returned has failed.
func (e *History) Unsaved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dirty = true
}

// Decode replaces the history by the contents of a file. Errors wrap ErrCorrupt.
func (e *History) Decode(data []byte) error {
	list, err := layout.ParseEpochs(data)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list, e.dirty = list, false
	return nil
}
