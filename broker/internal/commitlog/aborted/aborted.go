// Package aborted is what a log knows of aborted transactions, from which readers of committed data
// learn what to pass over. They are few, so all are in memory.
package aborted

import (
	"slices"
	"sort"
	"sync"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
)

// List is aborted transactions by the offset of their markers; their LastStable never goes down.
// The zero value is empty. It is safe for concurrent use.
type List struct {
	mu   sync.RWMutex
	list []layout.AbortedTxn
}

// In returns those that have batches in [from, to), by the offset of their markers.
func (x *List) In(from, to int64) []layout.AbortedTxn {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []layout.AbortedTxn
	for _, t := range x.list[at(x.list, from):] {
		if t.First < to {
			out = append(out, t)
		}
		if t.LastStable >= to {
			break // what is aborted later began at or after that
		}
	}
	return out
}

// at is the index of the first transaction whose marker lies at or after an offset.
func at(list []layout.AbortedTxn, offset int64) int {
	return sort.Search(len(list), func(i int) bool { return list[i].Last >= offset })
}

// Knows reports whether the list is as far as a marker.
func (x *List) Knows(last int64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.list) > 0 && x.list[len(x.list)-1].Last >= last
}

// Add puts a transaction behind the others.
func (x *List) Add(t layout.AbortedTxn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = append(x.list, t)
}

// Len is how many transactions are known.
func (x *List) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.list)
}

// Encode writes those whose markers lie in [from, to), as their .txnindex holds them.
func (x *List) Encode(from, to int64) []byte {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var data []byte
	for _, t := range x.list[at(x.list, from):] {
		if t.Last < to {
			data = layout.AppendTxn(data, t)
		}
	}
	return data
}

// CutEnd forgets transactions whose markers lie at or beyond an offset, and reports whether there
// were any.
func (x *List) CutEnd(end int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := at(x.list, end)
	cut := n < len(x.list)
	x.list = x.list[:n:n]
	return cut
}

// CutStart forgets transactions that lie before an offset.
func (x *List) CutStart(start int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = slices.DeleteFunc(x.list, func(t layout.AbortedTxn) bool { return t.Last < start })
}

// Replace puts transactions in the place of those whose markers lie in [from, to).
func (x *List) Replace(from, to int64, by []layout.AbortedTxn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = slices.Replace(slices.Clone(x.list), at(x.list, from), at(x.list, to), by...)
}
