package record

import (
	"encoding/binary"
	"fmt"
)

// ControlType is what a control record says.
type ControlType int16

// The control records of Kafka; a log may hold types that are not listed.
const (
	Abort            ControlType = 0
	Commit           ControlType = 1
	LeaderChange     ControlType = 2
	SnapshotHeader   ControlType = 3
	SnapshotFooter   ControlType = 4
	KRaftVersion     ControlType = 5
	KRaftVoters      ControlType = 6
	controlKeySize               = 4
	endTxnMarkerSize             = 6
)

// Control is a decoded control record.
type Control struct {
	Type             ControlType
	CoordinatorEpoch int32 // of Abort and Commit; -1 for others
}

// IsEndTxn reports whether the record ends a transaction.
func (c Control) IsEndTxn() bool { return c.Type == Abort || c.Type == Commit }

// ParseControl decodes a record of a control batch. Key: version int16, type int16; value of a
// transaction marker: version int16, coordinator epoch int32. Later versions may carry more
// bytes, which are skipped. Errors wrap ErrInvalid.
func ParseControl(key, value []byte) (Control, error) {
	if len(key) < controlKeySize {
		return Control{}, fmt.Errorf("%w: control key of %d bytes", ErrInvalid, len(key))
	}
	c := Control{Type: ControlType(binary.BigEndian.Uint16(key[2:])), CoordinatorEpoch: -1}
	if version := int16(binary.BigEndian.Uint16(key)); version < 0 {
		return Control{}, fmt.Errorf("%w: control key version %d", ErrInvalid, version)
	}
	if !c.IsEndTxn() {
		return c, nil
	}
	if len(value) < endTxnMarkerSize {
		return Control{}, fmt.Errorf("%w: transaction marker of %d bytes", ErrInvalid, len(value))
	}
	c.CoordinatorEpoch = int32(binary.BigEndian.Uint32(value[2:]))
	return c, nil
}

// Control decodes the first record of a control batch, the only one that Kafka writes into it.
// Control batches are never compressed. Errors wrap ErrInvalid.
func (b Batch) Control() (Control, error) {
	body, err := b.Body(nil, nil, len(b))
	if err != nil {
		return Control{}, err
	}
	w := b.Walk(body)
	if !w.Next() {
		if w.Err() != nil {
			return Control{}, w.Err()
		}
		return Control{}, fmt.Errorf("%w: empty control batch", ErrInvalid)
	}
	return ParseControl(w.record.Key, w.record.Value)
}

// NewEndTxn builds the control batch that ends the transaction of a producer on one partition.
// The time is in milliseconds.
func NewEndTxn(producerID int64, producerEpoch int16, c Control, timestamp int64) Batch {
	b := NewBuilder(Options{
		Producer:      &Producer{ID: producerID, Epoch: producerEpoch, Sequence: NoSequence},
		Transactional: true,
		Control:       true,
	})
	key := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(c.Type))
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(c.CoordinatorEpoch))
	b.Append(timestamp, key, value, nil)
	return b.Build()
}
