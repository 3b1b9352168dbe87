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

// FindCoordinator answers FindCoordinator (10): which broker decides on a group. It makes
// __consumer_offsets if that is missing.
//
// Versions: 1 key type (KIP-98); 3 flexible; 4 several keys (KIP-699); 6 share groups (KIP-932).
// Transactions and share groups are not served; asking for their coordinators is INVALID_REQUEST,
// which no client repeats.
func FindCoordinator(c Coordinator, images Images, topics Topics, a route.Authorizer, log *slog.Logger) route.Route {
	f := finder{c, images, topics, a, log}
	return route.New(0, 6, func(ctx context.Context, s *route.Session, req *kmsg.FindCoordinatorRequest, resp *kmsg.FindCoordinatorResponse) *route.Pending {
		keys := req.CoordinatorKeys
		if req.Version < 4 {
			keys = []string{req.CoordinatorKey}
		}
		if _, ok := images().Topic(metadata.ConsumerOffsets); ok || req.CoordinatorType != groupCoordinator || !f.mayAny(s, keys) {
			f.answer(s, req, keys, resp)
			return nil
		}
		return route.Go(ctx, s, func(ctx context.Context) {
			if err := topics.EnsureTopic(ctx, metadata.ConsumerOffsets); err != nil {
				log.Warn("offsets topic not created", slog.Any("err", err))
			}
			f.answer(s, req, keys, resp)
		})
	})
}

type finder struct {
	Coordinator
	images Images
	topics Topics
	auth   route.Authorizer
	log    *slog.Logger
}

func (f finder) mayAny(s *route.Session, groups []string) bool {
	return slices.ContainsFunc(groups, func(group string) bool {
		return f.auth.Authorize(s, route.Describe, route.Group, group)
	})
}

func (f finder) answer(s *route.Session, req *kmsg.FindCoordinatorRequest, keys []string, resp *kmsg.FindCoordinatorResponse) {
	image := f.images()
	for _, key := range keys {
		r := kmsg.NewFindCoordinatorResponseCoordinator()
		r.Key, r.NodeID, r.Port = key, -1, -1
		id, at, err := f.find(image, s, req, key)
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

func (f finder) find(image *metadata.Image, s *route.Session, req *kmsg.FindCoordinatorRequest, key string) (int32, metadata.Endpoint, error) {
	none := metadata.Endpoint{}
	switch req.CoordinatorType {
	case groupCoordinator:
	case transactionCoordinator:
		if !f.auth.Authorize(s, route.Describe, route.TransactionalID, key) {
			return -1, none, kerr.TransactionalIDAuthorizationFailed
		}
		return -1, none, fmt.Errorf("transactions are not served: %w", kerr.InvalidRequest)
	case shareCoordinator:
		return -1, none, fmt.Errorf("share groups are not served: %w", kerr.InvalidRequest)
	default:
		return -1, none, fmt.Errorf("no such type of coordinator: %w", kerr.InvalidRequest)
	}
	if err := route.AuthorizeGroup(f.auth, s, route.Describe, key); err != nil {
		return -1, none, err
	}
	topic, ok := image.Topic(metadata.ConsumerOffsets)
	if !ok || len(topic.Partitions) == 0 {
		return -1, none, kerr.CoordinatorNotAvailable
	}
	partition := f.Partition(key)
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
