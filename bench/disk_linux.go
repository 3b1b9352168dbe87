package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freeBytes is the space left for data in a directory.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return int64(s.Bavail) * s.Bsize, err
}

// diskBusy is for how long the device under a directory has been at work so far; 0 where that is
// not known.
func diskBusy(dir string) time.Duration {
	var s unix.Stat_t
	if unix.Stat(dir, &s) != nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(s.Dev), unix.Minor(s.Dev)))
	const busy = 9 // the column of milliseconds with requests under way
	if columns := strings.Fields(string(text)); err == nil && len(columns) > busy {
		ms, _ := strconv.ParseInt(columns[busy], 10, 64)
		return time.Duration(ms) * time.Millisecond
	}
	return 0
}
