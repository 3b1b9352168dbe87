package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"

	"github.com/weirstream/weir/broker/internal/commitlog/aborted"
	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/internal/env"
)

// txnIndex is the aborted transactions of a log.
type txnIndex struct {
	aborted.List
	stale int64 // from here on the files are not to be believed, until the follower's first AppendAborted
}

// AbortedIn returns the aborted transactions that have batches in [from, to), by the offset of
// their markers.
func (l *Log) AbortedIn(from, to int64) []AbortedTxn { return l.txns.In(from, to) }

// AppendAborted notes aborted transactions, in the order of their markers, after the markers were
// appended. Those that are known already are passed over. The next sync makes them durable. After a
// log with a follower was opened the first call, with or without transactions, brings those that the
// follower found in the log, and sets right what the files did not tell.
func (l *Log) AppendAborted(txns ...AbortedTxn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.txns.stale != math.MaxInt64 {
		if err := l.rebuildAborted(txns); err != nil {
			return l.dir.refuse("rebuild transaction index", err)
		}
		return nil
	}
	for _, t := range txns {
		if l.txns.Knows(t.Last) {
			continue
		}
		if err := l.writeAborted(t); err != nil {
			return l.dir.refuse("write transaction index", err)
		}
	}
	return nil
}

// rebuildAborted puts what was found in the log in the place of what the files say from where they
// are stale. Each file is replaced at once, so that a crash leaves the old one to be found out again.
func (l *Log) rebuildAborted(found []AbortedTxn) error {
	stale := l.txns.stale
	l.txns.CutEnd(stale)
	for _, t := range found {
		if t.Last >= stale {
			l.txns.Add(t)
		}
	}
	for _, s := range *l.segs.Load() {
		if s.Size() == 0 || s.Next() <= stale {
			continue
		}
		data := l.txns.Encode(s.Base, s.Next())
		name := s.Prefix + segment.TxnSuffix
		old, err := env.ReadFile(l.dir.env.FS, name)
		if err := ignoreMissing(err); err != nil {
			return err
		}
		if string(old) == string(data) {
			continue
		}
		if err := env.WriteFileAtomic(l.dir.env.FS, name, data); err != nil {
			return err
		}
		l.dir.logger.Warn("transaction index rebuilt", slog.String("file", name), slog.Int("transactions", len(data)/layout.TxnWidth))
	}
	l.txns.stale = math.MaxInt64
	return nil
}

func (l *Log) writeAborted(t AbortedTxn) error {
	segs := *l.segs.Load()
	s := segs[holding(segs, t.Last)]
	name := s.Prefix + segment.TxnSuffix
	f, err := l.dir.env.FS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	size, err := f.Size()
	if err == nil {
		_, err = f.WriteAt(layout.AppendTxn(nil, t), size/layout.TxnWidth*layout.TxnWidth)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	l.unsynced = append(l.unsynced, name)
	l.newFiles = true
	l.txns.Add(t)
	return nil
}

// holding returns the index of the segment that holds an offset, 0 for an offset before all.
func holding(segs []*segmentFile, offset int64) int {
	i, found := slices.BinarySearchFunc(segs, offset, func(s *segmentFile, o int64) int {
		return int(min(1, max(-1, s.Base-o)))
	})
	if !found {
		i--
	}
	return max(0, i)
}

// loadAborted reads the indexes of all segments, as far as they are sound: up to the offset sound, and
// up to the first segment whose index makes no sense or was deleted with the others. With a follower,
// the rest is what that finds.
func (l *Log) loadAborted(sound int64) error {
	l.txns.stale = math.MaxInt64
	end, stopped := l.end.Load(), sound == math.MaxInt64
	if l.follower == nil {
		sound = end
	}
	segs := *l.segs.Load()
	for i, s := range segs {
		usable, err := l.readAborted(s, stopped || i < len(segs)-1 && s.Next() <= sound)
		if err != nil {
			return err
		}
		if !usable && l.follower != nil && s.Base < sound {
			sound = s.Base
			break
		}
	}
	if sound < end {
		l.txns.CutEnd(sound)
		l.txns.stale = sound
	}
	return nil
}

// readAborted reads the index of one segment and tells whether it can be believed. One that is not there
// can, as most segments have none, but not where the index of times is missing too, which every segment
// with records has once it is complete: somebody wants the indexes made again.
func (l *Log) readAborted(s *segmentFile, complete bool) (usable bool, err error) {
	data, err := env.ReadFile(l.dir.env.FS, s.Prefix+segment.TxnSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		if !complete || s.Size() == 0 {
			return true, nil
		}
		_, err = l.dir.env.FS.Stat(s.Prefix + segment.TimeSuffix)
		return err == nil, ignoreMissing(err)
	}
	if err != nil {
		return false, err
	}
	for len(data) >= layout.TxnWidth {
		t, ok := layout.ParseTxn(data)
		if !ok || t.Last < s.Base || t.Last >= l.end.Load() || l.txns.Knows(t.Last) {
			break
		}
		l.txns.Add(t)
		data = data[layout.TxnWidth:]
	}
	return len(data) == 0, nil
}

// cutAborted forgets transactions whose markers lie at or beyond end, and rewrites the index of
// the segment that ends the log.
func (l *Log) cutAborted(end int64) error {
	if !l.txns.CutEnd(end) {
		return nil
	}
	s := l.active()
	name := s.Prefix + segment.TxnSuffix
	l.unsynced = append(l.unsynced, name)
	l.newFiles = true
	return env.WriteFile(l.dir.env.FS, name, l.txns.Encode(s.Base, math.MaxInt64))
}
