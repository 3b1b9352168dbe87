package route

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
)

// storage maps every sentinel of the storage to what a client should make of it:
// turn elsewhere where the log is gone, change the request where it is too large,
// and report the disk otherwise.
func storage() []mapping {
	return []mapping{
		{commitlog.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
		{commitlog.ErrClosed, kerr.NotLeaderForPartition},
		{commitlog.ErrTooLarge, kerr.RecordListTooLarge},
		{commitlog.ErrOffline, kerr.KafkaStorageError},
		{commitlog.ErrNoSpace, kerr.KafkaStorageError},
		{commitlog.ErrLocked, kerr.KafkaStorageError},
		{commitlog.ErrForeign, kerr.KafkaStorageError},
		{commitlog.ErrCorrupt, kerr.KafkaStorageError},
	}
}
