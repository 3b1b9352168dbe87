package data

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/fetchsession"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/wire"
)

// DefaultFetchMaxBytes is Kafka's fetch.max.bytes.
const DefaultFetchMaxBytes = 55 << 20

// Fetch answers Fetch (1): whole batches from the offsets that are asked for, at
// once or as soon as there are min bytes, at the latest after max wait. At least
// one batch is returned where there is one, however large.
//
// Versions: 4 isolation level; 5 log start offset; 7 sessions (KIP-227); 9 leader
// epochs (KIP-320); 10 zstd (KIP-110); 11 rack (KIP-392, ignored); 12 flexible; 13
// topic ids (KIP-516); 15 replica state as a tag; 16 leader hints (KIP-951); 17 and
// 18 fields of replicas.
func Fetch(d Deps) route.Route { return fetchWithin(d, newFetchMemory(maxMemory)) }

func fetchWithin(d Deps, memory *fetchMemory) route.Route {
	if d.FetchMaxBytes == 0 {
		d.FetchMaxBytes = DefaultFetchMaxBytes
	}
	if d.FetchSessions == 0 {
		d.FetchSessions = fetchsession.DefaultSlots
	}
	sessions := &fetchSessions{cache: fetchsession.NewCache(d.FetchSessions, fetchsession.DefaultSettle, d.Random)}
	var spare sync.Pool
	return route.NewRaw[*kmsg.FetchRequest](4, 18, func(_ context.Context, s *route.Session, version int16, body []byte) (route.Response, *route.Pending, error) {
		f, ok := spare.Get().(*fetch)
		if !ok {
			f = &fetch{deps: &d, sessions: sessions, memory: memory, pool: &spare}
		}
		f.session = s
		if err := f.request.read(version, body, d.Image()); err != nil {
			return nil, nil, err
		}
		return f, f.start(), nil
	})
}

// fetchSessions is the cache of sessions behind its lock.
type fetchSessions struct {
	mu    sync.Mutex
	cache *fetchsession.Cache
}

func (s *fetchSessions) begin(now time.Time, r fetchsession.Request, f *fetchsession.Fetch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cache.Begin(now, r, f)
}

func (s *fetchSessions) tell(f *fetchsession.Fetch, answers []fetchsession.Answer, tell []bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.Tell(f, answers, tell)
}

// fetch is one request while it waits, and its answer. It is used again once the records of its answer
// were written. Timer and partitions may still know it then, by a wait that is over.
type fetch struct {
	deps     *Deps
	sessions *fetchSessions
	memory   *fetchMemory
	pool     *sync.Pool
	session  *route.Session
	request  fetchRequest
	err      error // concerns the whole request
	within   fetchsession.Fetch
	answer   fetchAnswer

	mu      sync.Mutex // held by whoever looks at a waiting fetch; guards what follows
	waiting bool
	wait    uint64 // counts the waits
	alarm   *alarm // ends one; nil before the first
	watches []fetchWatch
	pending route.Pending
}

// start takes the request into its session and returns nil when it can be answered
// at once. Otherwise it waits for the partitions and the clock.
func (f *fetch) start() *route.Pending {
	f.err = nil
	if f.request.replica >= 0 { // no broker fetches through a client's listener
		f.err = kerr.ClusterAuthorizationFailed
		return nil
	}
	if f.err = f.sessions.begin(f.deps.Clock.Now(), f.request.session, &f.within); f.err != nil {
		return nil
	}
	if f.request.maxWait <= 0 || len(f.within.Partitions) == 0 || f.look() {
		return nil
	}
	return f.begin()
}

// look says whether there is something to answer: enough bytes, or an error, which is not worth
// waiting with.
func (f *fetch) look() bool {
	sum, finder := 0, f.finder()
	for i := range f.within.Partitions {
		p, err := finder.find(&f.within.Partitions[i].Key)
		if err != nil {
			return true
		}
		n, err := f.readable(p, f.readRequest(i))
		if sum += n; err != nil || sum >= f.request.minBytes {
			return true
		}
	}
	return false
}

// readable tells about how many bytes a partition has for this fetch, no more than
// it would return, or why it cannot be read.
func (f *fetch) readable(p *partition.Partition, r partition.ReadRequest) (int, error) {
	if f.request.minBytes <= 1 {
		limit := p.HighWatermark()
		if r.ReadCommitted {
			limit = p.LastStable()
		}
		if limit > r.Offset {
			return 1, nil
		}
	}
	r.MinOne = true
	res, err := p.Read(r)
	if err != nil {
		return 0, err
	}
	n := res.Range.Len()
	if n > 0 {
		res.Range.Release()
	}
	return n, nil
}

func (f *fetch) readRequest(i int) partition.ReadRequest {
	p := &f.within.Partitions[i]
	return partition.ReadRequest{
		Offset: p.Offset, MaxBytes: int(p.MaxBytes), ReadCommitted: f.request.readCommitted,
		CurrentEpoch: p.CurrentEpoch, LastFetchedEpoch: -1,
	}
}

// finder resolves the topics of one fetch, whose partitions mostly come topic by topic.
type finder struct {
	fetch *fetch
	image *metadata.Image
	key   fetchsession.Key
	topic topicRef // of the partition that was found last
	turn  int      // counts topics
}

func (f *fetch) finder() finder { return finder{fetch: f, image: f.deps.Image()} }

// find returns the partition that a key names.
func (n *finder) find(k *fetchsession.Key) (*partition.Partition, error) {
	if n.turn == 0 || n.key.TopicID != k.TopicID || n.key.Topic != k.Topic {
		f := n.fetch
		n.key = *k
		n.topic = topicRef{name: k.Topic, id: k.TopicID}
		n.turn++
		f.deps.resolve(n.image, f.session, route.Read, &n.topic, f.request.version)
	}
	return n.fetch.deps.find(&n.topic, k.Index)
}

// leastFetchPart and leastFetchTopic are the fewest bytes of a partition and of a topic in a request.
const (
	leastFetchPart  = 16
	leastFetchTopic = 3
)

// fetchRequest is what a Fetch request asks for.
type fetchRequest struct {
	version       int16
	replica       int32
	maxWait       time.Duration
	minBytes      int
	maxBytes      int
	readCommitted bool
	session       fetchsession.Request
}

func (q *fetchRequest) flexible() bool { return q.version >= 12 }

// read reads the request.
func (q *fetchRequest) read(version int16, body []byte, img *metadata.Image) error {
	q.version = version
	r := wire.NewReader(body, q.flexible())
	q.replica = -1
	if version < 15 {
		q.replica = r.Int32()
	}
	q.maxWait = time.Duration(r.Int32()) * time.Millisecond
	q.minBytes = int(r.Int32())
	q.maxBytes = int(r.Int32())
	q.readCommitted = r.Int8() == 1
	q.session = fetchsession.Request{
		Epoch: fetchsession.NoSession, ByID: version >= byID, Fetch: q.session.Fetch[:0], Forget: q.session.Forget[:0],
	}
	if version >= 7 {
		q.session.ID, q.session.Epoch = r.Int32(), r.Int32()
	}
	q.readTopics(&r, img)
	if version >= 7 {
		q.readForgotten(&r, img)
	}
	if version >= 11 {
		r.String() // the client's rack
	}
	r.Tags(func(tag uint32, value []byte) {
		if tag == 1 { // ReplicaState: id, epoch
			state := wire.NewReader(value, true)
			q.replica = state.Int32()
		}
	})
	return r.Done()
}

func (q *fetchRequest) readTopics(r *wire.Reader, img *metadata.Image) {
	topics := 0
	for range r.ArrayLen(leastFetchTopic) {
		t := readTopic(r, q.version, img)
		for range r.ArrayLen(leastFetchPart) {
			p := fetchsession.Partition{
				Key:          fetchsession.Key{Topic: t.name, TopicID: t.id, Index: r.Int32()},
				CurrentEpoch: -1, FetchedEpoch: -1,
			}
			if q.version >= 9 {
				p.CurrentEpoch = r.Int32()
			}
			p.Offset = r.Int64()
			if q.version >= 12 {
				p.FetchedEpoch = r.Int32()
			}
			if q.version >= 5 {
				r.Int64() // the log start of a replica
			}
			p.MaxBytes = r.Int32()
			r.Tags(nil) // directory and watermark of a replica
			if !r.Ok() {
				return
			}
			q.session.Fetch = append(q.session.Fetch, p)
		}
		r.Tags(nil)
		if topics++; topics+len(q.session.Fetch) > maxPartitions {
			r.Fail("it has too many partitions")
		}
		if !r.Ok() {
			return
		}
	}
}

func (q *fetchRequest) readForgotten(r *wire.Reader, img *metadata.Image) {
	for range r.ArrayLen(leastFetchTopic) {
		t := readTopic(r, q.version, img)
		for range r.ArrayLen(4) {
			index := r.Int32()
			if !r.Ok() {
				return
			}
			q.session.Forget = append(q.session.Forget, fetchsession.Key{Topic: t.name, TopicID: t.id, Index: index})
		}
		if r.Tags(nil); !r.Ok() {
			return
		}
	}
}
