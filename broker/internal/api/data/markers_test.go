package data

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/txn"
)

// markersOf is a WriteTxnMarkers request for partitions of topic t, one marker for each producer.
func markersOf(version int16, producers ...int64) *kmsg.WriteTxnMarkersRequest {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Version = version
	for _, id := range producers {
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch, m.Committed, m.CoordinatorEpoch, m.TransactionVersion = id, 3, true, 9, 2
		topic := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		topic.Topic, topic.Partitions = "t", []int32{0, 1}
		m.Topics = append(m.Topics, topic)
		req.Markers = append(req.Markers, m)
	}
	return req
}

// markerCodes are those of every partition of every marker in turn.
func markerCodes(resp *kmsg.WriteTxnMarkersResponse) (codes []int16) {
	for _, m := range resp.Markers {
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	}
	return codes
}

func TestWriteTxnMarkers(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.txns.mark = func(tp txn.TopicPartition) error {
			if tp.Partition == 1 {
				return kerr.TransactionCoordinatorFenced
			}
			return nil
		}
		for _, version := range []int16{1, 2} {
			r.txns.markers = nil
			got := markerCodes(ask[*kmsg.WriteTxnMarkersResponse](r, markersOf(version, 5, -1, 6)))
			fenced, foreign := kerr.TransactionCoordinatorFenced.Code, kerr.InvalidProducerIDMapping.Code
			if diff := cmp.Diff([]int16{0, fenced, foreign, foreign, 0, fenced}, got); diff != "" {
				t.Errorf("version %d:\n%s", version, diff)
			}
			want := &txn.WriteMarkers{
				ProducerID: 6, ProducerEpoch: 3, CoordinatorEpoch: 9, Commit: true, Bumped: version >= 2,
				Partitions: []txn.TopicPartition{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}},
			}
			if len(r.txns.markers) != 2 || !cmp.Equal(r.txns.markers[1], want) {
				t.Errorf("version %d: %+v", version, r.txns.markers)
			}
		}
		none := markersOf(1, 5)
		none.Markers[0].ProducerEpoch = -1
		if got := markerCodes(ask[*kmsg.WriteTxnMarkersResponse](r, none)); got[0] != kerr.InvalidProducerEpoch.Code {
			t.Errorf("no epoch: %v", got)
		}
		if got := ask[*kmsg.WriteTxnMarkersResponse](r, markersOf(1)); len(got.Markers) != 0 {
			t.Errorf("no markers: %+v", got)
		}
	})
}

// onlyOn lets everybody do one operation on the cluster and nothing else.
type onlyOn route.Operation

func (o onlyOn) Authorize(_ *route.Session, op route.Operation, t route.ResourceType, _ string) bool {
	return op == route.Operation(o) && t == route.Cluster
}

// TestMarkersNeedARightToTheCluster: rule 82.
func TestMarkersNeedARightToTheCluster(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.txns.mark = func(txn.TopicPartition) error { return nil }
		for name, c := range map[string]struct {
			may  route.Authorizer
			want int16
		}{
			"nobody":         {denyAll{}, kerr.ClusterAuthorizationFailed.Code},
			"alter":          {onlyOn(route.Alter), 0},
			"cluster action": {onlyOn(route.ClusterAction), 0},
		} {
			r.may = c.may
			got := markerCodes(ask[*kmsg.WriteTxnMarkersResponse](r, markersOf(1, 5)))
			if diff := cmp.Diff([]int16{c.want, c.want}, got); diff != "" {
				t.Errorf("%s:\n%s", name, diff)
			}
		}
	})
}

func describeOf(topic string, indexes ...int32) *kmsg.DescribeProducersRequest {
	req := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, indexes
	req.Topics = append(req.Topics, t)
	return req
}

func TestDescribeProducers(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.topic("t", 1)
		p, _ := r.Partition("t", 0)
		done := completion(func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		p.Append(batch(2, 1, record.Options{Producer: &record.Producer{ID: 8, Epoch: 1, Sequence: 4}}), partition.AppendRequest{Acks: 1, CurrentEpoch: -1}, done)
		p.Append(inTxn(4, 0), partition.AppendRequest{Acks: 1, CurrentEpoch: -1}, done)
		got := ask[*kmsg.DescribeProducersResponse](r, describeOf("t", 0, 3)).Topics[0].Partitions
		if len(got[0].ActiveProducers) != 2 || got[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Fatalf("%+v", got)
		}
		open, plain := got[0].ActiveProducers[0], got[0].ActiveProducers[1]
		if open.ProducerID != 4 || open.ProducerEpoch != 2 || open.CurrentTxnStartOffset != 2 || open.LastSequence != 0 || open.CoordinatorEpoch != -1 {
			t.Errorf("in a transaction: %+v", open)
		}
		if plain.ProducerID != 8 || plain.CurrentTxnStartOffset != -1 || plain.LastSequence != 5 || plain.LastTimestamp <= 0 {
			t.Errorf("without one: %+v", plain)
		}
		if p := ask[*kmsg.DescribeProducersResponse](r, describeOf("none", 0)).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("unknown topic: %+v", p)
		}
		if p := ask[*kmsg.DescribeProducersResponse](r, describeOf("a/b", 0)).Topics[0].Partitions[0]; p.ErrorCode != kerr.InvalidTopicException.Code {
			t.Errorf("no name of a topic: %+v", p)
		}
		p.Follow(9)
		if p := ask[*kmsg.DescribeProducersResponse](r, describeOf("t", 0)).Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code {
			t.Errorf("not the leader: %+v", p)
		}
		r.may = denyAll{}
		if p := ask[*kmsg.DescribeProducersResponse](r, describeOf("t", 0)).Topics[0].Partitions[0]; p.ErrorCode != kerr.TopicAuthorizationFailed.Code {
			t.Errorf("forbidden: %+v", p)
		}
	})
}

type completion func(err error)

func (c completion) Appended(_ int, _ partition.AppendResult, err error) { c(err) }
