package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diffCutTransactions takes records, topics and groups away from transactions that are under way.
func diffCutTransactions(d *duel) {
	l := &life{duel: d, id: "cut", endTxn: 3, sequence: map[string]int32{}}
	produce := func(topic string, sequence int32) {
		d.do("in a transaction", 12, func(s *side) kmsg.Request {
			r := produceOf(s, -1, topic, batchOf(2, func(b *kmsg.RecordBatch) {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = s.number["pid"], int16(s.number["epoch"]), sequence, 1<<4
			}))
			r.TransactionID = &l.id
			return r
		})
	}
	watch := func(what, topic string, from int64) {
		d.producers(what, kmsg.DescribeProducersRequestTopic{Topic: topic, Partitions: []int32{0}})
		for _, isolation := range []int8{0, 1} {
			d.do(fmt.Sprintf("%s, end, isolation %d", what, isolation), 5, listOffsetsOf(topic, 0, -1, -1, isolation))
			for _, at := range []int64{from, from + 2} {
				d.do(fmt.Sprintf("%s, read from %d, isolation %d", what, at, isolation), 12, func(s *side) kmsg.Request {
					r := fetchOf(s, 0, -1, fetched{topic, 0, at, 1 << 20, -1})
					r.IsolationLevel = isolation
					return r
				})
			}
		}
	}
	d.topic("txn-trimmed", 1)
	for round, commit := range []bool{true, false} {
		at := int64(7 * round)
		d.producer(l.id)
		for i := range int32(3) {
			produce("txn-trimmed", 2*i)
		}
		d.do("trim to the middle", 2, same(deleteRecordsOf("txn-trimmed", 0, at+2)))
		watch("trimmed to the middle", "txn-trimmed", at+2)
		d.do("trim to the end", 2, same(deleteRecordsOf("txn-trimmed", 0, -1)))
		watch("trimmed to the end", "txn-trimmed", at+5)
		l.end("trimmed", commit, nil)
		watch("trimmed and ended", "txn-trimmed", at+6)
	}
	d.topic("txn-deleted", 1)
	d.producer(l.id)
	produce("txn-deleted", 0)
	for _, s := range []*side{d.kafka, d.weir} {
		r := kmsg.NewPtrDeleteTopicsRequest()
		r.Version, r.TopicNames, r.TimeoutMillis = 5, []string{"txn-deleted"}, 10_000
		s.send(r)
		waitFor(d.t, s.name+" to delete", func() bool {
			r := kmsg.NewPtrMetadataRequest()
			r.Version, r.Topics = 9, []kmsg.MetadataRequestTopic{{Topic: new("txn-deleted")}}
			resp, ok := s.send(r).(*kmsg.MetadataResponse)
			return ok && resp.Topics[0].ErrorCode == 3
		})
	}
	d.describe("its topic deleted", l.id)
	l.end("its topic deleted", true, nil)
	d.describe("its topic deleted, ended", l.id)
	diffCutGroup(d, l)
}

func diffCutGroup(d *duel, l *life) {
	const group = "txn-cut-group"
	pend := func() {
		d.producer(l.id)
		d.do("offsets", 3, func(s *side) kmsg.Request {
			r := kmsg.NewPtrAddOffsetsToTxnRequest()
			r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = l.id, s.number["pid"], int16(s.number["epoch"]), group
			return r
		})
		d.do("offsets", 3, func(s *side) kmsg.Request {
			r := kmsg.NewPtrTxnOffsetCommitRequest()
			r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group, r.Generation = l.id, s.number["pid"], int16(s.number["epoch"]), group, -1
			r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "txn", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 9, LeaderEpoch: -1}}}}
			return r
		})
	}
	plain := func() {
		d.do("a plain commit meanwhile", 7, func(*side) kmsg.Request {
			r := kmsg.NewPtrOffsetCommitRequest()
			r.Group, r.Generation = group, -1
			r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "txn", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 4, LeaderEpoch: -1}}}}
			return r
		})
	}
	forget := func() {
		d.do("offsets deleted meanwhile", 0, func(*side) kmsg.Request {
			r := kmsg.NewPtrOffsetDeleteRequest()
			r.Group, r.Topics = group, []kmsg.OffsetDeleteRequestTopic{{Topic: "txn", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
			return r
		})
	}
	drop := func() {
		d.do("the group deleted meanwhile", 2, func(*side) kmsg.Request {
			r := kmsg.NewPtrDeleteGroupsRequest()
			r.Groups = []string{group}
			return r
		})
	}
	look := func(what string) {
		for _, stable := range []bool{false, true} {
			d.do(fmt.Sprintf("%s, stable %v", what, stable), 7, func(*side) kmsg.Request {
				r := kmsg.NewPtrOffsetFetchRequest()
				r.Group, r.RequireStable = group, stable
				r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "txn", Partitions: []int32{0}}}
				return r
			})
		}
		d.do(what, 4, func(*side) kmsg.Request {
			r := kmsg.NewPtrDescribeGroupsRequest()
			r.Groups = []string{group}
			return r
		})
	}
	for i, meanwhile := range [][]func(){{plain}, {forget}, {drop}, {plain, drop}, {plain, forget}, {drop, plain}} {
		for _, commit := range []bool{true, false} {
			pend()
			for _, f := range meanwhile {
				f()
			}
			look(fmt.Sprintf("pending %d", i))
			l.end("meanwhile", commit, nil)
			look(fmt.Sprintf("ended %d, commit %v", i, commit))
		}
		drop()
	}
}
