package route

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/quota"
)

// Session is where a request comes from.
type Session = auth.Session

// Operation is something that may be done to a resource.
type Operation = auth.Operation

// ResourceType is a kind of resource.
type ResourceType = auth.ResourceType

// The operations and resources of Kafka's access control lists.
const (
	Read            = auth.Read
	Write           = auth.Write
	Create          = auth.Create
	Delete          = auth.Delete
	Alter           = auth.Alter
	Describe        = auth.Describe
	ClusterAction   = auth.ClusterAction
	DescribeConfigs = auth.DescribeConfigs
	AlterConfigs    = auth.AlterConfigs
	IdempotentWrite = auth.IdempotentWrite

	Topic           = auth.Topic
	Group           = auth.Group
	Cluster         = auth.Cluster
	TransactionalID = auth.TransactionalID

	// ClusterName is the name of the one Cluster resource.
	ClusterName = auth.ClusterName
)

// What quotas count.
const (
	ProduceBytes        = quota.ProduceBytes
	FetchBytes          = quota.FetchBytes
	RequestTime         = quota.RequestTime
	ControllerMutations = quota.ControllerMutations
)

// Authorizer says who may do what. It must be safe for concurrent use and must not
// block. auth.AllowAll is one.
type Authorizer interface {
	Authorize(s *Session, op Operation, t ResourceType, name string) bool
}

// Quota counts what clients do. Charge adds n of a kind to the account of the
// principal and client id and returns for how long the client should be silent; it
// must be safe for concurrent use and must not block. quota.Unlimited is one.
type Quota interface {
	Charge(principal, clientID string, kind quota.Kind, n float64) time.Duration
}

// ThrottleMillis charges a session and returns the throttle time in milliseconds,
// as responses carry it.
func ThrottleMillis(q Quota, s *Session, kind quota.Kind, n float64) int32 {
	return int32(q.Charge(s.Principal, s.ClientID, kind, n).Milliseconds())
}

// AuthorizeTopic returns nil or TOPIC_AUTHORIZATION_FAILED. Handlers ask before
// they look the topic up, so that an answer never tells whether it exists.
func AuthorizeTopic(a Authorizer, s *Session, op Operation, topic string) error {
	if a.Authorize(s, op, Topic, topic) {
		return nil
	}
	return kerr.TopicAuthorizationFailed
}

// AuthorizeGroup returns nil or GROUP_AUTHORIZATION_FAILED.
func AuthorizeGroup(a Authorizer, s *Session, op Operation, group string) error {
	if a.Authorize(s, op, Group, group) {
		return nil
	}
	return kerr.GroupAuthorizationFailed
}

// AuthorizeCluster returns nil or CLUSTER_AUTHORIZATION_FAILED.
func AuthorizeCluster(a Authorizer, s *Session, op Operation) error {
	if a.Authorize(s, op, Cluster, ClusterName) {
		return nil
	}
	return kerr.ClusterAuthorizationFailed
}
