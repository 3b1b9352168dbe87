package main

import (
	"runtime"
	"testing"
)

func TestSyncsDoNotTakeTheProcessorsOfRequests(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for set, want := range map[string]int{"": before + spareProcessors, "1": before} {
		undo := addProcessors(set)
		if got := runtime.GOMAXPROCS(0); got != want {
			t.Errorf("GOMAXPROCS=%q: %d processors, want %d", set, got, want)
		}
		undo()
		if got := runtime.GOMAXPROCS(0); got != before {
			t.Errorf("GOMAXPROCS=%q: %d processors after it, want %d", set, got, before)
		}
	}
}
