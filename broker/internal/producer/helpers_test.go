package producer_test

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"
)

func everything(reflect.Type) bool { return true }

// sealed puts version 1 and the right CRC in front of the rest of a snapshot.
func sealed(body []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{0, 1}, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(out, body...)
}
