package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt reports bytes that are no producer snapshot of a known version.
var ErrCorrupt = errors.New("producer snapshot is corrupt")

// Kafka's .snapshot file, version 1, big endian: version int16, CRC32C uint32 of all that
// follows, number of producers int32, then for each: producer id int64, epoch int16, last
// sequence int32, last offset int64, offset delta int32, timestamp int64, coordinator epoch
// int32, first offset of the open transaction int64. Absent values are -1.
const (
	snapshotVersion = 1
	snapshotHeader  = 2 + 4 + 4
	snapshotCRC     = 2 // where the CRC stands; what it covers follows it
	snapshotEntry   = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8
)

// Snapshot encodes the state, producers by id. Of each producer it keeps the last batch only, as
// Kafka does; transactions that ended are not in it.
func (s *State) Snapshot() []byte {
	be := binary.BigEndian
	out := make([]byte, snapshotHeader, snapshotHeader+len(s.producers)*snapshotEntry)
	be.PutUint16(out, snapshotVersion)
	be.PutUint32(out[snapshotCRC+4:], uint32(len(s.producers)))
	for _, id := range s.ids() {
		e := s.producers[id]
		last := batch{lastSequence: e.lastSequence(), lastOffset: none}
		if e.n > 0 {
			last = e.batches[e.n-1]
		}
		out = be.AppendUint64(out, uint64(id))
		out = be.AppendUint16(out, uint16(e.epoch))
		out = be.AppendUint32(out, uint32(last.lastSequence))
		out = be.AppendUint64(out, uint64(last.lastOffset))
		out = be.AppendUint32(out, uint32(last.delta))
		out = be.AppendUint64(out, uint64(e.timestamp))
		out = be.AppendUint32(out, uint32(e.coordinatorEpoch))
		out = be.AppendUint64(out, uint64(e.txnFirst))
	}
	be.PutUint32(out[snapshotCRC:], checksum(out))
	return out
}

// Load replaces the state by a snapshot's. On an error, which wraps ErrCorrupt, the state is
// empty.
func (s *State) Load(snapshot []byte) error {
	s.Reset()
	if err := checkSnapshot(snapshot); err != nil {
		return err
	}
	be := binary.BigEndian
	for p := snapshot[snapshotHeader:]; len(p) > 0; p = p[snapshotEntry:] {
		id := int64(be.Uint64(p))
		e := &entry{
			epoch:            int16(be.Uint16(p[8:])),
			timestamp:        int64(be.Uint64(p[26:])),
			coordinatorEpoch: int32(be.Uint32(p[34:])),
			txnFirst:         int64(be.Uint64(p[38:])),
		}
		last := batch{
			lastSequence: int32(be.Uint32(p[10:])),
			lastOffset:   int64(be.Uint64(p[14:])),
			delta:        int32(be.Uint32(p[22:])),
			timestamp:    e.timestamp,
		}
		if _, twice := s.producers[id]; twice || id < 0 || e.txnFirst < none || last.delta < 0 {
			s.Reset()
			return fmt.Errorf("%w: producer %d", ErrCorrupt, id)
		}
		if last.lastOffset >= 0 {
			e.add(last)
		}
		s.producers[id] = e
		if e.txnFirst != none {
			s.begin(txn{producerID: id, first: e.txnFirst})
		}
	}
	return nil
}

func checkSnapshot(b []byte) error {
	be := binary.BigEndian
	switch {
	case len(b) < snapshotHeader:
		return fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	case be.Uint16(b) != snapshotVersion:
		return fmt.Errorf("%w: version %d", ErrCorrupt, be.Uint16(b))
	case be.Uint32(b[snapshotCRC:]) != checksum(b):
		return fmt.Errorf("%w: crc", ErrCorrupt)
	case uint64(be.Uint32(b[snapshotCRC+4:]))*snapshotEntry != uint64(len(b)-snapshotHeader):
		return fmt.Errorf("%w: %d producers in %d bytes", ErrCorrupt, be.Uint32(b[snapshotCRC+4:]), len(b))
	}
	return nil
}

// Reset forgets everything: the log is empty, or is about to be replayed.
func (s *State) Reset() {
	clear(s.producers)
	s.open, s.decided, s.aborted = nil, nil, nil
}

func checksum(snapshot []byte) uint32 {
	return crc32.Checksum(snapshot[snapshotCRC+4:], crc32.MakeTable(crc32.Castagnoli))
}
