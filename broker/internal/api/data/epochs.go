package data

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
)

// OffsetForLeaderEpoch answers OffsetForLeaderEpoch (23): where the records of a
// leader epoch end, from which a client sees whether its own were truncated.
//
// Versions: 2 current leader epoch (KIP-320); 3 replica id; 4 flexible.
func OffsetForLeaderEpoch(d Deps) route.Route {
	return route.New(2, 4, func(_ context.Context, s *route.Session, req *kmsg.OffsetForLeaderEpochRequest, resp *kmsg.OffsetForLeaderEpochResponse) *route.Pending {
		image := d.Image()
		for i := range req.Topics {
			rt := &req.Topics[i]
			t := topicRef{name: rt.Topic}
			d.resolve(image, s, route.Describe, &t, 0)
			st := kmsg.NewOffsetForLeaderEpochResponseTopic()
			st.Topic = rt.Topic
			for j := range rt.Partitions {
				rp := &rt.Partitions[j]
				sp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				sp.Partition, sp.LeaderEpoch, sp.EndOffset = rp.Partition, -1, -1
				p, err := d.find(&t, rp.Partition)
				if err == nil {
					sp.LeaderEpoch, sp.EndOffset, err = p.EpochEnd(rp.CurrentLeaderEpoch, rp.LeaderEpoch)
				}
				sp.ErrorCode = route.LogCode(d.Logger, err)
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return nil
	})
}
