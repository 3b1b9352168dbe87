package group

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// OffsetCommit answers OffsetCommit (8): it stores how far a group has read. The answer comes when
// that is in the log.
//
// Versions: 2 to 4 retention of the request's own; 6 leader epoch (KIP-320); 7 static members
// (KIP-345); 8 flexible; 9 GROUP_ID_NOT_FOUND (KIP-848); 10 topic ids.
func OffsetCommit(c Coordinator, images Images, a route.Authorizer) route.Route {
	return route.New(2, 10, func(_ context.Context, s *route.Session, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) *route.Pending {
		e := &group.CommitOffsets{
			Version: req.Version, Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID,
			Generation: req.Generation, Retention: retention(req),
		}
		codes := prepareCommit(e, images(), s, a, req, resp)
		if len(codes) == 0 {
			return nil
		}
		p := route.NewPending()
		submit(c, req.Group, e, func(errs []error, err error) {
			for i, code := range codes {
				if err != nil {
					*code = route.Code(err)
				} else {
					*code = route.Code(errs[i])
				}
			}
			p.Complete()
		})
		return p
	})
}

func retention(req *kmsg.OffsetCommitRequest) time.Duration {
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	if req.Version > 4 || req.RetentionTimeMillis < 0 {
		return -1
	}
	return time.Duration(min(req.RetentionTimeMillis, longest/2)) * time.Millisecond
}

// prepareCommit lays the response out like the request and moves what may be committed into the
// event. For each offset there it returns where its error code goes.
func prepareCommit(e *group.CommitOffsets, image *metadata.Image, s *route.Session, a route.Authorizer, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) []*int16 {
	var codes []*int16
	refused := route.AuthorizeGroup(a, s, route.Read, req.Group)
	if refused == nil {
		refused = legible(req.Group)
	}
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		in, out := &req.Topics[i], &resp.Topics[i]
		*out = kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = in.Topic, in.TopicID
		out.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(in.Partitions))
		var topic *metadata.Topic
		err := refused
		if err == nil {
			topic, err = resolve(a, s, route.Read, image, in.Topic, in.TopicID, req.Version >= 10)
		}
		for j := range in.Partitions {
			from, to := &in.Partitions[j], &out.Partitions[j]
			*to = kmsg.NewOffsetCommitResponseTopicPartition()
			to.Partition = from.Partition
			switch {
			case err != nil:
				to.ErrorCode = route.Code(err)
			case !hasPartition(topic, from.Partition):
				to.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				e.Offsets = append(e.Offsets, commitOf(topic, from))
				codes = append(codes, &to.ErrorCode)
			}
		}
	}
	return codes
}

func commitOf(t *metadata.Topic, p *kmsg.OffsetCommitRequestTopicPartition) group.CommitOffset {
	o := group.CommitOffset{
		Topic: t.Name, TopicID: t.ID, Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch,
	}
	if p.Metadata != nil {
		o.Metadata = strings.ToValidUTF8(*p.Metadata, "\uFFFD")
	}
	return o
}
