package broker_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/record"
)

// txnTimeout is what a transactional producer promises. Only a clock that is ahead
// makes it pass.
const txnTimeout = time.Minute

// txnProducer is a transactional producer. A modern one speaks version 2 of the
// protocol: partitions join by being produced to, and EndTxn gives the next epoch.
type txnProducer struct {
	id     string
	modern bool
	pid    int64
	epoch  int16
	next   map[tp]int32
	joined map[tp]bool // by the older protocol
}

func (p *txnProducer) is(pid int64, epoch int16) {
	p.pid, p.epoch, p.next, p.joined = pid, epoch, map[tp]int32{}, map[tp]bool{}
}

// initTxn gives the producer an epoch that fences all earlier ones.
func (c *wireClient) initTxn(p *txnProducer) error {
	return eventually(func() error {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.SetVersion(5)
		req.TransactionalID, req.TransactionTimeoutMillis = &p.id, int32(txnTimeout.Milliseconds())
		r, err := ask[*kmsg.InitProducerIDResponse](c, req)
		if err != nil {
			return err
		}
		p.is(r.ProducerID, r.ProducerEpoch)
		return refused("init "+p.id, r.ErrorCode)
	})
}

// joinTxn adds a partition to the transaction, which a modern producer need not.
func (c *wireClient) joinTxn(p *txnProducer, at tp) error {
	if p.modern || p.joined[at] {
		return nil
	}
	p.joined[at] = true
	return eventually(func() error {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.SetVersion(3)
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.pid, p.epoch
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: at.topic, Partitions: []int32{at.index}}}
		r, err := ask[*kmsg.AddPartitionsToTxnResponse](c, req)
		if err != nil {
			return err
		}
		return refused(fmt.Sprintf("add %s to %s", at, p.id), r.Topics[0].Partitions[0].ErrorCode)
	})
}

// produceIn produces a record in the transaction; an empty value is a tombstone.
func (c *wireClient) produceIn(p *txnProducer, at tp, key, value string) (base int64, err error) {
	if err := c.joinTxn(p, at); err != nil {
		return 0, err
	}
	by := &record.Producer{ID: p.pid, Epoch: p.epoch, Sequence: p.next[at]}
	p.next[at]++
	req := produceRequest(at, -1, rowOf(record.Options{Producer: by, Transactional: true}, key, value))
	req.TransactionID = &p.id
	if p.modern {
		req.SetVersion(12)
	}
	err = eventually(func() error {
		r, err := ask[*kmsg.ProduceResponse](c, req)
		if err == nil {
			base, err = producedAt(r)
		}
		return err
	})
	return base, err
}

// rowOf is a batch of one record; an empty value is a tombstone.
func rowOf(o record.Options, key, value string) []byte {
	b := record.NewBuilder(o)
	content := []byte(value)
	if value == "" {
		content = nil
	}
	b.Append(time.Now().UnixMilli(), []byte(key), content, nil)
	return b.Build()
}

// commitIn commits an offset of a group in the transaction.
func (c *wireClient) commitIn(p *txnProducer, group string, at tp, offset int64) error {
	version := int16(5)
	if !p.modern {
		version = 3
		err := eventually(func() error {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.SetVersion(3)
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.pid, p.epoch, group
			r, err := ask[*kmsg.AddOffsetsToTxnResponse](c, req)
			if err != nil {
				return err
			}
			return refused("add offsets to "+p.id, r.ErrorCode)
		})
		if err != nil {
			return err
		}
	}
	return eventually(func() error {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.SetVersion(version)
		req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = p.id, group, p.pid, p.epoch, -1
		part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset = at.index, offset
		req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: at.topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{part}}}
		r, err := ask[*kmsg.TxnOffsetCommitResponse](c, req)
		if err != nil {
			return err
		}
		return refused("commit in "+p.id, r.Topics[0].Partitions[0].ErrorCode)
	})
}

// endTxn commits or aborts.
func (c *wireClient) endTxn(p *txnProducer, commit bool) error {
	return eventually(func() error {
		req := kmsg.NewPtrEndTxnRequest()
		req.SetVersion(3)
		if p.modern {
			req.SetVersion(5)
		}
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, p.pid, p.epoch, commit
		r, err := ask[*kmsg.EndTxnResponse](c, req)
		if err != nil {
			return err
		}
		if p.modern && r.ErrorCode == 0 {
			p.is(r.ProducerID, r.ProducerEpoch)
		}
		p.joined = map[tp]bool{}
		return refused("end "+p.id, r.ErrorCode)
	})
}

// row is a record with its key.
type row struct {
	offset     int64
	key, value string
}

// fetchCommitted returns what one answer holds for a reader of committed records, and
// where it goes on.
func (c *wireClient) fetchCommitted(p tp, from int64) (rows []row, next int64, err error) {
	answer, err := c.fetchAnswer(p, from, 1)
	if err != nil {
		return nil, from, err
	}
	pending := slices.Clone(answer.AbortedTransactions)
	slices.SortFunc(pending, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return int(a.FirstOffset - b.FirstOffset)
	})
	aborted := map[int64]bool{}
	next = from
	for rest := answer.RecordBatches; len(rest) > 0; {
		b, tail, err := record.Split(rest)
		if err != nil {
			break // cut off by the limit
		}
		for len(pending) > 0 && pending[0].FirstOffset <= b.LastOffset() {
			aborted[pending[0].ProducerID] = true
			pending = pending[1:]
		}
		rest, next = tail, b.NextOffset()
		if b.IsControl() {
			delete(aborted, b.ProducerID())
			continue
		}
		if b.IsTransactional() && aborted[b.ProducerID()] {
			continue
		}
		for r, err := range b.Records(1 << 20) {
			if err != nil {
				return nil, from, err
			}
			if r.Offset >= from {
				rows = append(rows, row{r.Offset, string(r.Key), string(r.Value)})
			}
		}
	}
	return rows, next, nil
}
