package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// Metadata answers key 3, versions 0 to 13: the brokers of the session's listener
// and topics by name, by id (v12, KIP-516) or all. v4 says whether unknown topics
// are created, before it they are; a topic created so is answered at once with its
// leader, where Kafka says UNKNOWN_TOPIC_OR_PARTITION first: then clients come again
// after 0.1 to 1 s, and kafka-go's Writer fails. v8 has authorized operations (KIP-430).
func Metadata(d Deps) route.Route {
	return route.New(0, 13, func(ctx context.Context, s *route.Session, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) *route.Pending {
		a := metadataAnswer{d: &d, s: s, req: req, resp: resp}
		missing := a.missing()
		if len(missing) == 0 {
			a.fill(d.Image(), nil)
			return nil
		}
		return route.Go(ctx, s, func(ctx context.Context) {
			failed := d.Ensure(ctx, missing...)
			a.fill(d.Image(), failed)
		})
	})
}

type metadataAnswer struct {
	d    *Deps
	s    *route.Session
	req  *kmsg.MetadataRequest
	resp *kmsg.MetadataResponse
}

// all says whether every topic was asked for: v0 has no null and means it by an
// empty list.
func (a *metadataAnswer) all() bool {
	return a.req.Topics == nil || a.req.Version == 0 && len(a.req.Topics) == 0
}

// missing returns the topics that this request creates. The transaction log is not
// among them: its partitions are for a coordinator to choose, once there is one.
func (a *metadataAnswer) missing() []string {
	img := a.d.Image()
	if a.req.Version >= 4 && !a.req.AllowAutoTopicCreation || !a.d.brokerBool(img, "auto.create.topics.enable") {
		return nil
	}
	var names []string
	asked := map[string]bool{}
	for i := range a.req.Topics {
		t := &a.req.Topics[i]
		if t.Topic == nil || t.TopicID != (metadata.ID{}) || asked[*t.Topic] || *t.Topic == metadata.TransactionState {
			continue
		}
		name := *t.Topic
		asked[name] = true
		if _, ok := img.Topic(name); !ok && metadata.CheckName(name) == nil && a.mayCreate(name) {
			names = append(names, name)
		}
	}
	return names
}

func (a *metadataAnswer) mayCreate(name string) bool {
	auth := a.d.Authorizer
	return auth.Authorize(a.s, route.Describe, route.Topic, name) &&
		(auth.Authorize(a.s, route.Create, route.Cluster, route.ClusterName) || auth.Authorize(a.s, route.Create, route.Topic, name))
}

// fill answers from one image; failed says why topics could not be created.
func (a *metadataAnswer) fill(img *metadata.Image, failed map[string]error) {
	resp := a.resp
	cluster := img.ClusterID()
	resp.ClusterID, resp.ControllerID, resp.AuthorizedOperations = &cluster, a.d.NodeID, notAsked
	if a.req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = a.d.clusterOperations(a.s)
	}
	for i := range img.Brokers() {
		b := &img.Brokers()[i]
		if e, ok := endpoint(b, a.s.Listener); ok {
			out := kmsg.NewMetadataResponseBroker()
			out.NodeID, out.Host, out.Port, out.Rack = b.ID, e.Host, e.Port, rack(b)
			resp.Brokers = append(resp.Brokers, out)
		}
	}
	resp.Topics = []kmsg.MetadataResponseTopic{}
	if a.all() {
		for _, t := range img.Topics() {
			if a.d.Authorizer.Authorize(a.s, route.Describe, route.Topic, t.Name) {
				resp.Topics = append(resp.Topics, a.topic(img, t))
			}
		}
		return
	}
	answered := map[topicKey]bool{}
	for i := range a.req.Topics {
		key := keyOf(&a.req.Topics[i])
		if !answered[key] {
			answered[key] = true
			resp.Topics = append(resp.Topics, a.asked(img, key, failed[key.name]))
		}
	}
}

// topicKey is how a request names a topic.
type topicKey struct {
	id    metadata.ID
	name  string
	named bool
}

func keyOf(t *kmsg.MetadataRequestTopic) topicKey {
	k := topicKey{id: t.TopicID}
	if t.Topic != nil {
		k.name, k.named = *t.Topic, true
	}
	return k
}

// asked answers one topic of the request; created is why it could not be created.
func (a *metadataAnswer) asked(img *metadata.Image, k topicKey, created error) kmsg.MetadataResponseTopic {
	byID := k.id != (metadata.ID{})
	if byID && a.req.Version < 12 || !byID && !k.named {
		return a.refuse(k, kerr.InvalidRequest)
	}
	if byID {
		t, ok := img.TopicByID(k.id)
		if !ok || !a.d.Authorizer.Authorize(a.s, route.Describe, route.Topic, t.Name) {
			return a.refuse(topicKey{id: k.id}, kerr.UnknownTopicID)
		}
		return a.topic(img, t)
	}
	if err := route.AuthorizeTopic(a.d.Authorizer, a.s, route.Describe, k.name); err != nil {
		return a.refuse(k, err)
	}
	if t, ok := img.Topic(k.name); ok {
		return a.topic(img, t)
	}
	if err := metadata.CheckName(k.name); err != nil {
		return a.refuse(k, err)
	}
	if created != nil {
		return a.refuse(k, created)
	}
	return a.refuse(k, kerr.UnknownTopicOrPartition)
}

// refuse answers a topic that is not shown.
func (a *metadataAnswer) refuse(k topicKey, err error) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.ErrorCode, out.TopicID = route.LogCode(a.d.Logger, err), k.id
	out.Partitions = []kmsg.MetadataResponseTopicPartition{}
	if k.named {
		out.Topic, out.IsInternal = &k.name, metadata.IsInternal(k.name)
	} else if a.req.Version < 12 {
		out.Topic = new(string)
	}
	return out
}

// topic answers a topic that is there.
func (a *metadataAnswer) topic(img *metadata.Image, t *metadata.Topic) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal, out.AuthorizedOperations = &t.Name, t.ID, t.Internal, notAsked
	if a.req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = a.d.topicOperations(a.s, t.Name)
	}
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		err := leaderError(img, p, a.s.Listener)
		q := kmsg.NewMetadataResponseTopicPartition()
		q.ErrorCode, q.Partition, q.Leader, q.LeaderEpoch = route.Code(err), int32(i), p.Leader, p.LeaderEpoch
		q.Replicas, q.ISR, q.OfflineReplicas = own(p.Replicas), own(p.ISR), offlineReplicas(img, p)
		if err != nil {
			q.Leader = -1
		}
		out.Partitions[i] = q
	}
	return out
}
