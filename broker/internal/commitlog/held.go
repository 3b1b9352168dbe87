package commitlog

import "math"

// AppendForSync is Append for somebody who takes nothing for appended before OnSync has told: in mode
// Fsync the bytes may stay in memory until a round of syncs begins, and are lost with the process.
//
// They do while a round is at work on the log, because to append to a file that is being synced costs
// twice: its last page is on the way to the disk and has to go there again, with the file's size. The
// next round writes all of them with one call.
func (l *Log) AppendForSync(batches []byte, epoch int32) (first, last int64, err error) {
	return l.append(batches, epoch, true)
}

// hold keeps stamped batches that end before the offset next, and tells whether it did: not unless
// the file system has promised the space, as what has its offsets can no longer be refused. The caller
// holds mu.
func (l *Log) hold(c *Config, batches []byte, next int64) bool {
	if !l.inRound || c.Durability != Fsync {
		return false
	}
	s := l.active()
	size := s.Size() + int64(len(l.held.Bytes()))
	if l.mustRoll(s, size, c, batches, next) {
		return false
	}
	h, err := l.open(s)
	if err != nil || !s.Reserve(h, size+int64(len(batches)), c.SegmentBytes, c.Preallocate) || !l.held.Add(batches) {
		return false
	}
	l.heldFrom.Store(min(l.heldFrom.Load(), l.end.Load()))
	return true
}

// writeHeld writes what is held. A failure puts the directory out of use. The caller holds mu.
func (l *Log) writeHeld() error {
	if l.held.Bytes() == nil {
		return nil
	}
	if err := l.usable(); err != nil {
		return err
	}
	s := l.active()
	h, err := l.open(s)
	if err == nil {
		err = s.Append(h, l.held.Bytes(), l.end.Load(), l.config.Load().IndexIntervalBytes)
	}
	if err != nil {
		return l.dir.fail("append", err)
	}
	l.held.Drop()
	l.heldFrom.Store(math.MaxInt64)
	return l.writeIndex(s)
}

// reach writes what is held, if a reader asks for offsets that are among it.
func (l *Log) reach(upTo int64) error {
	if upTo <= l.heldFrom.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writeHeld()
}
