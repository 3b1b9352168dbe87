package commitlog

import (
	"slices"
	"sync"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
)

// epochs is the history of leaders: each epoch with the offset of its first batch (KIP-101).
type epochs struct {
	mu    sync.Mutex
	list  []layout.EpochStart // both fields ascend
	dirty bool                // the file lacks an epoch that has data, or holds one that is cut
}

// assign begins an epoch at an offset, unless a later one has begun. data tells that the epoch
// has a batch, from when on the file needs to know of it.
func (e *epochs) assign(epoch int32, start int64, data bool) {
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

func (e *epochs) latest() (int32, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return -1, false
	}
	return e.list[len(e.list)-1].Epoch, true
}

// end returns the largest known epoch that is not above the given one, and where it ends in a
// log that ends at logEnd.
func (e *epochs) end(epoch int32, logEnd int64) (int32, int64) {
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

// cutEnd forgets epochs that begin at or after the end of the log.
func (e *epochs) cutEnd(end int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.list)
	e.list = slices.DeleteFunc(e.list, func(s layout.EpochStart) bool { return s.Start >= end })
	e.dirty = e.dirty || len(e.list) != n
}

// cutStart forgets epochs that end at or before the start of the log.
func (e *epochs) cutStart(start int64) {
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

// encode returns the contents of the file. The caller reports a success through saved.
func (e *epochs) encode() (data []byte, dirty bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dirty, e.dirty = e.dirty, false
	return layout.EncodeEpochs(e.list), dirty
}

// unsaved tells that writing what encode returned has failed.
func (e *epochs) unsaved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dirty = true
}

// decode replaces the history by the contents of a file. Errors wrap ErrCorrupt.
func (e *epochs) decode(data []byte) error {
	list, err := layout.ParseEpochs(data)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list, e.dirty = list, false
	return nil
}
