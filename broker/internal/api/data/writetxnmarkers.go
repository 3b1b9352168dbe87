package data

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/txn"
)

// WriteTxnMarkers answers WriteTxnMarkers (27): it ends transactions on partitions, for an
// administrator who ends hanging ones (KIP-664) as for another broker's coordinator. The answer comes
// when the markers are durable.
//
// Versions: 1 flexible; 2 version of the transaction (KIP-890).
func WriteTxnMarkers(d Deps) route.Route {
	return route.New(1, 2, func(_ context.Context, s *route.Session, req *kmsg.WriteTxnMarkersRequest, resp *kmsg.WriteTxnMarkersResponse) *route.Pending {
		var err error
		if !d.Authorizer.Authorize(s, route.Alter, route.Cluster, route.ClusterName) {
			err = route.AuthorizeCluster(d.Authorizer, s, route.ClusterAction)
		}
		all := make([]markerAnswer, len(req.Markers))
		resp.Markers = make([]kmsg.WriteTxnMarkersResponseMarker, len(req.Markers))
		for i := range req.Markers {
			all[i] = layMarker(&req.Markers[i], &resp.Markers[i])
			if err != nil {
				all[i].fail(err)
			}
		}
		if err != nil || len(all) == 0 {
			return nil
		}
		p := route.NewPending()
		var left atomic.Int32
		left.Store(int32(len(all)))
		for _, a := range all {
			d.writeMarkers(a, func() {
				if left.Add(-1) == 0 {
					p.Complete()
				}
			})
		}
		return p
	})
}

// markerAnswer is one marker of a request, and where the error codes of its partitions go.
type markerAnswer struct {
	event *txn.WriteMarkers
	codes []*int16
}

func (a *markerAnswer) fail(err error) {
	for _, code := range a.codes {
		*code = route.Code(err)
	}
}

// layMarker lays the response out like the request.
func layMarker(in *kmsg.WriteTxnMarkersRequestMarker, out *kmsg.WriteTxnMarkersResponseMarker) markerAnswer {
	*out = kmsg.NewWriteTxnMarkersResponseMarker()
	out.ProducerID = in.ProducerID
	a := markerAnswer{event: &txn.WriteMarkers{
		ProducerID: in.ProducerID, ProducerEpoch: in.ProducerEpoch, CoordinatorEpoch: in.CoordinatorEpoch,
		Commit: in.Committed, Bumped: in.TransactionVersion >= 2,
	}}
	out.Topics = make([]kmsg.WriteTxnMarkersResponseMarkerTopic, len(in.Topics))
	for i := range in.Topics {
		from, to := &in.Topics[i], &out.Topics[i]
		*to = kmsg.NewWriteTxnMarkersResponseMarkerTopic()
		to.Topic = from.Topic
		to.Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(from.Partitions))
		for j, partition := range from.Partitions {
			to.Partitions[j] = kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
			to.Partitions[j].Partition = partition
			a.event.Partitions = append(a.event.Partitions, txn.TopicPartition{Topic: from.Topic, Partition: partition})
			a.codes = append(a.codes, &to.Partitions[j].ErrorCode)
		}
	}
	return a
}

// writeMarkers writes one marker to its partitions and fills in their codes.
func (d *Deps) writeMarkers(a markerAnswer, done func()) {
	var err error
	switch {
	case a.event.ProducerID < 0:
		err = kerr.InvalidProducerIDMapping
	case a.event.ProducerEpoch < 0:
		err = kerr.InvalidProducerEpoch
	}
	if err != nil {
		a.fail(err)
		done()
		return
	}
	d.Transactions.WriteMarkers(a.event, func(errs []error) {
		for i, err := range errs {
			*a.codes[i] = route.LogCode(d.Logger, err)
		}
		done()
	})
}
