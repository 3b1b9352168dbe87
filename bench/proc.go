package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// tick is how Linux counts CPU time in /proc for programs, on every architecture.
const tick = 10 * time.Millisecond

// cpuTime is the user and system time of a process so far.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, system = 11, 12 // counted behind the name
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	u, errU := strconv.ParseInt(fields[user], 10, 64)
	s, errS := strconv.ParseInt(fields[system], 10, 64)
	if errU != nil || errS != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %s %s", pid, fields[user], fields[system])
	}
	return time.Duration(u+s) * tick, nil
}

// stolen is how long the host of a virtual machine has kept processors from it that had work to do,
// all of them together; 0 where nothing tells.
func stolen() time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	const steal = 8 // counted from the name, "cpu"
	if len(fields) <= steal {
		return 0
	}
	ticks, err := strconv.ParseInt(fields[steal], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ticks) * tick
}

// moment is what a process had used of the processors by a time, and what the host had kept of them.
type moment struct {
	at          time.Time
	cpu, stolen time.Duration
}

// mark returns the present moment of a process; 0 is none.
func mark(pid int) (moment, error) {
	m := moment{at: time.Now(), stolen: stolen()}
	var err error
	if pid != 0 {
		m.cpu, err = cpuTime(pid)
	}
	return m, err
}

// residentBytes is the memory a process holds.
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

// liveHeap is how many bytes of a Java process's heap are in use after a collection.
func liveHeap(ctx context.Context, pid int) (int64, error) {
	out, err := exec.CommandContext(ctx, "jcmd", strconv.Itoa(pid), "GC.class_histogram").CombinedOutput() //nolint:gosec // a number
	if err != nil {
		return 0, fmt.Errorf("jcmd: %w: %s", err, out)
	}
	for line := range bytes.Lines(out) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "Total" {
			return strconv.ParseInt(string(fields[2]), 10, 64)
		}
	}
	return 0, errors.New("jcmd told no total")
}

// Touch uses that much memory for a moment. A virtual machine's host takes freed
// memory back and gives it out again slowly; what was touched just now costs a run
// nothing extra.
func Touch(bytes int) {
	const page = 4096
	memory := make([]byte, bytes)
	for i := 0; i < len(memory); i += page {
		memory[i] = 1
	}
	debug.FreeOSMemory()
}
