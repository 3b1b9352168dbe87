// Package producer knows, for one partition, what each idempotent or transactional producer has
// written (KIP-98): the last few batches, so that a repeated one is recognised; the open
// transactions, so that the last stable offset is known; and Kafka's .snapshot file of all that.
// It follows the log: Replay is the only way its durable state changes, so a replayed log gives
// the state that the live partition had.
package producer

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/record"
)

// Window is how many batches of a producer are remembered. Clients may have as many in flight.
const Window = 5

// none stands for an absent offset or coordinator epoch.
const none = -1

// Origin says who appends a batch, and with it how much is checked.
type Origin int

// The origins of a batch on a leader; a follower's batches are not checked at all.
const (
	Client      Origin = iota // epoch and sequence
	Coordinator               // epoch only: offset commits and markers carry no sequence
	Bumped                    // as Coordinator; a marker is of a later epoch than the transaction that it ends (KIP-890)
)

// batch is what is kept of one appended batch.
type batch struct {
	lastSequence int32
	delta        int32
	lastOffset   int64
	timestamp    int64
}

// firstSequence goes back delta places; below 0 the numbers continue from 2^31-1.
func (b batch) firstSequence() int32 {
	return int32((int64(b.lastSequence) - int64(b.delta)) & math.MaxInt32)
}

// entry is one producer; the zero value is not valid.
type entry struct {
	epoch            int16
	coordinatorEpoch int32
	timestamp        int64 // of the last batch, in milliseconds
	txnFirst         int64 // first offset of the open transaction, or none
	seen             int64 // when expiry first found the producer idle since; 0 after each append
	batches          [Window]batch
	n                int // how many of batches are filled, oldest first
}

func (e *entry) add(b batch) {
	if e.n == Window {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = b
	e.n++
}

func (e *entry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.epoch, e.n = epoch, 0
	}
}

func (e *entry) lastSequence() int32 {
	if e.n == 0 {
		return record.NoSequence
	}
	return e.batches[e.n-1].lastSequence
}

func (e *entry) lastOffset() int64 {
	if e.n == 0 {
		return none
	}
	return e.batches[e.n-1].lastOffset
}

// txn is a transaction by its producer and the offsets of its first batch and of its marker.
type txn struct {
	producerID  int64
	first, last int64
}

// State is the producer state of one partition. It is not safe for concurrent use: whoever
// appends to the partition's log serialises every call. It satisfies commitlog.Follower.
type State struct {
	producers map[int64]*entry
	open      []txn // by first offset; last is not set
	decided   []txn // ended, but the high watermark has not passed the marker yet
	aborted   []Aborted
}

// New returns the state of an empty log.
func New() *State {
	return &State{producers: make(map[int64]*entry)}
}

// Duplicate is the place that a repeated batch already has in the log.
type Duplicate struct {
	First, Last int64 // offsets
	Timestamp   int64 // max timestamp of the batch as it was appended, in milliseconds
}

// Check tells whether a batch may be appended next. When dup is true it is one of the producer's
// last batches again and must not be appended; its place is returned. A refusal is a *kerr.Error:
// OUT_OF_ORDER_SEQUENCE_NUMBER for a gap or an older repetition, INVALID_PRODUCER_EPOCH for an
// epoch before the known one or a marker that comes too late, INVALID_TXN_STATE for a plain write inside a transaction,
// TRANSACTION_COORDINATOR_FENCED for a marker of an older coordinator. Batches without a producer
// always pass. Check changes nothing.
func (s *State) Check(b record.Batch, origin Origin) (d Duplicate, dup bool, err error) {
	if !b.HasProducer() {
		return d, false, nil
	}
	e, known := s.producers[b.ProducerID()]
	if !known {
		return d, false, nil // the state may have expired, so any sequence is a beginning
	}
	if origin == Client {
		if d, dup = e.find(b); dup {
			return d, true, nil
		}
	}
	if b.ProducerEpoch() < e.epoch {
		return d, false, kerr.InvalidProducerEpoch
	}
	if b.IsControl() {
		return d, false, e.checkMarker(b, origin)
	}
	if origin == Client {
		if err := e.checkSequence(b); err != nil {
			return d, false, err
		}
	}
	if e.txnFirst != none && !b.IsTransactional() {
		return d, false, kerr.InvalidTxnState
	}
	return d, false, nil
}

// InTransaction tells whether a producer has a transaction open here in the given epoch.
func (s *State) InTransaction(id int64, epoch int16) bool {
	e, ok := s.producers[id]
	return ok && e.txnFirst != none && e.epoch == epoch
}

func (e *entry) find(b record.Batch) (Duplicate, bool) {
	if b.ProducerEpoch() != e.epoch {
		return Duplicate{}, false
	}
	for _, known := range e.batches[:e.n] {
		if known.lastSequence == b.LastSequence() && known.firstSequence() == b.BaseSequence() {
			return Duplicate{
				First:     known.lastOffset - int64(known.delta),
				Last:      known.lastOffset,
				Timestamp: known.timestamp,
			}, true
		}
	}
	return Duplicate{}, false
}

// checkMarker refuses a marker of the past: of an older coordinator, or one that has ended an earlier
// transaction and comes again, when the producer has begun the next one in the marker's own epoch. At
// the last epoch there is no later one.
func (e *entry) checkMarker(b record.Batch, origin Origin) error {
	if origin == Bumped && b.ProducerEpoch() == e.epoch && e.txnFirst != none && e.epoch != math.MaxInt16 {
		return kerr.InvalidProducerEpoch
	}
	c, err := b.Control()
	if err != nil {
		return kerr.InvalidRecord
	}
	if c.IsEndTxn() && c.CoordinatorEpoch < e.coordinatorEpoch {
		return kerr.TransactionCoordinatorFenced
	}
	return nil
}

// checkSequence demands 0 in a new epoch, else the successor of the last sequence. A producer
// of which only a marker is known has no last sequence, and starts at 0 too.
func (e *entry) checkSequence(b record.Batch) error {
	want := int32(0)
	if last := e.lastSequence(); b.ProducerEpoch() == e.epoch && last != record.NoSequence {
		want = record.AddSequence(last, 1)
	}
	if b.BaseSequence() != want {
		return kerr.OutOfOrderSequenceNumber
	}
	return nil
}

// Replay takes over a batch that is in the log. It believes what the log says and refuses
// nothing; a batch without a producer, or bytes that make no sense, change nothing.
func (s *State) Replay(b record.Batch) {
	if len(b) < record.HeaderSize || !b.HasProducer() || b.BaseOffset() < 0 || b.LastOffset() < b.BaseOffset() {
		return
	}
	if b.IsControl() {
		s.replayMarker(b)
		return
	}
	e := s.entry(b.ProducerID())
	e.setEpoch(b.ProducerEpoch())
	e.timestamp, e.seen = b.MaxTimestamp(), 0
	e.add(batch{
		lastSequence: b.LastSequence(),
		delta:        b.LastOffsetDelta(),
		lastOffset:   b.LastOffset(),
		timestamp:    b.MaxTimestamp(),
	})
	if b.IsTransactional() && e.txnFirst == none {
		e.txnFirst = b.BaseOffset()
		s.begin(txn{producerID: b.ProducerID(), first: b.BaseOffset()})
	}
}

func (s *State) entry(id int64) *entry {
	e, ok := s.producers[id]
	if !ok {
		e = &entry{epoch: record.NoProducerEpoch, coordinatorEpoch: none, timestamp: record.NoTimestamp, txnFirst: none}
		s.producers[id] = e
	}
	return e
}

func (s *State) begin(t txn) {
	at, _ := slices.BinarySearchFunc(s.open, t.first, func(t txn, first int64) int { return cmp.Compare(t.first, first) })
	s.open = slices.Insert(s.open, at, t)
}

func (s *State) replayMarker(b record.Batch) {
	c, err := b.Control()
	if err != nil || !c.IsEndTxn() {
		return
	}
	e := s.entry(b.ProducerID())
	e.setEpoch(b.ProducerEpoch())
	e.coordinatorEpoch = c.CoordinatorEpoch
	e.timestamp, e.seen = b.MaxTimestamp(), 0
	if e.n > 0 {
		e.batches[e.n-1].timestamp = e.timestamp // a snapshot has one time for both
	}
	if e.txnFirst == none {
		return
	}
	t := txn{producerID: b.ProducerID(), first: e.txnFirst, last: b.LastOffset()}
	e.txnFirst = none
	s.open = slices.DeleteFunc(s.open, func(o txn) bool { return o.producerID == t.producerID })
	s.decided = append(s.decided, t)
	if c.Type != record.Abort {
		return
	}
	stable := t.last + 1
	if len(s.open) > 0 {
		stable = s.open[0].first
	}
	s.aborted = append(s.aborted, Aborted{ProducerID: t.producerID, First: t.first, Last: t.last, LastStable: stable})
}

// Aborted is an aborted transaction: the fields of one .txnindex entry.
type Aborted struct {
	ProducerID  int64
	First, Last int64 // offsets of its first batch and of its marker
	LastStable  int64 // the last stable offset that the marker left
}

// TakeAborted returns the transactions whose abort was replayed since the last call.
func (s *State) TakeAborted() []Aborted {
	out := s.aborted
	s.aborted = nil
	return out
}

// Passed tells that the high watermark is now hw: markers below it are decided for good.
func (s *State) Passed(hw int64) {
	if len(s.decided) > 0 {
		s.decided = slices.DeleteFunc(s.decided, func(t txn) bool { return t.last < hw })
	}
}

// LastStable returns the last stable offset under the high watermark hw: the first offset of the
// earliest transaction that is open, or whose marker hw has not passed; hw without such.
func (s *State) LastStable(hw int64) int64 {
	stable := hw
	if len(s.open) > 0 {
		stable = min(stable, s.open[0].first)
	}
	for _, t := range s.decided {
		if t.last >= hw {
			stable = min(stable, t.first)
		}
	}
	return stable
}

// Expire forgets producers that have appended nothing for idle milliseconds and have no open
// transaction, and returns how many. A producer's idle time starts at the first Expire after its
// last append or after a load, so that old record timestamps never cost a live producer its state.
func (s *State) Expire(now, idle int64) int {
	before := len(s.producers)
	maps.DeleteFunc(s.producers, func(_ int64, e *entry) bool {
		if e.txnFirst != none {
			return false
		}
		if e.seen == 0 {
			e.seen = now
		}
		return now-e.seen >= idle
	})
	return before - len(s.producers)
}

// Info describes one producer, as DescribeProducers answers it.
type Info struct {
	ID               int64
	Epoch            int16
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnFirst         int64 // -1 without an open transaction
	LastOffset       int64 // of the last batch of records; -1 when only a marker is known
}

// Producers lists the known producers by id.
func (s *State) Producers() []Info {
	out := make([]Info, 0, len(s.producers))
	for _, id := range s.ids() {
		e := s.producers[id]
		out = append(out, Info{
			ID: id, Epoch: e.epoch, LastSequence: e.lastSequence(), LastTimestamp: e.timestamp,
			CoordinatorEpoch: e.coordinatorEpoch, TxnFirst: e.txnFirst, LastOffset: e.lastOffset(),
		})
	}
	return out
}

func (s *State) ids() []int64 { return slices.Sorted(maps.Keys(s.producers)) }
