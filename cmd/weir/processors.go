package main

import "runtime"

// spareProcessors is how many syncs of files can wait for the disk while the broker goes on with as
// many goroutines as it has CPUs. More of them gain no more where the disk is waited for, and cost
// CPU where it is not: each is one more that idle threads look for work on.
const spareProcessors = 1

// addProcessors raises GOMAXPROCS for a broker and returns what undoes it; what the user has set in the
// environment stays. A goroutine in a system call keeps its processor until the runtime's monitor takes
// it away, which needs milliseconds when the monitor has slept. Two syncs would stop two CPUs meanwhile:
// no request would be read, and none would be there to share the next round of syncs.
func addProcessors(set string) (undo func()) {
	before := runtime.GOMAXPROCS(0)
	if set == "" {
		runtime.GOMAXPROCS(before + spareProcessors)
	}
	return func() { runtime.GOMAXPROCS(before) }
}
