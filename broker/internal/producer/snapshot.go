package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirstream/weir/broker/internal/record"
)

// ErrCorrupt reports bytes that are no producer snapshot of a known version.
var ErrCorrupt = errors.New("producer snapshot is corrupt")

// Kafka's .snapshot file, version 1, big endian: version int16, CRC32C uint32 of all that
// follows, number of producers int32, then for each: producer id int64, epoch int16, last
// sequence int32, last offset int64, offset delta int32, timestamp int64, coordinator epoch
// int32, first offset of the open transaction int64. Absent values are -1. Kafka writes one entry
// a producer; here each remembered batch has one, oldest first, as a client may repeat any of
// them after a restart. Readers that keep the last entry of a producer, as Kafka does, lose nothing.
const (
	snapshotVersion = 1
	snapshotHeader  = 2 + 4 + 4
	snapshotCRC     = 2 // where the CRC stands; what it covers follows it
	snapshotEntry   = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8
)

// Snapshot encodes the state, producers by id; transactions that ended are not in it.
func (s *State) Snapshot() []byte {
	be := binary.BigEndian
	out := make([]byte, snapshotHeader, snapshotHeader+len(s.producers)*snapshotEntry)
	be.PutUint16(out, snapshotVersion)
	for _, id := range s.ids() {
		e := s.producers[id]
		last := batch{lastSequence: record.NoSequence, lastOffset: none}
		if e.n > 0 {
			last = e.batches[e.n-1]
			for _, b := range e.batches[:e.n-1] {
				out = e.append(out, id, b, none)
			}
		}
		last.timestamp = e.timestamp
		out = e.append(out, id, last, e.txnFirst)
	}
	be.PutUint32(out[snapshotCRC+4:], uint32((len(out)-snapshotHeader)/snapshotEntry))
	be.PutUint32(out[snapshotCRC:], checksum(out))
	return out
}

func (e *entry) append(out []byte, id int64, b batch, txnFirst int64) []byte {
	be := binary.BigEndian
	out = be.AppendUint64(out, uint64(id))
	out = be.AppendUint16(out, uint16(e.epoch))
	out = be.AppendUint32(out, uint32(b.lastSequence))
	out = be.AppendUint64(out, uint64(b.lastOffset))
	out = be.AppendUint32(out, uint32(b.delta))
	out = be.AppendUint64(out, uint64(b.timestamp))
	out = be.AppendUint32(out, uint32(e.coordinatorEpoch))
	return be.AppendUint64(out, uint64(txnFirst))
}

// Load replaces the state by a snapshot's. On an error, which wraps ErrCorrupt, the state is
// empty.
func (s *State) Load(snapshot []byte) error {
	s.Reset()
	if err := checkSnapshot(snapshot); err != nil {
		return err
	}
	for p := snapshot[snapshotHeader:]; len(p) > 0; p = p[snapshotEntry:] {
		if id, ok := s.loadEntry(p[:snapshotEntry]); !ok {
			s.Reset()
			return fmt.Errorf("%w: producer %d", ErrCorrupt, id)
		}
	}
	for id, e := range s.producers {
		if e.txnFirst != none {
			s.begin(txn{producerID: id, first: e.txnFirst})
		}
	}
	return nil
}

// loadEntry takes over one entry. A further one of the same producer has to continue the one
// before it.
func (s *State) loadEntry(p []byte) (id int64, ok bool) {
	be := binary.BigEndian
	id = int64(be.Uint64(p))
	b := batch{
		lastSequence: int32(be.Uint32(p[10:])),
		lastOffset:   int64(be.Uint64(p[14:])),
		delta:        int32(be.Uint32(p[22:])),
		timestamp:    int64(be.Uint64(p[26:])),
	}
	epoch, txnFirst := int16(be.Uint16(p[8:])), int64(be.Uint64(p[38:]))
	e, again := s.producers[id]
	switch {
	case id < 0 || txnFirst < none || b.delta < 0:
		return id, false
	case !again:
		e = s.entry(id)
		e.epoch = epoch
	case e.epoch != epoch || e.txnFirst != none || e.n == 0 || e.n == Window || b.lastOffset < 0:
		return id, false
	}
	e.coordinatorEpoch, e.txnFirst, e.timestamp = int32(be.Uint32(p[34:])), txnFirst, b.timestamp
	if b.lastOffset >= 0 {
		e.add(b)
	}
	return id, true
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
