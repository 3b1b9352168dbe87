package admin

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// DescribeTopicPartitions answers key 75, version 0 (KIP-966): topics in order of
// name, at most so many partitions at a time, and a cursor where to go on. No
// topics means all.
func DescribeTopicPartitions(d Deps) route.Route {
	return route.New(0, 0, func(_ context.Context, s *route.Session, req *kmsg.DescribeTopicPartitionsRequest, resp *kmsg.DescribeTopicPartitionsResponse) *route.Pending {
		img := d.Image()
		a := partitionsAnswer{d: &d, s: s, img: img, resp: resp}
		a.room = int(min(max(req.ResponsePartitionLimit, 1), d.brokerInt(img, "max.request.partition.size.limit")))
		a.fill(req)
		return nil
	})
}

type partitionsAnswer struct {
	d    *Deps
	s    *route.Session
	img  *metadata.Image
	resp *kmsg.DescribeTopicPartitionsResponse
	room int
}

func (a *partitionsAnswer) fill(req *kmsg.DescribeTopicPartitionsRequest) {
	names := make([]string, 0, len(req.Topics))
	for i := range req.Topics {
		names = append(names, req.Topics[i].Topic)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	from := kmsg.DescribeTopicPartitionsRequestCursor{}
	if req.Cursor != nil {
		from = *req.Cursor
		if from.Partition < 0 || len(names) > 0 && !slices.Contains(names, from.Topic) {
			for _, name := range names {
				a.refuse(name, kerr.InvalidRequest)
			}
			return
		}
	}
	if len(names) == 0 {
		a.all(from)
		return
	}
	for _, name := range names {
		if name >= from.Topic && !a.named(name, first(from, name)) {
			return
		}
	}
}

// first is the partition of a topic to begin with.
func first(from kmsg.DescribeTopicPartitionsRequestCursor, topic string) int {
	if from.Topic == topic {
		return int(from.Partition)
	}
	return 0
}

// all answers every topic from the cursor on that the client may see.
func (a *partitionsAnswer) all(from kmsg.DescribeTopicPartitionsRequestCursor) {
	for t := range a.img.TopicsFrom(from.Topic) {
		if a.d.Authorizer.Authorize(a.s, route.Describe, route.Topic, t.Name) && !a.topic(t, first(from, t.Name)) {
			return
		}
	}
}

// named answers a topic somebody asked for and says whether there is more room.
func (a *partitionsAnswer) named(name string, first int) bool {
	if err := route.AuthorizeTopic(a.d.Authorizer, a.s, route.Describe, name); err != nil {
		a.refuse(name, err)
		return true
	}
	if t, ok := a.img.Topic(name); ok {
		return a.topic(t, first)
	}
	err := metadata.CheckName(name)
	if err == nil {
		err = kerr.UnknownTopicOrPartition
	}
	a.refuse(name, err)
	return true
}

func (a *partitionsAnswer) refuse(name string, err error) {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.ErrorCode, out.Topic, out.AuthorizedOperations = route.Code(err), &name, notAsked
	out.Partitions = []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
	a.resp.Topics = append(a.resp.Topics, out)
}

// topic answers the partitions of a topic from first on; where not all fit it
// leaves a cursor and returns false.
func (a *partitionsAnswer) topic(t *metadata.Topic, first int) bool {
	if a.room == 0 {
		a.resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: t.Name}
		return false
	}
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, t.Internal
	out.AuthorizedOperations = a.d.topicOperations(a.s, t.Name)
	first = min(first, len(t.Partitions))
	end := min(first+a.room, len(t.Partitions))
	out.Partitions = make([]kmsg.DescribeTopicPartitionsResponseTopicPartition, 0, end-first)
	for n := first; n < end; n++ {
		out.Partitions = append(out.Partitions, a.partition(t, n))
	}
	a.resp.Topics = append(a.resp.Topics, out)
	a.room -= end - first
	if end < len(t.Partitions) {
		a.resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: t.Name, Partition: int32(end)}
		return false
	}
	return true
}

func (a *partitionsAnswer) partition(t *metadata.Topic, n int) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	p := &t.Partitions[n]
	out := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	err := leaderError(a.img, p, a.s.Listener)
	out.ErrorCode, out.Partition, out.LeaderID, out.LeaderEpoch = route.Code(err), int32(n), p.Leader, p.LeaderEpoch
	if err != nil {
		out.LeaderID = -1
	}
	out.Replicas, out.ISR, out.OfflineReplicas = own(p.Replicas), own(p.ISR), offlineReplicas(a.img, p)
	out.EligibleLeaderReplicas, out.LastKnownELR = []int32{}, []int32{}
	return out
}
