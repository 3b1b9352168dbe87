package data

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
)

// DeleteRecords answers DeleteRecords (21): it moves the start of logs up to the
// given offsets, -1 being the high watermark (KIP-107).
//
// Versions: 2 flexible.
func DeleteRecords(d Deps) route.Route {
	return route.New(0, 2, func(ctx context.Context, s *route.Session, req *kmsg.DeleteRecordsRequest, resp *kmsg.DeleteRecordsResponse) *route.Pending {
		return route.Go(ctx, s, func(ctx context.Context) {
			deadline := d.Clock.Now().Add(catchUpWithin)
			image := d.Image()
			for i := range req.Topics {
				rt := &req.Topics[i]
				t := topicRef{name: rt.Topic}
				d.resolve(image, s, route.Delete, &t, 0)
				if t.err == nil && t.meta.Internal {
					t.err = kerr.InvalidTopicException
				}
				st := kmsg.NewDeleteRecordsResponseTopic()
				st.Topic = rt.Topic
				for j := range rt.Partitions {
					rp := &rt.Partitions[j]
					sp := kmsg.NewDeleteRecordsResponseTopicPartition()
					sp.Partition, sp.LowWatermark = rp.Partition, -1
					p, err := d.find(&t, rp.Partition)
					if err == nil {
						p.CatchUp(ctx, deadline)
						sp.LowWatermark, err = p.DeleteRecords(rp.Offset)
					}
					sp.ErrorCode = route.LogCode(d.Logger, err)
					st.Partitions = append(st.Partitions, sp)
				}
				resp.Topics = append(resp.Topics, st)
			}
		})
	})
}
