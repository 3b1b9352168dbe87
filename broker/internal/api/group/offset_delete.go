package group

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// OffsetDelete answers OffsetDelete (47, KIP-496): it removes offsets of topics that the group is not
// subscribed to.
//
// Versions: 0.
func OffsetDelete(c Coordinator, images Images, a route.Authorizer) route.Route {
	return route.New(0, 0, func(_ context.Context, s *route.Session, req *kmsg.OffsetDeleteRequest, resp *kmsg.OffsetDeleteResponse) *route.Pending {
		if err := route.AuthorizeGroup(a, s, route.Delete, req.Group); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		if req.Group == "" { // old clients commit under this name, but nobody deletes there
			resp.ErrorCode = kerr.InvalidGroupID.Code
			return nil
		}
		image := images()
		e := &group.DeleteOffsets{Group: req.Group}
		topics := make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
		var codes []*int16
		for i, t := range req.Topics {
			topics[i].Topic = t.Topic
			topics[i].Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(t.Partitions))
			topic, err := resolve(a, s, route.Read, image, t.Topic, [16]byte{}, false)
			asked := group.TopicPartitions{Topic: t.Topic}
			for j, p := range t.Partitions {
				out := &topics[i].Partitions[j]
				out.Partition = p.Partition
				switch {
				case err != nil:
					out.ErrorCode = route.Code(err)
				case !hasPartition(topic, p.Partition):
					out.ErrorCode = kerr.UnknownTopicOrPartition.Code
				default:
					asked.Partitions = append(asked.Partitions, p.Partition)
					codes = append(codes, &out.ErrorCode)
				}
			}
			e.Topics = append(e.Topics, asked)
		}
		p := route.NewPending()
		submit(c, req.Group, e, func(errs []error, err error) {
			if resp.ErrorCode = route.Code(err); err == nil {
				for i, code := range codes {
					*code = route.Code(errs[i])
				}
				resp.Topics = topics
			}
			p.Complete()
		})
		return p
	})
}
