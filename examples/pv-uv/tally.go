package main

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally holds the newest count of each page and window, as the output topic tells.
type tally struct {
	window time.Duration
	update func(outputLine) error // told of each change, in order; may be nil
	mu     sync.Mutex             // guards rows
	rows   map[row]counted
}

// row names a page in a window.
type row struct {
	window int64 // start, in milliseconds
	page   string
}

// counted are page views and unique visitors.
type counted struct{ pv, uv int64 }

func newTally(window time.Duration) *tally { return &tally{window: window, rows: map[row]counted{}} }

func (t *tally) set(r row, c counted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[r] = c
}

func (t *tally) get(r row) counted {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rows[r]
}

// sorted returns all rows by window, then page, bytewise.
func (t *tally) sorted() []row {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := make([]row, 0, len(t.rows))
	for r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.window, b.window), strings.Compare(a.page, b.page))
	})
	return rows
}
