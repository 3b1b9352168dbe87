package group

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// Topics creates internal topics. EnsureTopic returns when the topic exists and its partitions are
// served, at once if they are.
type Topics interface {
	EnsureTopic(ctx context.Context, name string) error
}

// The types of coordinators that a client may look for.
const (
	groupCoordinator       = 0
	transactionCoordinator = 1
	shareCoordinator       = 2
)

// FindCoordinator answers FindCoordinator (10): which broker decides on a group or on a transactional
// id. It makes the internal topic that coordinators are spread over if that is missing.
//
// Versions: 1 key type (KIP-98); 3 flexible; 4 several keys (KIP-699); 6 share groups (KIP-932).
// Share groups are not served; asking for their coordinators is INVALID_REQUEST, which no client
// repeats.
func FindCoordinator(groups Coordinator, transactions func(id string) int32, images Images, topics Topics, a route.Authorizer, log *slog.Logger) route.Route {
	f := finder{groups, transactions, images, a}
	return route.New(0, 6, func(ctx context.Context, s *route.Session, req *kmsg.FindCoordinatorRequest, resp *kmsg.FindCoordinatorResponse) *route.Pending {
		keys := req.CoordinatorKeys
		if req.Version < 4 {
			keys = []string{req.CoordinatorKey}
		}
		k, err := f.kind(req.CoordinatorType)
		if _, ok := images().Topic(k.topic); ok || err != nil || !slices.ContainsFunc(keys, func(key string) bool { return k.may(s, key) == nil }) {
			f.answer(s, req, k, err, keys, resp)
			return nil
		}
		return route.Go(ctx, s, func(ctx context.Context) {
			if err := topics.EnsureTopic(ctx, k.topic); err != nil {
				log.Warn("internal topic not created", slog.String("topic", k.topic), slog.Any("err", err))
			}
			f.answer(s, req, k, nil, keys, resp)
		})
	})
}

type finder struct {
	groups       Coordinator
	transactions func(id string) int32
	images       Images
	auth         route.Authorizer
}

// kind is a type of coordinator: where its keys are kept and who may ask for them.
type kind struct {
	topic     string
	partition func(key string) int32
	may       func(s *route.Session, key string) error
}

func (f finder) kind(t int8) (kind, error) {
	switch t {
	case groupCoordinator:
		return kind{metadata.ConsumerOffsets, f.groups.Partition, func(s *route.Session, key string) error {
			return route.AuthorizeGroup(f.auth, s, route.Describe, key)
		}}, nil
	case transactionCoordinator:
		return kind{metadata.TransactionState, f.transactions, func(s *route.Session, key string) error {
			if !f.auth.Authorize(s, route.Describe, route.TransactionalID, key) {
				return kerr.TransactionalIDAuthorizationFailed
			}
			return nil
		}}, nil
	case shareCoordinator:
		return kind{}, fmt.Errorf("share groups are not served: %w", kerr.InvalidRequest)
	}
	return kind{}, fmt.Errorf("no such type of coordinator: %w", kerr.InvalidRequest)
}

func (f finder) answer(s *route.Session, req *kmsg.FindCoordinatorRequest, k kind, refused error, keys []string, resp *kmsg.FindCoordinatorResponse) {
	image := f.images()
	for _, key := range keys {
		r := kmsg.NewFindCoordinatorResponseCoordinator()
		r.Key, r.NodeID, r.Port = key, -1, -1
		err := refused
		var id int32
		var at metadata.Endpoint
		if err == nil {
			id, at, err = k.find(image, s, key)
		}
		if err != nil {
			r.ErrorCode = route.Code(err)
			message := err.Error()
			r.ErrorMessage = &message
		} else {
			r.NodeID, r.Host, r.Port = id, at.Host, at.Port
		}
		if req.Version >= 4 {
			resp.Coordinators = append(resp.Coordinators, r)
			continue
		}
		resp.ErrorCode, resp.ErrorMessage = r.ErrorCode, r.ErrorMessage
		resp.NodeID, resp.Host, resp.Port = r.NodeID, r.Host, r.Port
	}
}

// find names the broker that leads a key's partition.
func (k kind) find(image *metadata.Image, s *route.Session, key string) (int32, metadata.Endpoint, error) {
	none := metadata.Endpoint{}
	if err := k.may(s, key); err != nil {
		return -1, none, err
	}
	topic, ok := image.Topic(k.topic)
	if !ok {
		return -1, none, kerr.CoordinatorNotAvailable
	}
	partition := k.partition(key)
	if !hasPartition(topic, partition) {
		return -1, none, kerr.CoordinatorNotAvailable
	}
	leader := topic.Partitions[partition].Leader
	broker, ok := image.Broker(leader)
	if !ok {
		return -1, none, kerr.CoordinatorNotAvailable
	}
	at, ok := broker.Endpoint(s.Listener)
	if !ok {
		return -1, none, kerr.CoordinatorNotAvailable
	}
	return leader, at, nil
}
