// Package admin answers the API keys that show and change the metadata of the
// cluster: topics, partitions, configs, brokers, log directories. One file is one
// key. An answer to a change leaves when the change is in force: what it says, the
// next request on any connection sees.
package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/config"
)

// Deps is what the handlers of this package need. All fields are needed unless
// said otherwise; everything in it must be safe for concurrent use.
type Deps struct {
	NodeID int32
	// Image returns the metadata in force.
	Image func() *metadata.Image
	// Propose commits a change and returns once it is in force.
	Propose func(ctx context.Context, c metadata.Command) (metadata.Result, error)
	// TopicKeys and BrokerKeys are every key there is; Static holds the values the
	// node was started with.
	TopicKeys, BrokerKeys *config.Set
	Static                map[string]string
	Authorizer            route.Authorizer
	Quota                 route.Quota
	Rand                  io.Reader // for topic ids
	Logger                *slog.Logger
	// LogDirs describes the log directories of this node.
	LogDirs func() []LogDir
}

// defaultTimeout bounds a change whose request does not.
const defaultTimeout = 30 * time.Second

// propose commits a change within the timeout of the request, and logs what
// clients are not told.
func (d *Deps) propose(ctx context.Context, millis int32, c metadata.Command) (metadata.Result, error) {
	timeout := time.Duration(millis) * time.Millisecond
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return d.Propose(ctx, c)
}

// proposed is the error of one item of a proposal: that of the proposal, that of
// the command, or its own.
func proposed(r metadata.Result, err error, item int) error {
	switch {
	case err != nil:
		return err
	case r.Err != nil:
		return r.Err
	case item < len(r.Items):
		return r.Items[item]
	}
	return nil
}

// fill sets the code and the line for people of an answer.
func (d *Deps) fill(err error, code *int16, message **string) {
	*code = route.LogCode(d.Logger, err)
	if err == nil {
		*message = nil
		return
	}
	text := kerr.TypedErrorForCode(*code).Description
	if refusal, ok := errors.AsType[*metadata.RefusalError](err); ok {
		text = refusal.Detail
	}
	if len(text) > maxDetail { // it repeats what the client sent, and old versions count strings in 15 bits
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	*message = &text
}

// maxDetail bounds the line for people, in bytes.
const maxDetail = 500

// scopes are the values that decide the keys of a topic, or of a broker with nil.
func (d *Deps) scopes(img *metadata.Image, topic map[string]string) config.Scopes {
	return config.Scopes{
		Topic:         topic,
		Broker:        img.Config(metadata.Resource{Type: metadata.BrokerResource, Name: strconv.Itoa(int(d.NodeID))}),
		BrokerDefault: img.Config(metadata.Resource{Type: metadata.BrokerResource}),
		Static:        d.Static,
	}
}

// brokerText returns the value of a broker key as it is now.
func (d *Deps) brokerText(img *metadata.Image, name string) string {
	key, ok := d.BrokerKeys.Key(name)
	if !ok {
		panic("bug: no such broker key: " + name)
	}
	return strings.TrimSpace(key.Effective(d.scopes(img, nil)))
}

func (d *Deps) brokerInt(img *metadata.Image, name string) int32 {
	n, err := strconv.ParseInt(d.brokerText(img, name), 10, 32)
	if err != nil {
		panic("bug: broker key " + name + " was not checked: " + err.Error())
	}
	return int32(n)
}

func (d *Deps) brokerBool(img *metadata.Image, name string) bool {
	return strings.EqualFold(d.brokerText(img, name), "true")
}

// notAsked is what a field of authorized operations says when nobody asked.
const notAsked = -1 << 31

// topicOperations is the bit field of what a session may do with a topic (KIP-430).
func (d *Deps) topicOperations(s *route.Session, topic string) int32 {
	return d.operations(s, route.Topic, topic, route.Read, route.Write, route.Create, route.Delete,
		route.Alter, route.Describe, route.DescribeConfigs, route.AlterConfigs)
}

// clusterOperations is the bit field of what a session may do with the cluster.
func (d *Deps) clusterOperations(s *route.Session) int32 {
	return d.operations(s, route.Cluster, route.ClusterName, route.Create, route.Alter, route.Describe,
		route.ClusterAction, route.DescribeConfigs, route.AlterConfigs, route.IdempotentWrite)
}

func (d *Deps) operations(s *route.Session, t route.ResourceType, name string, ops ...route.Operation) int32 {
	var bits int32
	for _, op := range ops {
		if d.Authorizer.Authorize(s, op, t, name) {
			bits |= 1 << op
		}
	}
	return bits
}

// endpoint is where clients of a listener reach a broker. A session without a
// listener, as tests have, gets the first address.
func endpoint(b *metadata.Broker, listener string) (metadata.Endpoint, bool) {
	if listener == "" && len(b.Endpoints) > 0 {
		return b.Endpoints[0], true
	}
	return b.Endpoint(listener)
}

// offlineReplicas are the replicas that cannot serve: those on brokers that are
// not registered, and all of a partition that nobody leads.
func offlineReplicas(img *metadata.Image, p *metadata.Partition) []int32 {
	offline := []int32{}
	for _, id := range p.Replicas {
		if _, ok := img.Broker(id); !ok || p.Leader < 0 {
			offline = append(offline, id)
		}
	}
	return offline
}

// leaderError is what metadata says of a partition's leader for a listener.
func leaderError(img *metadata.Image, p *metadata.Partition, listener string) error {
	b, ok := img.Broker(p.Leader)
	if !ok {
		return kerr.LeaderNotAvailable
	}
	if _, ok := endpoint(b, listener); !ok {
		return kerr.ListenerNotFound
	}
	return nil
}

// repeated returns the keys that more than one item has.
func repeated[T any, K comparable](items []T, key func(T) K) map[K]bool {
	twice := map[K]bool{}
	seen := map[K]bool{}
	for _, item := range items {
		k := key(item)
		if seen[k] {
			twice[k] = true
		}
		seen[k] = true
	}
	return twice
}

// rack is a pointer to a broker's rack, nil where it has none.
func rack(b *metadata.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

// own returns a copy, never nil, of a slice that is shared.
func own(ids []int32) []int32 { return append([]int32{}, ids...) }
