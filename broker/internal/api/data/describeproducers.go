package data

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// DescribeProducers answers DescribeProducers (61): who has written to partitions, and since which
// offset a transaction is open there (KIP-664).
//
// Versions: 0.
func DescribeProducers(d Deps) route.Route {
	return route.New(0, 0, func(_ context.Context, s *route.Session, req *kmsg.DescribeProducersRequest, resp *kmsg.DescribeProducersResponse) *route.Pending {
		image := d.Image()
		for _, rt := range req.Topics {
			t := topicRef{name: rt.Topic}
			d.resolve(image, s, route.Read, &t, 0)
			if errors.Is(t.err, kerr.UnknownTopicOrPartition) && metadata.CheckName(rt.Topic) != nil {
				t.err = kerr.InvalidTopicException
			}
			st := kmsg.NewDescribeProducersResponseTopic()
			st.Topic = rt.Topic
			for _, index := range rt.Partitions {
				st.Partitions = append(st.Partitions, d.describeProducers(&t, index))
			}
			resp.Topics = append(resp.Topics, st)
		}
		return nil
	})
}

func (d *Deps) describeProducers(t *topicRef, index int32) kmsg.DescribeProducersResponseTopicPartition {
	out := kmsg.NewDescribeProducersResponseTopicPartition()
	out.Partition = index
	p, err := d.find(t, index)
	if err == nil && !p.Status().Leader {
		err = kerr.NotLeaderForPartition
	}
	if err != nil {
		out.ErrorCode = route.LogCode(d.Logger, err)
		return out
	}
	for _, i := range p.Producers() {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.LastSequence, a.LastTimestamp = i.ID, int32(i.Epoch), i.LastSequence, i.LastTimestamp
		a.CoordinatorEpoch, a.CurrentTxnStartOffset = i.CoordinatorEpoch, i.TxnFirst
		out.ActiveProducers = append(out.ActiveProducers, a)
	}
	return out
}
