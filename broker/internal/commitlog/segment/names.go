package segment

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Suffixes of a segment's files, as Kafka has them.
const (
	LogSuffix      = ".log"
	IndexSuffix    = ".index"
	TimeSuffix     = ".timeindex"
	TxnSuffix      = ".txnindex"
	SnapshotSuffix = ".snapshot"
	DeletedSuffix  = ".deleted"
)

// Name is the name of a segment's file.
func Name(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// ParseName reads what Name made.
func ParseName(name string) (base int64, suffix string, ok bool) {
	digits, suffix, found := strings.Cut(name, ".")
	if !found || len(digits) != 20 {
		return 0, "", false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, "." + suffix, err == nil && base >= 0
}

// Snapshots lists the offsets of a directory's snapshots, in order.
func Snapshots(entries []fs.DirEntry) []int64 {
	var offsets []int64
	for _, e := range entries {
		if o, suffix, ok := ParseName(e.Name()); ok && suffix == SnapshotSuffix {
			offsets = append(offsets, o)
		}
	}
	slices.Sort(offsets)
	return offsets
}
