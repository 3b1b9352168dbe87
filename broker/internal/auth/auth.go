// Package auth says who sent a request and what that principal may do.
package auth

import "sync/atomic"

// Anonymous is the principal of a connection that nobody authenticated.
const Anonymous = "User:ANONYMOUS"

// Session is where a request comes from. Handlers only read it: the server makes
// another one when a later request of the connection differs, so a Session stays
// valid for as long as somebody holds it.
type Session struct {
	Principal  string // Kafka's form, such as User:alice
	Listener   string // name of the listener
	ClientAddr string // host without port
	ClientID   string // of this request; "" where the client sent none
	ConnID     uint64 // unique within the process
	Client     *Client
}

// Client is what the client of a connection says of itself in ApiVersions
// (KIP-511). The zero value is a client that said nothing. Safe for concurrent use.
type Client struct{ software atomic.Pointer[[2]string] }

// Identify records the name and version of the client's software.
func (c *Client) Identify(name, version string) { c.software.Store(&[2]string{name, version}) }

// Software returns what Identify recorded last, or two empty strings.
func (c *Client) Software() (name, version string) {
	if s := c.software.Load(); s != nil {
		return s[0], s[1]
	}
	return "", ""
}

// Operation is something that may be done to a resource, with Kafka's numbers.
type Operation int8

// The operations of Kafka's access control lists.
const (
	Any             Operation = 1
	All             Operation = 2
	Read            Operation = 3
	Write           Operation = 4
	Create          Operation = 5
	Delete          Operation = 6
	Alter           Operation = 7
	Describe        Operation = 8
	ClusterAction   Operation = 9
	DescribeConfigs Operation = 10
	AlterConfigs    Operation = 11
	IdempotentWrite Operation = 12
)

// ResourceType is a kind of resource that access is granted to, with Kafka's numbers.
type ResourceType int8

// The kinds of resources of Kafka's access control lists.
const (
	Topic           ResourceType = 2
	Group           ResourceType = 3
	Cluster         ResourceType = 4
	TransactionalID ResourceType = 5
)

// ClusterName is the name of the one Cluster resource.
const ClusterName = "kafka-cluster"

// AllowAll lets everybody do everything.
type AllowAll struct{}

// Authorize returns true.
func (AllowAll) Authorize(*Session, Operation, ResourceType, string) bool { return true }
