package data

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/txn"
	"github.com/weirstream/weir/broker/internal/wire"
)

// leastProduce is the first Produce version that is served. Versions before it are
// advertised all the same, because librdkafka compresses only where it sees
// version 0, and close the connection when they are used, as in Kafka (KAFKA-18659).
const leastProduce = 3

// Produce answers Produce (0): it appends record batches to the partitions they
// are for and answers once they are as safe as acks asks for. Every partition has
// its own error. With acks=0 there is no answer; an error closes the connection.
//
// Versions: 3 transactional id; 5 log start offset; 8 record errors (KIP-467);
// 9 flexible; 10 leader hints (KIP-951); 11 TRANSACTION_ABORTABLE and 12 partitions
// that join the transaction by being produced to (KIP-890); 13 topic ids (KIP-516).
func Produce(d Deps) route.Route {
	var ops sync.Pool
	return route.NewRaw[*kmsg.ProduceRequest](0, 13, func(_ context.Context, s *route.Session, version int16, body []byte) (route.Response, *route.Pending, error) {
		if version < leastProduce {
			return nil, nil, fmt.Errorf("%w: version %d is advertised and not served", wire.ErrMalformed, version)
		}
		op, ok := ops.Get().(*produce)
		if !ok {
			op = &produce{deps: &d, pool: &ops}
		}
		op.version, op.session, op.image = version, s, d.Image()
		if err := op.read(body); err != nil {
			op.recycle()
			return nil, nil, err
		}
		op.throttle = route.ThrottleMillis(d.Quota, s, route.ProduceBytes, float64(len(body)))
		pending := op.append()
		if op.acks != 0 {
			return op, pending, nil
		}
		if pending != nil {
			return nil, nil, nil // a transaction's coordinator is asked; what it says is nobody's to know
		}
		err := op.failed()
		op.recycle()
		if err != nil {
			return nil, nil, fmt.Errorf("%w: acks=0: %w", route.ErrClose, err)
		}
		return nil, nil, nil
	})
}

// produce is one request and its answer.
type produce struct {
	deps     *Deps
	pool     *sync.Pool
	session  *route.Session
	version  int16
	acks     int16
	timeout  time.Duration
	txn      []byte // transactional id, valid while the request is read; nil is none
	throttle int32
	topics   []produceTopic
	parts    []producePart
	image    *metadata.Image
	left     atomic.Int32 // partitions without an outcome, and one for append itself
	pending  route.Pending
}

type produceTopic struct {
	topicRef
	first, end int // of parts
}

type producePart struct {
	topic   int
	index   int32
	records []byte // valid until append returns
	result  partition.AppendResult
	err     error
}

// The fewest bytes of a topic and of a partition in a request.
const (
	leastTopic = 3
	leastPart  = 5
)

// read reads the request; its records stay where they are.
func (o *produce) read(body []byte) error {
	r := wire.NewReader(body, o.flexible())
	o.txn = nil
	if txn, ok := r.NullString(); ok {
		o.txn = txn
	}
	o.acks = r.Int16()
	o.timeout = time.Duration(r.Int32()) * time.Millisecond
	for range r.ArrayLen(leastTopic) {
		t := produceTopic{topicRef: readTopic(&r, o.version, o.image), first: len(o.parts)}
		for range r.ArrayLen(leastPart) {
			o.parts = append(o.parts, producePart{topic: len(o.topics), index: r.Int32(), records: r.Bytes()})
			r.Tags(nil)
			if !r.Ok() {
				return r.Err()
			}
		}
		r.Tags(nil)
		t.end = len(o.parts)
		o.topics = append(o.topics, t)
		if len(o.topics)+len(o.parts) > maxPartitions {
			r.Fail("it has too many partitions")
		}
		if !r.Ok() {
			return r.Err()
		}
	}
	r.Tags(nil)
	return r.Done()
}

func (o *produce) flexible() bool { return o.version >= 9 }

// append hands every partition its batch. It returns nil when all of them have an outcome already.
func (o *produce) append() *route.Pending {
	o.left.Store(int32(len(o.parts)) + 1)
	request := partition.AppendRequest{Acks: o.acks, Timeout: o.timeout, CurrentEpoch: -1, ProduceVersion: o.version}
	refused := o.refusal()
	var unsure []asked
	for i := range o.topics {
		t := &o.topics[i]
		o.deps.resolve(o.image, o.session, route.Write, &t.topicRef, o.version)
		if t.err == nil {
			t.err = refused
		}
		if t.err == nil && t.meta.Internal {
			t.err = kerr.InvalidTopicException
		}
		for j := t.first; j < t.end; j++ {
			part := &o.parts[j]
			p, err := o.deps.find(&t.topicRef, part.index)
			if err != nil {
				o.Appended(j, partition.AppendResult{BaseOffset: -1, LogAppendTime: -1, LogStart: -1}, err)
				continue
			}
			request.Token = j
			if v := p.AppendVerified(part.records, request, o); v != nil {
				unsure = append(unsure, asked{txn.TopicPartition{Topic: t.name, Partition: part.index}, v})
			}
			part.records = nil
		}
	}
	if len(unsure) > 0 {
		o.deps.verify(string(o.txn), o.version, unsure)
	}
	if o.left.Load() == 1 {
		return nil
	}
	if o.left.Add(-1) == 0 {
		return nil
	}
	return &o.pending
}

// refusal is why the request appends nothing at all, beyond its topics.
func (o *produce) refusal() error {
	switch {
	case o.acks != partition.AcksAll && o.acks != partition.AcksLeader && o.acks != partition.AcksNone:
		return kerr.InvalidRequiredAcks
	case !o.transactional():
		return nil
	case o.txn == nil, !o.deps.Authorizer.Authorize(o.session, route.Write, route.TransactionalID, string(o.txn)):
		return kerr.TransactionalIDAuthorizationFailed
	}
	return nil
}

// Appended takes the outcome of one partition.
func (o *produce) Appended(token int, r partition.AppendResult, err error) {
	o.parts[token].result, o.parts[token].err = r, err
	if o.left.Add(-1) == 0 {
		o.pending.Complete()
	}
}

// failed returns the first error of any partition.
func (o *produce) failed() error {
	for i := range o.parts {
		if err := o.parts[i].err; err != nil {
			return err
		}
	}
	return nil
}

// recycle gives the request back for the next one.
func (o *produce) recycle() {
	clear(o.topics)
	clear(o.parts)
	o.topics, o.parts = o.topics[:0], o.parts[:0]
	o.session, o.txn, o.image = nil, nil, nil
	o.pending.Reset()
	o.pool.Put(o)
}
