package layout

import "encoding/binary"

// AbortedTxn is an aborted transaction, as the .txnindex tells of it.
type AbortedTxn struct {
	ProducerID  int64
	First, Last int64 // offsets of its first batch and of its marker
	LastStable  int64 // the last stable offset that the marker left
}

// TxnWidth is the size of an entry of a .txnindex. The index holds the aborted transactions whose
// markers lie in its segment, in the order of the markers: version int16 (0), producer id, first
// offset, last offset and last stable offset, each int64.
const TxnWidth = 2 + 4*8

// AppendTxn appends the entry of a transaction to dst.
func AppendTxn(dst []byte, t AbortedTxn) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, 0)
	for _, v := range []int64{t.ProducerID, t.First, t.Last, t.LastStable} {
		dst = be.AppendUint64(dst, uint64(v))
	}
	return dst
}

// ParseTxn reads the entry that b begins with, at least TxnWidth bytes; ok is false for one that
// makes no sense.
func ParseTxn(b []byte) (t AbortedTxn, ok bool) {
	be := binary.BigEndian
	t = AbortedTxn{
		ProducerID: int64(be.Uint64(b[2:])), First: int64(be.Uint64(b[10:])),
		Last: int64(be.Uint64(b[18:])), LastStable: int64(be.Uint64(b[26:])),
	}
	return t, be.Uint16(b) == 0 && t.First <= t.Last
}
