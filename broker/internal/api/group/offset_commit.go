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
			answerCommit(codes, errs, err)
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
			if to.ErrorCode = commitCode(topic, from.Partition, err); to.ErrorCode == 0 {
				e.Offsets = append(e.Offsets, commitOf(topic, from.Partition, from.Offset, from.LeaderEpoch, from.Metadata))
				codes = append(codes, &to.ErrorCode)
			}
		}
	}
	return codes
}

// commitCode is why an offset of a partition cannot be committed; err is what is wrong with its topic.
func commitCode(t *metadata.Topic, partition int32, err error) int16 {
	if err == nil && !hasPartition(t, partition) {
		err = kerr.UnknownTopicOrPartition
	}
	return route.Code(err)
}

func commitOf(t *metadata.Topic, partition int32, offset int64, epoch int32, about *string) group.CommitOffset {
	o := group.CommitOffset{Topic: t.Name, TopicID: t.ID, Partition: partition, Offset: offset, LeaderEpoch: epoch}
	if about != nil {
		o.Metadata = strings.ToValidUTF8(*about, "\uFFFD")
	}
	return o
}

// answerCommit fills in the codes of a commit: err for all, or else an error for each.
func answerCommit(codes []*int16, errs []error, err error) {
	for i, code := range codes {
		if err == nil {
			*code = route.Code(errs[i])
		} else {
			*code = route.Code(err)
		}
	}
}
