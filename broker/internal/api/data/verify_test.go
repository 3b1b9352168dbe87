package data

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/txn"
)

// inTxn is a transactional batch of one record.
func inTxn(producer int64, sequence int32) []byte {
	return batch(1, 10, record.Options{Transactional: true, Producer: &record.Producer{ID: producer, Epoch: 2, Sequence: sequence}})
}

// produceIn is a Produce request to topic t of a transactional producer, one batch for each partition from 0 on.
func produceIn(version, acks int16, id [16]byte, batches ...[]byte) *kmsg.ProduceRequest {
	req := produceTo(version, acks, "t", id, 0, nil)
	name := "tx"
	req.TransactionID = &name
	parts := req.Topics[0].Partitions[:0]
	for i, b := range batches {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), b
		parts = append(parts, p)
	}
	req.Topics[0].Partitions = parts
	return req
}

func TestTransactionIsVerifiedOrJoined(t *testing.T) {
	for version := int16(leastProduce); version <= 13; version++ {
		inBubble(t, func(r *rig) {
			id := r.topic("t", 2)
			c := r.start(produceIn(version, -1, id, inTxn(4, 0), inTxn(4, 0)))
			behind := r.start(produceIn(version, -1, id, inTxn(4, 1)))
			if c.done() || behind.done() {
				r.Fatalf("version %d is answered before the coordinator has", version)
			}
			e := r.txns.answer(r, nil, nil, nil)
			if e.TransactionalID != "tx" || e.ProducerID != 4 || e.ProducerEpoch != 2 || e.Verify != (version < 12) ||
				len(e.Partitions) != 2 || e.Partitions[1] != (txn.TopicPartition{Topic: "t", Partition: 1}) {
				r.Errorf("version %d: the coordinator is asked %+v", version, e)
			}
			got := answer[*kmsg.ProduceResponse](r, c)
			for _, p := range got.Topics[0].Partitions {
				if p.ErrorCode != 0 || p.BaseOffset != 0 {
					r.Errorf("version %d: %+v", version, p)
				}
			}
			if p := produced(answer[*kmsg.ProduceResponse](r, behind)); p.ErrorCode != 0 || p.BaseOffset != 1 {
				r.Errorf("version %d, behind it: %+v", version, p)
			}
			if p := produced(ask[*kmsg.ProduceResponse](r, produceIn(version, -1, id, inTxn(4, 2)))); p.ErrorCode != 0 {
				r.Errorf("version %d, later in the transaction: %+v", version, p)
			}
			if len(r.txns.events) != 0 {
				r.Errorf("version %d: the coordinator is asked again", version)
			}
		})
	}
}

func TestVerificationErrors(t *testing.T) {
	for name, c := range map[string]struct {
		all, one error
		old, now *kerr.Error // for Produce 10, and for 11 and 12
	}{
		"not part of it":     {one: kerr.TransactionAbortable, old: kerr.InvalidTxnState, now: kerr.TransactionAbortable},
		"fenced":             {all: kerr.ProducerFenced, old: kerr.InvalidProducerEpoch, now: kerr.InvalidProducerEpoch},
		"another producer":   {all: kerr.InvalidProducerIDMapping, old: kerr.InvalidProducerIDMapping, now: kerr.InvalidProducerIDMapping},
		"loading":            {all: kerr.CoordinatorLoadInProgress, old: kerr.NotEnoughReplicas, now: kerr.NotEnoughReplicas},
		"elsewhere":          {all: kerr.NotCoordinator, old: kerr.NotEnoughReplicas, now: kerr.NotEnoughReplicas},
		"not there":          {all: kerr.CoordinatorNotAvailable, old: kerr.NotEnoughReplicas, now: kerr.NotEnoughReplicas},
		"still ending":       {one: kerr.ConcurrentTransactions, old: kerr.NotEnoughReplicas, now: kerr.NotEnoughReplicas},
		"something unheard":  {one: errors.New("?"), old: kerr.UnknownServerError, now: kerr.UnknownServerError},
		"no partition there": {one: kerr.UnknownTopicOrPartition, old: kerr.UnknownTopicOrPartition, now: kerr.UnknownTopicOrPartition},
	} {
		inBubble(t, func(r *rig) {
			id := r.topic("t", 1)
			for _, version := range []int16{10, 11, 12} {
				call := r.start(produceIn(version, -1, id, inTxn(4, 0)))
				r.txns.answer(r, c.all, c.one)
				want := c.now
				if version < 11 {
					want = c.old
				}
				if p := produced(answer[*kmsg.ProduceResponse](r, call)); p.ErrorCode != want.Code || p.BaseOffset != -1 {
					r.Errorf("%s, version %d: %+v, want %v", name, version, p, want)
				}
			}
			if p, _ := r.Partition("t", 0); p.Status().End != 0 {
				r.Errorf("%s: something was appended", name)
			}
		})
	}
}

func TestTransactionalBatchesNeedTheRightToTheirID(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 2)
		nameless := produceIn(9, -1, id, inTxn(4, 0), batch(1, 1))
		nameless.TransactionID = nil
		for name, req := range map[string]*kmsg.ProduceRequest{
			"no transactional id":   nameless,
			"not the user's to use": produceIn(9, -1, id, batch(1, 1), inTxn(4, 0)),
		} {
			r.may = denyTxn{}
			for _, p := range ask[*kmsg.ProduceResponse](r, req).Topics[0].Partitions {
				if p.ErrorCode != kerr.TransactionalIDAuthorizationFailed.Code {
					r.Errorf("%s: %+v", name, p)
				}
			}
		}
		// Without a transactional batch nobody asks for the right.
		if p := produced(ask[*kmsg.ProduceResponse](r, produceIn(9, -1, id, batch(1, 1)))); p.ErrorCode != 0 {
			r.Errorf("plain batch: %+v", p)
		}
	})
}

// denyTxn lets nobody use a transactional id.
type denyTxn struct{}

func (denyTxn) Authorize(_ *route.Session, _ route.Operation, t route.ResourceType, _ string) bool {
	return t != route.TransactionalID
}

func TestARequestSpeaksForOneProducer(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 2)
		c := r.start(produceIn(12, -1, id, inTxn(4, 0), inTxn(5, 0)))
		r.txns.answer(r, nil, nil)
		got := answer[*kmsg.ProduceResponse](r, c).Topics[0].Partitions
		if got[0].ErrorCode != 0 || got[1].ErrorCode != kerr.InvalidProducerIDMapping.Code {
			r.Errorf("%+v", got)
		}
	})
}

func TestTransactionWithoutAcks(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		if c := r.start(produceIn(12, 0, id, inTxn(4, 0))); c.err != nil || c.resp != nil || c.pending != nil {
			r.Fatalf("%v, %v", c.resp, c.err)
		}
		r.txns.answer(r, nil, nil)
		if p, _ := r.Partition("t", 0); p.Status().End != 1 {
			r.Errorf("log end %d", p.Status().End)
		}
	})
}
