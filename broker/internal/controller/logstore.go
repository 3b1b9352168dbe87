package controller

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/record"
)

// The headers of the record that holds an entry.
const (
	headerType      = "type"      // one byte, raft's number
	headerExtension = "extension" // raft's Extensions, where there are any
)

var (
	errEntry = errors.New("unreadable metadata entry")
	errGap   = errors.New("metadata entries do not follow one another")
)

// logStore is raft's LogStore over a commitlog: the entry of index i is the batch
// at offset i-1, the batch's epoch is the term. The entries are in memory too, as
// there are few between two snapshots: raft panics when it cannot read one.
type logStore struct {
	log     *commitlog.Log
	healthy func() error  // nil while what raft must never forget is stored
	spare   func() uint64 // the last index that no snapshot will need the log for
	failed  chan<- error  // told when entries can no longer be stored

	mu      sync.RWMutex
	entries []*raft.Log // those of the log, in order
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// openLogStore reads the whole log.
func openLogStore(log *commitlog.Log, healthy func() error, spare func() uint64, failed chan<- error) (*logStore, error) {
	s := &logStore{log: log, healthy: healthy, spare: spare, failed: failed}
	for at := log.StartOffset(); at < log.EndOffset(); {
		next, err := s.load(at)
		if err != nil {
			return nil, fmt.Errorf("metadata log at offset %d: %w", at, err)
		}
		at = next
	}
	return s, nil
}

const loadBytes = 1 << 20

// load reads entries from an offset on and returns the offset that follows them.
func (s *logStore) load(from int64) (int64, error) {
	r, err := s.log.Read(from, s.log.EndOffset(), loadBytes, true)
	if err != nil {
		return 0, err
	}
	defer r.Release()
	buf := make([]byte, r.Len())
	if _, err := r.ReadAt(buf, 0); err != nil {
		return 0, err
	}
	next := from
	for len(buf) > 0 {
		batch, rest, err := record.Split(buf)
		if err != nil {
			return 0, err
		}
		e, err := decodeEntry(batch)
		if err != nil {
			return 0, err
		}
		if batch.BaseOffset() != next {
			return 0, fmt.Errorf("%w: offset %d after %d", errGap, batch.BaseOffset(), next-1)
		}
		s.entries = append(s.entries, e)
		next, buf = batch.NextOffset(), rest
	}
	if next == from {
		return 0, fmt.Errorf("%w: nothing to read", errGap)
	}
	return next, nil
}

// encodeEntry returns the batch of an entry.
func encodeEntry(e *raft.Log) record.Batch {
	b := record.NewBuilder(record.Options{BaseOffset: int64(e.Index) - 1, LeaderEpoch: int32(e.Term)})
	headers := []record.Header{{Key: headerType, Value: []byte{byte(e.Type)}}}
	if len(e.Extensions) > 0 {
		headers = append(headers, record.Header{Key: headerExtension, Value: e.Extensions})
	}
	data := e.Data
	if data == nil {
		data = []byte{}
	}
	stamp := record.NoTimestamp
	if !e.AppendedAt.IsZero() {
		stamp = e.AppendedAt.UnixMilli()
	}
	b.Append(stamp, nil, data, headers)
	return b.Build()
}

// decodeEntry reads what encodeEntry wrote; the entry shares no bytes with the
// batch.
func decodeEntry(b record.Batch) (*raft.Log, error) {
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errEntry, err)
	}
	if b.Count() != 1 {
		return nil, fmt.Errorf("%w: %d records in one batch", errEntry, b.Count())
	}
	e := &raft.Log{Index: uint64(b.BaseOffset()) + 1, Term: uint64(b.LeaderEpoch()), Type: entryTypes}
	for r, err := range b.Records(len(b)) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errEntry, err)
		}
		e.Data = append([]byte{}, r.Value...)
		if r.Timestamp != record.NoTimestamp {
			e.AppendedAt = time.UnixMilli(r.Timestamp)
		}
		for _, h := range r.Headers {
			switch {
			case h.Key == headerType && len(h.Value) == 1:
				e.Type = raft.LogType(h.Value[0])
			case h.Key == headerExtension:
				e.Extensions = append([]byte{}, h.Value...)
			}
		}
	}
	if e.Type >= entryTypes {
		return nil, fmt.Errorf("%w: no type that this version knows", errEntry)
	}
	return e, nil
}

// entryTypes is the first number that no type of entry has: raft panics on an
// entry of unknown type.
const entryTypes = raft.LogConfiguration + 1

// IsMonotonic says that indexes have no gaps.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex returns the index of the first entry, 0 where there is none.
func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.entries) == 0 {
		return 0, nil
	}
	return s.entries[0].Index, nil
}

// LastIndex returns the index of the last entry, 0 where there is none.
func (s *logStore) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.entries) == 0 {
		return 0, nil
	}
	return s.entries[len(s.entries)-1].Index, nil
}

// lastTerm returns the term of the last entry, 0 where there is none.
func (s *logStore) lastTerm() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.entries) == 0 {
		return 0
	}
	return s.entries[len(s.entries)-1].Term
}

// GetLog fills e with the entry of an index.
func (s *logStore) GetLog(index uint64, e *raft.Log) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.entries) == 0 || index < s.entries[0].Index || index > s.entries[len(s.entries)-1].Index {
		return raft.ErrLogNotFound
	}
	*e = *s.entries[index-s.entries[0].Index]
	return nil
}

// StoreLog is StoreLogs of one entry.
func (s *logStore) StoreLog(e *raft.Log) error { return s.StoreLogs([]*raft.Log{e}) }

// StoreLogs appends entries and returns when they are durable.
func (s *logStore) StoreLogs(entries []*raft.Log) error {
	if err := s.healthy(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.log.EndOffset()
	kept := make([]*raft.Log, 0, len(entries))
	for n, e := range entries {
		if int64(e.Index)-1 != end+int64(n) {
			return fmt.Errorf("%w: index %d after %d", errGap, e.Index, end+int64(n))
		}
		own := *e
		kept = append(kept, &own)
	}
	if err := s.write(kept); err != nil {
		return s.giveUp(fmt.Errorf("store metadata entries: %w", err), end)
	}
	s.entries = append(s.entries, kept...)
	return nil
}

// giveUp takes back what a failed write may have appended. A full disk may have
// room later; after any other failure nothing is stored any more.
func (s *logStore) giveUp(err error, end int64) error {
	undo := error(nil)
	if s.log.EndOffset() > end {
		undo = s.log.TruncateTo(end)
	}
	if undo == nil && errors.Is(err, commitlog.ErrNoSpace) {
		return err
	}
	err = errors.Join(err, undo)
	select {
	case s.failed <- err:
	default: // somebody reported before us
	}
	return err
}

// appendBytes is how much goes into one append, more only for a larger entry; it
// must leave room below the size of a segment.
const appendBytes = 1 << 20

// write appends entries and waits until they are durable.
func (s *logStore) write(entries []*raft.Log) error {
	var batches []byte
	for i, e := range entries {
		batches = append(batches, encodeEntry(e)...)
		if len(batches) < appendBytes && i < len(entries)-1 {
			continue
		}
		if err := s.log.AppendAsFollower(batches); err != nil {
			return err
		}
		batches = nil
	}
	return s.log.Sync()
}

// DeleteRange deletes a prefix, which a snapshot has replaced, or a suffix, which
// another leader has. Of a prefix it keeps what an older snapshot would need.
func (s *logStore) DeleteRange(from, to uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) == 0 || from > to {
		return nil
	}
	first, last := s.entries[0].Index, s.entries[len(s.entries)-1].Index
	switch {
	case from <= first:
		to = min(to, last, s.spare())
		if to < first {
			return nil
		}
		if err := s.log.SetStartOffset(int64(to)); err != nil {
			return fmt.Errorf("drop old metadata entries: %w", err)
		}
		s.entries = append([]*raft.Log(nil), s.entries[to-first+1:]...)
	case to >= last:
		if from > last {
			return nil
		}
		if err := s.log.TruncateTo(int64(from) - 1); err != nil {
			return fmt.Errorf("drop replaced metadata entries: %w", err)
		}
		s.entries = s.entries[:from-first]
	default:
		return fmt.Errorf("%w: %d to %d is inside %d to %d", errGap, from, to, first, last)
	}
	return nil
}
