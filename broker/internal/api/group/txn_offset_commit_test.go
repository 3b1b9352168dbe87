package group

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/machine"
)

func txnCommitRequest(version int16, producer int64, offset int64, partitions ...int32) *kmsg.TxnOffsetCommitRequest {
	r := at(kmsg.NewPtrTxnOffsetCommitRequest(), version)
	r.TransactionalID, r.Group, r.ProducerID, r.ProducerEpoch = "tx", "g", producer, 2
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = "t"
	for _, n := range partitions {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = n, offset, new("meta")
		topic.Partitions = append(topic.Partitions, p)
	}
	r.Topics = append(r.Topics, topic)
	return r
}

func (c *cluster) txnCodes(r *kmsg.TxnOffsetCommitRequest) []int16 {
	c.Helper()
	var codes []int16
	for _, p := range ask[*kmsg.TxnOffsetCommitResponse](c, r).Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	return codes
}

func TestTxnOffsetCommitInEveryVersion(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.load()
		home := c.runtime.Partition("g")
		for version := range int16(6) {
			producer, offset := int64(version), int64(10*version+5)
			if got := c.txnCodes(txnCommitRequest(version, producer, offset, 0, 1)); !cmp.Equal(got, []int16{0, 0}) {
				t.Fatalf("version %d: %v", version, got)
			}
			want := &group.JoinTransaction{TransactionalID: "tx", ProducerID: producer, ProducerEpoch: 2, Group: "g", Add: version >= 5}
			if diff := cmp.Diff([]*group.JoinTransaction{want}, c.asked); diff != "" {
				t.Errorf("version %d: the coordinator is asked (-want +got):\n%s", version, diff)
			}
			c.asked = nil
			stable := fetchRequest(8, 0, 1)
			stable.RequireStable = true
			if p := ask[*kmsg.OffsetFetchResponse](c, stable).Groups[0].Topics[0].Partitions[1]; p.ErrorCode != kerr.UnstableOffsetCommit.Code {
				t.Errorf("version %d: stable offsets while pending: %+v", version, p)
			}
			c.runtime.Mark(home, machine.Marker{ProducerID: producer, ProducerEpoch: 2, Commit: true}, func(_ any, err error) {
				if err != nil {
					t.Error(err)
				}
			})
			if p := ask[*kmsg.OffsetFetchResponse](c, stable).Groups[0].Topics[0].Partitions[1]; p.ErrorCode != 0 || p.Offset != offset {
				t.Errorf("version %d: after the commit: %+v", version, p)
			}
		}
	})
}

func TestTxnOffsetCommitErrors(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.load()
		for name, test := range map[string]struct {
			version int16
			join    error
			change  func(*kmsg.TxnOffsetCommitRequest)
			deny    denied
			want    []int16
		}{
			"unknown partition":    {version: 3, want: []int16{0, kerr.UnknownTopicOrPartition.Code}},
			"unknown topic":        {version: 3, change: func(r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Topic = "none" }, want: codes(kerr.UnknownTopicOrPartition)},
			"no group":             {version: 3, change: func(r *kmsg.TxnOffsetCommitRequest) { r.Group = "" }, want: codes(kerr.InvalidGroupID)},
			"a generation":         {version: 3, change: func(r *kmsg.TxnOffsetCommitRequest) { r.Generation = 4; r.Group = "h" }, want: []int16{kerr.IllegalGeneration.Code, kerr.UnknownTopicOrPartition.Code}},
			"not part of it, old":  {version: 3, join: kerr.TransactionAbortable, want: []int16{kerr.InvalidTxnState.Code, kerr.UnknownTopicOrPartition.Code}},
			"not part of it":       {version: 4, join: kerr.TransactionAbortable, want: []int16{kerr.TransactionAbortable.Code, kerr.UnknownTopicOrPartition.Code}},
			"not the user's id":    {version: 3, deny: denied{route.Write, route.TransactionalID, "tx"}, want: codes(kerr.TransactionalIDAuthorizationFailed)},
			"not the user's group": {version: 3, deny: denied{route.Read, route.Group, "g"}, want: codes(kerr.GroupAuthorizationFailed)},
			"not the user's topic": {version: 3, deny: denied{route.Read, route.Topic, "t"}, want: codes(kerr.TopicAuthorizationFailed)},
		} {
			c.join, c.deny = test.join, deny{test.deny: true}
			r := txnCommitRequest(test.version, 99, 1, 0, 7)
			if test.change != nil {
				test.change(r)
			}
			if got := c.txnCodes(r); !cmp.Equal(got, test.want) {
				t.Errorf("%s: %v, want %v", name, got, test.want)
			}
			c.runtime.Mark(c.runtime.Partition("g"), machine.Marker{ProducerID: 99, ProducerEpoch: 2}, func(any, error) {})
		}
	})
}

// codes is what both partitions get where nothing of a request is taken.
func codes(e *kerr.Error) []int16 { return []int16{e.Code, e.Code} }
