package txn

import (
	"cmp"
	"slices"
)

// State is where a transactional id stands, numbered as in the log.
type State int8

// The states of Kafka. Dead and PrepareEpochFence are names that clients may filter by; no log has them:
// what expires is deleted, and what is fenced is aborted in the same step.
const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	Dead
	PrepareEpochFence
)

// names are the states' names in DescribeTransactions and ListTransactions.
func names() [8]string {
	return [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}
}

// String returns Kafka's name of the state.
func (s State) String() string { return names()[s] }

// KnownState reports whether a state has that name.
func KnownState(name string) bool {
	all := names()
	return slices.Contains(all[:], name)
}

// completing reports whether markers are still to be written.
func (s State) completing() bool { return s == PrepareCommit || s == PrepareAbort }

// settled reports whether nothing is under way.
func (s State) settled() bool { return s == Empty || s == CompleteCommit || s == CompleteAbort }

// after reports whether the state may follow another one.
func (s State) after(from State) bool {
	switch s {
	case Empty:
		return from.settled()
	case Ongoing, PrepareAbort: // nothing may be aborted too (KIP-890)
		return from == Ongoing || from.settled()
	case PrepareCommit:
		return from == Ongoing
	case CompleteCommit:
		return from == PrepareCommit
	case CompleteAbort:
		return from == PrepareAbort
	case Dead, PrepareEpochFence:
	}
	return false
}

// The transactions that a client speaks, as in transaction.version.
const (
	version1 = 0 // partitions are added before they are produced to; Kafka records it as 0
	version2 = 2 // KIP-890: each end of a transaction has an epoch of its own
)

// Epochs of a producer id. The last one is never given to a client, so that it can always be fenced.
const (
	noEpoch       = -1
	lastEpoch     = 1<<15 - 1
	lastGivenAway = lastEpoch - 1
)

const noProducer = -1

// transaction is what the log says about a transactional id. It is never changed once it was made.
type transaction struct {
	producerID int64
	previousID int64 // before the last step; tells a retry whose answer brought a new id
	nextID     int64 // given to the client with the end of this transaction, or -1
	epoch      int16
	timeout    int32 // ms
	state      State
	partitions []TopicPartition // sorted
	updated    int64            // ms
	started    int64            // ms, or -1
	version    int16            // what the client spoke
}

// to returns the transaction's next step, to be filled in.
func (x *transaction) to(s State, now int64) *transaction {
	if !s.after(x.state) {
		panic("bug: " + s.String() + " after " + x.state.String())
	}
	next := *x
	next.state, next.updated, next.previousID = s, now, x.producerID
	return &next
}

// told is what the client uses for its next transaction, as it was answered.
func (x *transaction) told() Producer {
	if x.state.completing() && x.nextID != noProducer {
		return Producer{x.nextID, 0}
	}
	return Producer{x.producerID, x.epoch}
}

// exhausted reports whether a client at this epoch needs a new producer id before it goes on.
func exhausted(epoch int16) bool { return epoch >= lastGivenAway }

// has reports whether a partition is part of the transaction.
func (x *transaction) has(p TopicPartition) bool {
	_, ok := slices.BinarySearchFunc(x.partitions, p, comparePartitions)
	return ok
}

// with returns the partitions and some more, sorted.
func (x *transaction) with(more []TopicPartition) []TopicPartition {
	all := slices.Concat(x.partitions, more)
	slices.SortFunc(all, comparePartitions)
	return slices.Compact(all)
}

func comparePartitions(a, b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
