// Package machine is the contract of a replicated machine: a brain whose durable state is what the
// records of one partition of a compacted internal topic say. A machine decides and never acts; its
// host (package coordinator) appends, answers, sets timers and sends for it.
//
// The laws, each checked by package machinetest:
//
//   - replaying the records of a decision gives the state that the decision assumed;
//   - replaying a log from empty equals the live durable state;
//   - a machine is total on any bytes: nothing in a record makes it panic;
//   - it is deterministic: the order in which a map is walked never reaches an effect.
package machine

import "time"

// Token names whom to answer. Tokens are given out by the host and never used twice; 0 is nobody.
type Token uint64

// Record is one key and value of the machine's log. A nil Value deletes the key.
type Record struct {
	Key, Value []byte
	Txn        *Txn // nil outside transactions
}

// Size is about what the record takes in a batch, in bytes.
func (r Record) Size() int { return len(r.Key) + len(r.Value) + RecordOverhead }

// RecordOverhead is the most that a batch adds to the bytes of a record's key and value.
const RecordOverhead = 32

// Txn names the producer in whose transaction a record is written. Such a record counts only once
// that producer's commit marker follows it.
type Txn struct {
	ProducerID    int64
	ProducerEpoch int16
}

// Marker is a control record that ends the open transaction of a producer.
type Marker struct {
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Commit           bool
	Bumped           bool // the epoch is one beyond that of the transaction's records (KIP-890); not in the log
}

// Input is one thing to decide on. Token is whom the machine must answer, now or in a later
// decision; it is 0 where nobody waits.
type Input struct {
	Token Token
	Event any
}

// Loaded is the event that a machine gets first after its log was replayed: soft state starts here.
type Loaded struct{}

// Fired is the event of a timer that has run out.
type Fired struct{ Key TimerKey }

// Answered is the event of a Send that has ended, with the answer or the reason for none.
type Answered struct {
	Send  Send
	Value any
	Err   error
}

// Effects is what a decision asks its host for. Records are appended together and in order. Replies
// and Sends leave once every record decided until then, of this decision or an earlier one, is
// committed.
type Effects struct {
	Records []Record
	Replies []Reply
	Timers  []Timer
	Sends   []Send
}

// Reply answers the holder of a token. Err is a failure of the whole request; what Value then says is the
// machine's own affair.
type Reply struct {
	Token Token
	Value any
	Err   error
}

// TimerKey names a timer within one machine.
type TimerKey struct{ Kind, ID string }

// Timer arms the timer of that key for a time, instead of what it was armed for before. The zero
// time stops it.
type Timer struct {
	Key TimerKey
	At  time.Time
}

// Send is a request to another broker. The machine gets an Answered event for it.
type Send struct {
	Broker  int32
	Request any
}

// Machine is one replicated machine. It is not safe for concurrent use; its host calls one method
// at a time.
type Machine interface {
	// Decide says what an input changes and answers. It sees every record replayed so far, committed
	// or not. It may change soft state at once, but no durable state: its host replays the records
	// of the effects before it decides again.
	Decide(now time.Time, in Input) Effects

	// Replay takes over one record, in log order. It copies what it keeps. A record that it does
	// not understand leaves the state as it was; the error says why and is only worth a log line.
	Replay(r Record) error

	// ReplayMarker ends a transaction.
	ReplayMarker(m Marker)

	// Commit says that the oldest n records and markers that were replayed and not yet committed
	// are committed now. Until then Query does not see them.
	Commit(n int)

	// Query answers a read from committed state alone. It changes nothing.
	Query(event any) (any, error)
}
