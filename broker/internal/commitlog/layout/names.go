// Package layout is what the files of a log directory are called and what stands in the small
// ones: checkpoints, leader epochs, ids, the transaction index, the marker of a clean stop. All of
// it is Kafka's. Nothing here touches a disk.
package layout

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrCorrupt reports bytes that are not what their file should hold.
var ErrCorrupt = errors.New("log directory is corrupt")

// Names of files in a log directory, and in the directories of its partitions.
const (
	LockFile      = ".lock"
	MetaFile      = "meta.properties"
	CleanFile     = ".kafka_cleanshutdown"
	RecoveryFile  = "recovery-point-offset-checkpoint"
	WatermarkFile = "replication-offset-checkpoint"
	StartFile     = "log-start-offset-checkpoint"
	CleanerFile   = "cleaner-offset-checkpoint"
	EpochFile     = "leader-epoch-checkpoint"
	TopicFile     = "partition.metadata"
)

// Suffixes of what is not, or no longer, part of a log.
const (
	CleanedSuffix = ".cleaned"
	SwapSuffix    = ".swap"
	DeleteSuffix  = "-delete"
	StraySuffix   = "-stray"
	TmpSuffix     = ".tmp"
)

// TP names a partition.
type TP struct {
	Topic     string
	Partition int32
}

// String is the name of the partition's directory.
func (t TP) String() string { return t.Topic + "-" + strconv.Itoa(int(t.Partition)) }

// ParseTP reads the name of a partition's directory.
func ParseTP(name string) (TP, bool) {
	at := strings.LastIndexByte(name, '-')
	if at <= 0 || strings.HasSuffix(name, DeleteSuffix) {
		return TP{}, false
	}
	n, err := strconv.ParseInt(name[at+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[at+1:] {
		return TP{}, false
	}
	return TP{Topic: name[:at], Partition: int32(n)}, true
}

// AsideName is what a partition's directory is called once it is deleted or set aside: no name that
// a partition can have, and no longer than a file system takes.
func (t TP) AsideName(unique [16]byte, suffix string) string {
	suffix = fmt.Sprintf("-%d.%s%s", t.Partition, hex.EncodeToString(unique[:]), suffix)
	return t.Topic[:min(len(t.Topic), 255-len(suffix))] + suffix
}

// FormatID writes a 16-byte id as Kafka does: base64 of the URL alphabet without padding.
func FormatID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseID reads what FormatID made. Errors wrap ErrCorrupt.
func ParseID(text string) (id [16]byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %q is no id", ErrCorrupt, text)
	}
	return [16]byte(b), nil
}
