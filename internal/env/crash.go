package env

import (
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
)

// Policy is what becomes of unsynced bytes and entries when the power fails. None of them is
// kinder than a real disk.
type Policy int

// The fates of what was not synced.
const (
	// KeepNothing drops all of it.
	KeepNothing Policy = iota
	// KeepSome keeps each changed block of 4 KiB by a coin, the old or the new size, and the
	// oldest few of the changes in each directory.
	KeepSome
	// KeepTorn is KeepSome with blocks that may be cut at a multiple of 512 bytes.
	KeepTorn
	// KeepSize keeps entries and sizes; where a file grew, each block may be zeroes.
	KeepSize
	// KeepAll loses nothing: the process was killed and the machine went on.
	KeepAll
)

// Policies lists all policies that lose something.
func Policies() []Policy { return []Policy{KeepNothing, KeepSome, KeepTorn, KeepSize} }

// Lost says what a power cut took.
type Lost struct {
	Bytes   int64 // written and not synced, in files that are still there or lost with their entry
	Entries int   // creations, renames and removals that were undone
}

// Crash returns the file system as the machine finds it after a power cut now. The seed decides
// what the policy leaves to chance. Nothing is locked, capped or hooked in the copy, and what it
// holds is durable. m itself is not changed.
func (m *MemFS) Crash(policy Policy, seed uint64) (*MemFS, Lost) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &cut{policy: policy, rng: rand.New(rand.NewPCG(seed, 0x5eed)), done: map[*inode]*inode{}} //nolint:gosec // chance must be repeatable
	after := NewMemFS()
	after.root = c.node(m.root)
	after.root.visit(func(n *inode) { after.used += int64(len(n.data)) })
	return after, c.lost
}

// cut is one power cut in progress.
type cut struct {
	policy Policy
	rng    *rand.Rand
	lost   Lost
	done   map[*inode]*inode
}

func (c *cut) coin() bool { return c.rng.IntN(2) == 0 }

// node returns what is left of a node.
func (c *cut) node(n *inode) *inode {
	if left, ok := c.done[n]; ok {
		return left
	}
	left := &inode{modified: n.modified}
	c.done[n] = left
	if !n.isDir() {
		left.synced = c.file(n)
		left.data = slices.Clone(left.synced)
		left.dirty = map[int]struct{}{}
		return left
	}
	left.entries = map[string]*inode{}
	entries := c.entries(n)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		left.entries[name] = c.node(entries[name])
	}
	left.durable = maps.Clone(left.entries)
	return left
}

// entries keeps the oldest of a directory's pending changes: a journal loses its end.
func (c *cut) entries(n *inode) map[string]*inode {
	keep := 0
	switch c.policy {
	case KeepSize, KeepAll:
		keep = len(n.pending)
	case KeepSome, KeepTorn:
		keep = c.rng.IntN(len(n.pending) + 1)
	case KeepNothing:
	}
	entries := maps.Clone(n.durable)
	for _, change := range n.pending[:keep] {
		change.apply(entries)
	}
	for _, change := range n.pending[keep:] {
		c.lost.Entries++
		if change.node != nil && !change.node.isDir() && change.del == "" {
			c.lost.Bytes += int64(len(change.node.data))
		}
	}
	return entries
}

// file returns what is left of a file's contents.
func (c *cut) file(n *inode) []byte {
	if c.policy == KeepAll {
		return slices.Clone(n.data)
	}
	size := len(n.synced)
	if c.policy == KeepSize || c.policy != KeepNothing && c.coin() {
		size = len(n.data)
	}
	out := setLen(slices.Clone(n.synced), size)
	for _, b := range slices.Sorted(maps.Keys(n.dirty)) {
		kept := c.policy != KeepNothing && c.coin()
		if kept && b*blockSize < len(n.data) && c.policy != KeepSize {
			out = setLen(out, max(len(out), min((b+1)*blockSize, len(n.data))))
		}
		if kept {
			c.keepBlock(out, n, b)
		}
		if !kept {
			c.lost.Bytes += int64(max(0, min(len(n.data)-b*blockSize, blockSize)))
		}
	}
	return out
}

// keepBlock lets one changed block reach the disk, or only its beginning.
func (c *cut) keepBlock(out []byte, n *inode, b int) {
	if c.policy != KeepTorn || c.coin() {
		copyBlock(out, n.data, b)
		return
	}
	from := b * blockSize
	to := min(from+512*c.rng.IntN(blockSize/512), len(out), len(n.data))
	if from < to {
		copy(out[from:to], n.data[from:to])
	}
	c.lost.Bytes += int64(max(0, min(len(n.data)-to, blockSize)))
}

// Fingerprint is a hash of all names and contents as they are now, for counting distinct states.
func (m *MemFS) Fingerprint() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := fnv.New64a()
	m.root.fingerprint(h)
	return h.Sum64()
}

func (n *inode) fingerprint(w io.Writer) {
	_, _ = w.Write(n.data) // a hash never fails
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		_, _ = w.Write([]byte("/" + name + "\x00"))
		n.entries[name].fingerprint(w)
	}
}
