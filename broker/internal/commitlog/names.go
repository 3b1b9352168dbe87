package commitlog

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Names of files, as Kafka has them.
const (
	lockFile      = ".lock"
	metaFile      = "meta.properties"
	cleanFile     = ".kafka_cleanshutdown"
	recoveryFile  = "recovery-point-offset-checkpoint"
	watermarkFile = "replication-offset-checkpoint"
	startFile     = "log-start-offset-checkpoint"
	epochFile     = "leader-epoch-checkpoint"
	topicFile     = "partition.metadata"

	cleanedSuffix = ".cleaned"
	swapSuffix    = ".swap"
	deleteSuffix  = "-delete"
	straySuffix   = "-stray"
	tmpSuffix     = ".tmp"
)

// tp names a partition.
type tp struct {
	topic     string
	partition int32
}

func (t tp) String() string { return t.topic + "-" + strconv.Itoa(int(t.partition)) }

// parseTP reads the name of a partition's directory.
func parseTP(name string) (tp, bool) {
	at := strings.LastIndexByte(name, '-')
	if at <= 0 || strings.HasSuffix(name, deleteSuffix) {
		return tp{}, false
	}
	n, err := strconv.ParseInt(name[at+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[at+1:] {
		return tp{}, false
	}
	return tp{topic: name[:at], partition: int32(n)}, true
}

// asideName is what a partition's directory is called once it is deleted or set aside: no name that
// a partition can have, and no longer than a file system takes.
func (t tp) asideName(unique [16]byte, suffix string) string {
	suffix = fmt.Sprintf("-%d.%s%s", t.partition, hex.EncodeToString(unique[:]), suffix)
	return t.topic[:min(len(t.topic), 255-len(suffix))] + suffix
}

// formatID writes a 16-byte id as Kafka does: base64 of the URL alphabet without padding.
func formatID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func parseID(text string) (id [16]byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %q is no id", ErrCorrupt, text)
	}
	return [16]byte(b), nil
}
