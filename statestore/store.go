// Package statestore holds the state of one task: key-value, window, session and
// versioned stores, typed on the outside and bytes within.
//
// Layers, from the operator down: a typed façade ([KeyValue], [Window],
// [Session], [Versioned]); the pending changes of the store, which are its write-back cache
// and hold every change since the last apply; the [DB] of the task, one for all
// its stores. Reads see the pending changes over the DB. At a commit the runtime
// calls, in this order, [Store.Flush] of every store (changes go to the
// changelog and to the flush listener), the commit of its Kafka client,
// [Store.Pending] of every store into one [Batch], and [DB.Apply] of that batch
// with the changelog positions. Nothing reaches the DB before the commit that it
// belongs to, so a crash leaves no change to undo.
//
// A store and its façades belong to the one goroutine that drives the task. A
// DB may be read, and its snapshots taken, from any goroutine.
package statestore

import (
	"errors"
	"fmt"
	"iter"
	"math"
)

// The errors that callers tell apart; they come wrapped.
var (
	// ErrClosed is the error of a store or DB that was closed.
	ErrClosed = errors.New("closed")
	// ErrInUse says that another process or task has the directory open.
	ErrInUse = errors.New("state directory is in use")
	// ErrSpec says that the specification of a store is impossible.
	ErrSpec = errors.New("bad store specification")
	// ErrChanged says that the DB holds the store with another layout. The way
	// out is an empty directory and a restore.
	ErrChanged = errors.New("store layout has changed")
	// ErrKind says that a store is not of the kind, or has not the property,
	// that was asked for.
	ErrKind = errors.New("wrong kind of store")
	// ErrCorrupt says that bytes in the DB or a changelog are not what the store
	// writes.
	ErrCorrupt = errors.New("corrupt bytes")
)

// Order is the direction of an iteration.
type Order bool

// The directions: by key bytes, smallest first or largest first.
const (
	Ascending  Order = false
	Descending Order = true
)

// Pair is one row in bytes. Both slices are valid until the iteration goes on.
type Pair struct{ Key, Value []byte }

// Engine opens databases, one for each task. It may be used from any goroutine.
type Engine interface {
	// Name returns the short name of the engine, for messages.
	Name() string
	// Open opens the DB in a directory and creates both if need be. A directory
	// that is open already is ErrInUse.
	Open(dir string) (DB, error)
}

// Reader reads a DB. Iterations see the moment at which they start.
type Reader interface {
	// Get appends the value of a key to dst. Without such a key ok is false.
	Get(dst, key []byte) (value []byte, ok bool, err error)
	// Range walks the keys from (included) to (excluded); nil is no bound. An
	// error comes as the last element.
	Range(from, to []byte, order Order) iter.Seq2[Pair, error]
}

// DB is the database of one task.
type DB interface {
	Reader
	// Apply makes the changes of b and the positions take effect at once or, on
	// a crash, not at all. It keeps nothing of b. Whether a crash forgets an
	// apply is the engine's; it never forgets one and keeps a later one.
	Apply(b *Batch, positions map[string]int64) error
	// Load is Apply in the way that suits the many rows of a restore. It may add to
	// b and sort it.
	Load(b *Batch, positions map[string]int64) error
	// Position returns the last position of every changelog topic that was
	// applied: the offset of the next record to restore.
	Position() (map[string]int64, error)
	// Snapshot returns a view that later applies do not change.
	Snapshot() (Snapshot, error)
	// Close makes everything applied durable and closes the DB.
	Close() error
}

// Snapshot is a view of a DB that stands still until it is closed.
type Snapshot interface {
	Reader
	// Close releases what the snapshot holds.
	Close() error
}

// Kind is the shape of a store.
type Kind int

// The shapes.
const (
	KindKeyValue Kind = iota
	KindWindow
	KindSession
	KindVersioned
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case KindKeyValue:
		return "key-value"
	case KindWindow:
		return "window"
	case KindSession:
		return "session"
	case KindVersioned:
		return "versioned"
	default:
		return fmt.Sprintf("kind(%d)", int(k))
	}
}

// Forever is the retention, in milliseconds, of a store that drops nothing.
const Forever int64 = math.MaxInt64

// NoTimestamp stands where a change has no time of its own.
const NoTimestamp int64 = -1

// Spec says what a store is.
type Spec struct {
	Name             string
	Kind             Kind
	RetentionMs      int64 // rows older than stream time less this are gone, of all but key-value stores; versioned stores: versions replaced before that
	WindowSizeMs     int64 // window stores
	RetainDuplicates bool  // window stores: a put never replaces a row
	Timestamped      bool  // key-value and window stores: rows keep the time of their last change; versioned stores always do
	Logged           bool  // has a changelog
	Cached           bool  // remembers old values between flushes, for a flush listener
	Held             bool  // window and session stores: rows expire when Expire says so, not as the store's time moves
	SegmentMs        int64 // window and session stores: the span of time that expires, and is found, as one; 0 chooses
}

// Changelog takes the changes of logged stores.
type Changelog interface {
	// Log hands over one change in Kafka Streams' changelog format; a nil value
	// deletes. The slices are valid during the call only. The timestamp is in
	// milliseconds, or NoTimestamp: then it is for the changelog to choose.
	Log(store string, key, value []byte, timestamp int64) error
}

// Store is what the runtime sees of a store; it is made by [Open].
type Store interface {
	// Name returns the name of the store.
	Name() string
	// Spec returns what the store was opened with.
	Spec() Spec
	// Flush hands every change since the last flush to the changelog and, if the
	// store is cached, to the flush listener: the last change of each key only,
	// in the order in which the keys were last written. What the listener writes
	// to this store is flushed too. After an error the only way on is Discard.
	Flush() error
	// Dirty says whether there are changes that were not flushed.
	Dirty() bool
	// Writes returns how many changes the store has taken since it was opened,
	// those of Restore not counted.
	Writes() uint64
	// Restore takes one record of the changelog as a flushed change. It calls
	// neither changelog nor listener.
	Restore(key, value []byte, timestamp int64) error
	// Pending adds every flushed change to b and forgets it: reads do not see it
	// again before b is applied. Changes that were made since the flush stay.
	Pending(b *Batch)
	// PendingBytes returns the memory that the pending changes take, roughly.
	PendingBytes() int
	// Discard forgets every change that Pending has not handed out.
	Discard()
	// Close forgets the pending changes; the DB stays open.
	Close() error
}

// Row is one row of a store. Start and End are zero in a key-value store and the
// time from and up to which a version is valid in a versioned one; Timestamp is
// NoTimestamp where the store keeps none. All in milliseconds.
type Row[K, V any] struct {
	Key        K
	Value      V
	Start, End int64
	Timestamp  int64
}

// Change is what a flush listener gets: the value before the first change since
// the last flush and the value now, either of which may be absent.
type Change[K, V any] struct {
	Key            K
	Start, End     int64 // of the window or session
	Old, New       V
	HasOld, HasNew bool
	Timestamp      int64 // of the last change
}

// KeyValue is a typed key-value store. Keys are ordered by their encoded bytes.
//
// Rows may be written during a walk over this or another kind of store: what
// changes ahead of the walk is shown as it was written, what changes behind it
// is not shown again. No commit may fall into a walk.
type KeyValue[K, V any] interface {
	// Get returns the value of a key.
	Get(key K) (value V, ok bool, err error)
	// GetAt returns the value of a key and its time, NoTimestamp if the store
	// keeps none.
	GetAt(key K) (value V, timestamp int64, ok bool, err error)
	// Put sets the value of a key; the row has no time.
	Put(key K, value V) error
	// PutAt sets the value of a key and its time.
	PutAt(key K, value V, timestamp int64) error
	// PutIfAbsent sets the value of a key that has none, or returns the one that
	// it has.
	PutIfAbsent(key K, value V) (old V, present bool, err error)
	// Delete removes a key, if it is there.
	Delete(key K) error
	// DeleteAt is Delete at a time, which the changelog and the listener get.
	DeleteAt(key K, timestamp int64) error
	// Range walks the keys from one to another, both included.
	Range(from, to K, order Order) iter.Seq2[Row[K, V], error]
	// Prefix walks the keys whose encoding starts with a prefix.
	Prefix(prefix []byte, order Order) iter.Seq2[Row[K, V], error]
	// All walks all keys.
	All(order Order) iter.Seq2[Row[K, V], error]
	// OnFlush sets the flush listener of the store, which must be cached and
	// have none.
	OnFlush(f func(Change[K, V]) error) error
}

// Window is a typed window store: rows by key and start of the window. The
// largest start that was put is the time of the store; rows that start at or
// before that time less the retention are gone, and are not taken.
type Window[K, V any] interface {
	// Time returns the time of the store, NoTimestamp before the first put.
	Time() int64
	// Get returns the row of a key and start; in a store with duplicates, the
	// first one.
	Get(key K, start int64) (value V, timestamp int64, ok bool, err error)
	// Put sets the row of a key and start, or adds one if the store keeps
	// duplicates. It is not stored, and nothing happens, if it has expired.
	Put(key K, start int64, value V, timestamp int64) (stored bool, err error)
	// Delete removes the row of a key and start. A store with duplicates keeps
	// what it has.
	Delete(key K, start, timestamp int64) error
	// Fetch walks the rows of a key that start between two times, both included,
	// by start and then by order of arrival.
	Fetch(key K, from, to int64, order Order) iter.Seq2[Row[K, V], error]
	// FetchAll walks the rows of every key that start between two times, both
	// included. Rows of one key come by start; keys may mix.
	FetchAll(from, to int64, order Order) iter.Seq2[Row[K, V], error]
	// All is FetchAll over all time.
	All(order Order) iter.Seq2[Row[K, V], error]
	// Expire drops the rows of a held store that start before a time, from the
	// DB with the next apply.
	Expire(before int64) error
	// OnFlush sets the flush listener, as that of KeyValue.
	OnFlush(f func(Change[K, V]) error) error
}

// Session is a typed session store: rows by key, start and end of the session,
// both included. The largest end that was put is the time of the store;
// sessions that end at or before that time less the retention are gone, and are
// not taken.
type Session[K, V any] interface {
	// Get returns one session.
	Get(key K, start, end int64) (value V, ok bool, err error)
	// Put sets the value of a session, unless it has expired.
	Put(key K, start, end int64, value V) (stored bool, err error)
	// Remove deletes a session.
	Remove(key K, start, end int64) error
	// FetchSessions walks the sessions of a key that end at or after earliestEnd
	// and start at or before latestStart, by end and then by start.
	FetchSessions(key K, earliestEnd, latestStart int64, order Order) iter.Seq2[Row[K, V], error]
	// FetchAll walks the sessions of every key that end between two times, both
	// included. Those of one key come by end; keys may mix.
	FetchAll(from, to int64, order Order) iter.Seq2[Row[K, V], error]
	// All is FetchAll over all time.
	All(order Order) iter.Seq2[Row[K, V], error]
	// Expire drops the sessions of a held store that end before a time, from the
	// DB with the next apply.
	Expire(before int64) error
	// OnFlush sets the flush listener, as that of KeyValue.
	OnFlush(f func(Change[K, V]) error) error
}

// Versioned is a typed store that keeps the versions of each key for a while
// (KIP-889). A version is valid from its time up to that of the next one; a
// deletion is a version without a value. The largest time that was put is the
// time of the store, and that less the retention is where its history begins:
// what is older is not taken, and of the versions that ended before, nothing is
// left. The latest version stays, however old it is.
type Versioned[K, V any] interface {
	// Get returns the latest version of a key, unless that is a deletion.
	Get(key K) (row Row[K, V], ok bool, err error)
	// GetAsOf returns the version of a key that was valid at a time. There is
	// none before the history begins, unless it is the latest one.
	GetAsOf(key K, at int64) (row Row[K, V], ok bool, err error)
	// Put adds a version, in whatever order, or replaces the one of the same
	// time. It returns the time up to which the version is valid, Forever for
	// the latest. It is not stored, and nothing happens, if it is older than the
	// history.
	Put(key K, value V, at int64) (until int64, stored bool, err error)
	// Delete is Put of a version without a value.
	Delete(key K, at int64) (until int64, stored bool, err error)
	// Versions walks the versions of a key that were valid at some moment from
	// one time to another, both included, by time.
	Versions(key K, from, to int64, order Order) iter.Seq2[Row[K, V], error]
	// Range walks the latest versions of the keys from one to another, both
	// included.
	Range(from, to K, order Order) iter.Seq2[Row[K, V], error]
	// Prefix walks the latest versions of the keys whose encoding starts with a
	// prefix.
	Prefix(prefix []byte, order Order) iter.Seq2[Row[K, V], error]
	// All walks the latest versions of all keys.
	All(order Order) iter.Seq2[Row[K, V], error]
}

// Codec encodes the keys or values of a store.
type Codec[T any] interface {
	// Append writes v behind dst and returns the longer slice.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads what Append wrote and shares no memory with b.
	Decode(b []byte) (T, error)
}

// check says what is wrong with a specification.
func (s Spec) check() error {
	if what := s.wrong(); what != "" {
		return fmt.Errorf("%w: %s store %q: %s", ErrSpec, s.Kind, s.Name, what)
	}
	return nil
}

func (s Spec) wrong() string {
	switch {
	case s.Name == "":
		return "no name"
	case s.Kind < KindKeyValue || s.Kind > KindVersioned:
		return "unknown kind"
	case s.Kind == KindVersioned:
		return s.wrongVersions()
	case s.Kind != KindKeyValue && s.RetentionMs <= 0:
		return "retention is not positive"
	case s.Kind == KindWindow && s.WindowSizeMs < 0:
		return "window size is negative"
	case s.Kind == KindSession && s.Timestamped:
		return "sessions keep no timestamps"
	case s.Kind != KindWindow && s.RetainDuplicates:
		return "only window stores retain duplicates"
	case s.RetainDuplicates && s.Cached:
		return "duplicates cannot be cached"
	default:
		return s.wrongSegments()
	}
}

func (s Spec) wrongSegments() string {
	switch {
	case s.SegmentMs < 0, s.Kind == KindKeyValue && s.segmented():
		return "only rows of some time are held or in segments"
	default:
		return ""
	}
}

func (s Spec) segmented() bool { return s.Held || s.SegmentMs != 0 }

func (s Spec) wrongVersions() string {
	switch {
	case s.RetentionMs < 0:
		return "history is negative"
	case !s.Timestamped, s.Cached, s.RetainDuplicates, s.segmented():
		return "versions have timestamps, no duplicates, no cache and no segments"
	default:
		return ""
	}
}
