// Package fetchsession keeps what a client fetches between its requests (KIP-227):
// a request names only what changed in its set of partitions, and an answer only
// partitions that have something to tell. The package is pure; its caller holds a
// lock around every call.
package fetchsession

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The epochs with a meaning of their own.
const (
	// NewSession asks for a full fetch and a session after it.
	NewSession int32 = 0
	// NoSession asks for a full fetch and ends the session that is named.
	NoSession int32 = -1
)

// Defaults of the cache, which are Kafka's.
const (
	DefaultSlots  = 1000
	DefaultSettle = 2 * time.Minute
)

// MaxPartitions is how many partitions the sessions of a cache hold together: without a bound, a
// client that goes on adding partitions, or sessions, would fill the memory.
const MaxPartitions = 1 << 20

// Key names a partition as the client does: by topic name, or from Fetch version
// 13 on by topic id.
type Key struct {
	Topic   string
	TopicID [16]byte
	Index   int32
}

// Partition is a partition to fetch, and how.
type Partition struct {
	Key
	Offset       int64
	MaxBytes     int32
	CurrentEpoch int32 // leader epoch the client believes in, -1 for none
	FetchedEpoch int32 // epoch of the last record it has, -1 for none
}

// Answer is what an answer would tell of a partition.
type Answer struct {
	Code                    int16
	Bytes                   int // of records
	HighWatermark, LogStart int64
}

// Request is the part of a Fetch request that concerns the session.
type Request struct {
	ID, Epoch int32
	ByID      bool // partitions are named by topic id
	Fetch     []Partition
	Forget    []Key
}

// Fetch is one request on its way through a session.
type Fetch struct {
	ID         int32       // of the session, as the answer carries it; 0 is none
	Partitions []Partition // to fetch, in the order of the answer
	entries    []*entry    // beside Partitions; none without a session
	full       bool
}

// Cache holds sessions. Make one with NewCache.
type Cache struct {
	slots    int
	settle   time.Duration
	random   func() int32
	sessions map[int32]*session
	held     int      // partitions in all sessions
	back     []*entry // of a session that is rotated
}

type session struct {
	id, epoch     int32 // epoch is the one expected next
	byID          bool
	created, used time.Time
	entries       map[Key]*entry
	order         []*entry // as answers list them; nil where one was forgotten
	forgotten     int
}

// entry is a partition of a session and what the client was told of it last.
type entry struct {
	Partition
	at                      int  // in order
	served                  bool // had records in the answer that is told
	highWatermark, logStart int64
}

// NewCache returns an empty cache of so many slots. A session may be displaced
// once it has not been used, or by a larger one has lived, for settle. random
// gives the ids of sessions.
func NewCache(slots int, settle time.Duration, random func() int32) *Cache {
	return &Cache{slots: slots, settle: settle, random: random, sessions: map[int32]*session{}}
}

// Len is the number of sessions.
func (c *Cache) Len() int { return len(c.sessions) }

// Partitions is the number of partitions in all sessions.
func (c *Cache) Partitions() int { return c.held }

// drop ends a session if there is one.
func (c *Cache) drop(id int32) {
	if s, ok := c.sessions[id]; ok {
		c.held -= len(s.entries)
		delete(c.sessions, id)
	}
}

// Begin takes a request into its session, or makes or ends one as its epoch asks
// for, and tells in f, whose memory is used again, what to fetch. f is independent
// of r and of later requests. The errors are
// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH and
// FETCH_SESSION_TOPIC_ID_ERROR, which concern the whole request. A session that outgrows
// MaxPartitions is ended and not found; the client then fetches everything anew.
func (c *Cache) Begin(now time.Time, r Request, f *Fetch) error {
	*f = Fetch{Partitions: f.Partitions[:0], entries: f.entries[:0]}
	if r.Epoch == NewSession || r.Epoch == NoSession {
		c.drop(r.ID)
		c.full(now, r, f)
		return nil
	}
	s, ok := c.sessions[r.ID]
	switch {
	case !ok:
		return kerr.FetchSessionIDNotFound
	case s.epoch != r.Epoch:
		return kerr.InvalidFetchSessionEpoch
	case s.byID != r.ByID:
		return kerr.FetchSessionTopicIDError
	}
	s.used = now
	if s.epoch++; s.epoch <= 0 { // it went past the largest
		s.epoch = 1
	}
	before := len(s.entries)
	for _, p := range r.Fetch {
		s.put(p)
	}
	for _, k := range r.Forget {
		s.forget(k)
	}
	if c.held += len(s.entries) - before; c.held > MaxPartitions {
		c.drop(s.id)
		return kerr.FetchSessionIDNotFound
	}
	f.ID = s.id
	f.entries = append(f.entries, s.list()...)
	if len(f.entries) == 0 {
		c.drop(s.id)
		f.ID = 0
	}
	for _, e := range f.entries {
		f.Partitions = append(f.Partitions, e.Partition)
	}
	return nil
}

// full begins a fetch of everything that is asked for.
func (c *Cache) full(now time.Time, r Request, f *Fetch) {
	f.Partitions, f.full = append(f.Partitions, r.Fetch...), true
	if r.Epoch == NoSession || len(r.Fetch) == 0 || !c.makeRoom(now, len(r.Fetch)) {
		return
	}
	s := &session{id: c.newID(), epoch: 1, byID: r.ByID, created: now, used: now, entries: make(map[Key]*entry, len(r.Fetch))}
	c.sessions[s.id] = s
	f.ID = s.id
	for _, p := range r.Fetch {
		f.entries = append(f.entries, s.put(p))
	}
	c.held += len(s.entries)
}

// makeRoom reports whether a session of so many partitions finds a slot, and
// displaces one for it: the one unused for longest, if it is idle; else the
// smallest of those that have lived long enough, if it is smaller.
func (c *Cache) makeRoom(now time.Time, size int) bool {
	if c.slots <= 0 || c.held+size > MaxPartitions {
		return false
	}
	if len(c.sessions) < c.slots {
		return true
	}
	var oldest, smallest *session
	for _, s := range c.sessions {
		if oldest == nil || cmp.Or(s.used.Compare(oldest.used), cmp.Compare(s.id, oldest.id)) < 0 {
			oldest = s
		}
		settled := now.Sub(s.created) > c.settle
		if settled && (smallest == nil || cmp.Or(cmp.Compare(len(s.entries), len(smallest.entries)), cmp.Compare(s.id, smallest.id)) < 0) {
			smallest = s
		}
	}
	switch {
	case oldest != nil && now.Sub(oldest.used) > c.settle:
		c.drop(oldest.id)
	case smallest != nil && len(smallest.entries) < size:
		c.drop(smallest.id)
	default:
		return false
	}
	return true
}

// newID returns a positive id that no session has.
func (c *Cache) newID() int32 {
	for {
		if id := c.random() & math.MaxInt32; id != 0 && c.sessions[id] == nil {
			return id
		}
	}
}

// put adds a partition or changes how it is fetched.
func (s *session) put(p Partition) *entry {
	if e, ok := s.entries[p.Key]; ok {
		e.Partition = p
		return e
	}
	e := &entry{Partition: p, at: len(s.order), highWatermark: -1, logStart: -1}
	s.entries[p.Key] = e
	s.order = append(s.order, e)
	return e
}

func (s *session) forget(k Key) {
	if e, ok := s.entries[k]; ok {
		delete(s.entries, k)
		s.order[e.at] = nil
		s.forgotten++
	}
}

// list returns the entries in their order, in the session's own slice.
func (s *session) list() []*entry {
	if s.forgotten > 0 {
		s.order = slices.DeleteFunc(s.order, func(e *entry) bool { return e == nil })
		s.number()
	}
	return s.order
}

func (s *session) number() {
	s.forgotten = 0
	for i, e := range s.order {
		e.at = i
	}
}

// Tell says for every partition of f whether its answer belongs into the response,
// by setting tell[i], and remembers what the client will know. A full fetch tells
// everything; an incremental one what has records, an error, or moved offsets. A
// partition that had records goes behind the others, so that none starves when the
// response is full. tell and answers are as long as f.Partitions.
func (c *Cache) Tell(f *Fetch, answers []Answer, tell []bool) {
	moved := false
	for i := range answers {
		tell[i] = true
		if len(f.entries) == 0 {
			continue
		}
		e, a := f.entries[i], answers[i]
		tell[i] = f.full || a.Bytes > 0 || a.Code != 0 || e.highWatermark != a.HighWatermark || e.logStart != a.LogStart
		e.highWatermark, e.logStart = a.HighWatermark, a.LogStart
		if a.Code != 0 {
			e.highWatermark = -1 // tells the partition again when the error is gone
		}
		moved = moved || a.Bytes > 0
	}
	if s := c.sessions[f.ID]; s != nil && moved && !f.full {
		c.rotate(s, f, answers)
	}
}

// rotate moves the entries that had records to the end of the order.
func (c *Cache) rotate(s *session, f *Fetch, answers []Answer) {
	for i, a := range answers {
		f.entries[i].served = a.Bytes > 0
	}
	front := s.order[:0]
	for _, e := range s.order {
		switch {
		case e == nil:
		case e.served:
			e.served = false
			c.back = append(c.back, e)
		default:
			front = append(front, e)
		}
	}
	clear(s.order[len(front):])
	s.order = append(front, c.back...)
	clear(c.back)
	c.back = c.back[:0]
	s.number()
}
