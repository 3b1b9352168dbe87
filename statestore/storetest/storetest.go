// Package storetest is the contract of a state store engine as tests. Every
// engine runs all of them.
package storetest

import (
	"encoding/binary"
	"errors"
	"iter"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
)

// Suite is an engine and what it promises.
type Suite struct {
	// Engine returns the engine to test.
	Engine func(t *testing.T) statestore.Engine
	// Dir returns a fresh directory for a DB.
	Dir func(t *testing.T) string
	// Durable says that a DB that was closed can be opened again.
	Durable bool
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	for _, c := range []struct {
		law string
		run func(*testing.T, Suite)
	}{
		{"db reads what was applied", dbReads},
		{"db ranges are half open and ordered", dbRanges},
		{"db applies steps in order", dbStepOrder},
		{"db keeps positions with the changes", dbPositions},
		{"db snapshots stand still", dbSnapshots},
		{"db walks see their beginning", dbWalks},
		{"db opens a directory once", dbInUse},
		{"db keeps everything over a close", dbReopen},
		{"db is closed after close", dbClosed},
		{"db agrees with a map", dbModel},
		{"key-value store agrees with maps", keyValueModel},
		{"key-value store walks ranges and prefixes", keyValueRanges},
		{"key-value store may be written during a walk", keyValueWriteWhileWalking},
		{"key-value store walks see what is written ahead", keyValueWriteAhead},
		{"key-value store keeps times", keyValueTimes},
		{"stores share a db", storesShareDB},
		{"window store agrees with a map", windowModel},
		{"window store fetches with both bounds", windowFetch},
		{"window store keeps duplicates", windowDuplicates},
		{"window store drops expired segments", windowExpiry},
		{"held window store drops what it is told to", windowHeld},
		{"window store comes back with its time", windowReopen},
		{"session store agrees with a map", sessionModel},
		{"session store finds what touches a span", sessionFetch},
		{"session store drops expired sessions", sessionExpiry},
		{"held session store drops what it is told to", sessionHeld},
		{"versioned store agrees with a list of versions", versionedModel},
		{"versioned store takes versions out of order", versionedOrder},
		{"versioned store forgets versions that ended long ago", versionedExpiry},
		{"versioned store comes back with its time", versionedReopen},
	} {
		t.Run(c.law, func(t *testing.T) { c.run(t, s) })
	}
}

// open opens a DB that closes with the test.
func (s Suite) open(t *testing.T) statestore.DB {
	t.Helper()
	db, err := s.Engine(t).Open(s.Dir(t))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// fataler is what a test and a property have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func equal[T any](t fataler, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// wantErr wants an error that wraps another.
func wantErr(t fataler, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// collect returns everything that a walk yields, as text.
func collect[T any](t fataler, walk iter.Seq2[T, error], show func(T) string) []string {
	t.Helper()
	out := []string{}
	for v, err := range walk {
		must(t, err)
		out = append(out, show(v))
	}
	return out
}

func pair(p statestore.Pair) string { return string(p.Key) + "=" + string(p.Value) }

func row(r statestore.Row[string, int64]) string {
	s := r.Key
	if r.End != 0 || r.Start != 0 {
		s += "[" + strconv.FormatInt(r.Start, 10) + "," + strconv.FormatInt(r.End, 10) + "]"
	}
	s += "=" + strconv.FormatInt(r.Value, 10)
	if r.Timestamp != statestore.NoTimestamp {
		s += "@" + strconv.FormatInt(r.Timestamp, 10)
	}
	return s
}

// reversed returns a copy, last first.
func reversed[T any](s []T) []T {
	c := slices.Clone(s)
	slices.Reverse(c)
	return c
}

// Text and Number are codecs for tests.
type (
	// Text encodes strings as they are.
	Text struct{}
	// Number encodes int64 in 8 bytes.
	Number struct{}
)

// Append implements statestore.Codec.
func (Text) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

// Decode implements statestore.Codec.
func (Text) Decode(b []byte) (string, error) { return string(b), nil }

// Append implements statestore.Codec.
func (Number) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

// ErrNumber is the error of a number of the wrong length.
var ErrNumber = errors.New("a number has 8 bytes")

// Decode implements statestore.Codec.
func (Number) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, ErrNumber
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Entry is one changelog record.
type Entry struct {
	Store      string
	Key, Value []byte
	Timestamp  int64
}

// Log is a changelog in memory.
type Log struct {
	Entries []Entry
	// Err, if set, is what Log returns.
	Err error
}

// Log implements statestore.Changelog.
func (l *Log) Log(store string, key, value []byte, timestamp int64) error {
	if l.Err != nil {
		return l.Err
	}
	l.Entries = append(l.Entries, Entry{store, slices.Clone(key), slices.Clone(value), timestamp})
	return nil
}

// names makes store names that differ within a test.
type names struct{ n atomic.Int64 }

func (n *names) next() string { return "store-" + strconv.FormatInt(n.n.Add(1), 10) }

// commit flushes the stores and applies what is pending.
func commit(t fataler, db statestore.DB, stores ...statestore.Store) {
	t.Helper()
	var b statestore.Batch
	for _, s := range stores {
		must(t, s.Flush())
	}
	for _, s := range stores {
		s.Pending(&b)
	}
	must(t, db.Apply(&b, nil))
}

// load restores a changelog into a store that nobody looks at, in two loads.
func load(t fataler, db statestore.DB, s statestore.Store, entries []Entry) {
	t.Helper()
	half := len(entries) / 2
	for _, part := range [][]Entry{entries[:half], entries[half:]} {
		for _, e := range part {
			must(t, s.Restore(e.Key, e.Value, e.Timestamp))
		}
		var b statestore.Batch
		s.Pending(&b)
		must(t, db.Load(&b, nil))
	}
	equal(t, "bytes of nothing", s.PendingBytes(), 0)
}
