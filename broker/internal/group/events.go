package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The events that a Machine decides on, besides those of package machine. Each names the value that
// its reply carries; a failure of the whole request is the reply's error. Strings and byte slices of
// events are copied where they are kept.

// Join is a JoinGroup request. The reply is a Joined.
type Join struct {
	Version          int16
	Group            string
	MemberID         string // empty for a member that has none yet
	InstanceID       *string
	ClientID         string
	ClientHost       string
	Random           string // makes the member id unique, if one is needed
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	ProtocolType     string
	Protocols        []kmsg.JoinGroupRequestProtocol
}

// Joined is what a member learns of the generation that it is in. With the error
// MEMBER_ID_REQUIRED only MemberID is set: the id to join with.
type Joined struct {
	MemberID       string
	Generation     int32
	ProtocolType   string
	Protocol       string
	Leader         string
	Members        []kmsg.JoinGroupResponseMember // for the leader only
	SkipAssignment bool
}

// Sync is a SyncGroup request. The reply is a Synced.
type Sync struct {
	Group        string
	MemberID     string
	InstanceID   *string
	Generation   int32
	ProtocolType *string
	Protocol     *string
	Assignments  []kmsg.SyncGroupRequestGroupAssignment // from the leader only
}

// Synced is a member's assignment.
type Synced struct {
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// Heartbeat is a Heartbeat request. The reply has no value.
type Heartbeat struct {
	Group      string
	MemberID   string
	InstanceID *string
	Generation int32
}

// Leave is a LeaveGroup request. The reply is an []error with one place for each member, nil where
// that member left.
type Leave struct {
	Group   string
	Members []LeavingMember
}

// LeavingMember names a member by id, by instance id, or by both.
type LeavingMember struct {
	MemberID   string
	InstanceID *string
}

// CommitOffsets is an OffsetCommit request. The reply is an []error with one place for each offset,
// nil where it is committed.
type CommitOffsets struct {
	Version    int16
	Group      string
	MemberID   string
	InstanceID *string
	Generation int32
	Retention  time.Duration // negative: as the broker is configured
	Offsets    []CommitOffset
}

// CommitInTransaction is a TxnOffsetCommit request: offsets that count once the transaction of a
// producer is committed. The reply is as that of CommitOffsets; it may wait for a JoinTransaction.
type CommitInTransaction struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	Add             bool // the partition joins the transaction by this (KIP-890); else it has to be part of it
	Group           string
	MemberID        string
	InstanceID      *string
	Generation      int32
	Offsets         []CommitOffset
}

// JoinTransaction is the request of a machine.Send: is the partition of __consumer_offsets that keeps
// the group part of a transaction, or, with Add, may it become so? The answer has no value. The
// broker is -1, because only the transactional id tells who coordinates it.
type JoinTransaction struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	Group           string
	Add             bool
}

// CommitOffset is one offset to commit.
type CommitOffset struct {
	Topic       string
	TopicID     [16]byte // zero if unknown
	Partition   int32
	Offset      int64
	LeaderEpoch int32 // -1 if unknown
	Metadata    string
}

// FetchOffsets asks for offsets of a group. As a query it sees committed state; as an event it sees
// all that was decided, and the reply waits for the commit of that. The reply is a []FetchedTopic.
type FetchOffsets struct {
	Group         string
	All           bool // all that the group has, sorted, instead of Topics
	Topics        []TopicPartitions
	RequireStable bool // UNSTABLE_OFFSET_COMMIT where a transaction is open
}

// TopicPartitions names partitions of a topic.
type TopicPartitions struct {
	Topic      string
	TopicID    [16]byte // zero if unknown; offsets of another topic of that name do not count
	Partitions []int32
}

// FetchedTopic holds the offsets of one topic, in the order that was asked for.
type FetchedTopic struct {
	Topic      string
	TopicID    [16]byte
	Partitions []FetchedPartition
}

// FetchedPartition is an offset; -1 where the group has none.
type FetchedPartition struct {
	Partition   int32
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	Err         error
}

// DeleteOffsets is an OffsetDelete request. The reply is an []error with one place for each
// partition of each topic in turn.
type DeleteOffsets struct {
	Group  string
	Topics []TopicPartitions
}

// Describe asks for one group. The reply is a *kmsg.DescribeGroupsResponseGroup.
type Describe struct{ Group string }

// List asks for the groups of this partition, sorted by id. Filters are compared without regard to
// case; an empty one lets all through. The reply is a []kmsg.ListGroupsResponseGroup.
type List struct{ States, Types []string }

// DeleteGroup removes a group and its offsets. The reply has no value.
type DeleteGroup struct{ Group string }

// TopicsDeleted removes the offsets of topics that are gone. Nobody waits for it.
type TopicsDeleted struct{ Topics []DeletedTopic }

// DeletedTopic names a topic that is gone. Offsets that are known to belong to another topic of the
// same name stay.
type DeletedTopic struct {
	Name string
	ID   [16]byte
}
