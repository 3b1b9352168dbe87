package client

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// sender sends records over one client, and knows what became of them.
type sender struct {
	cl       *kgo.Client
	tracked  map[string]bool // topics whose acknowledged offsets count
	failure  atomic.Pointer[error]
	acks     map[runtime.TP]*ack
	slab     slab
	rotation uint32
	refused  *refusals // outlive the sender
	largest  int       // bytes of a record that a batch may have
}

func newSender(cl *kgo.Client, tracked map[string]bool, refused *refusals) *sender {
	s := &sender{cl: cl, tracked: tracked, acks: map[runtime.TP]*ack{}, refused: refused}
	if most, ok := cl.OptValue(kgo.ProducerBatchMaxBytes).(int32); ok {
		s.largest = int(most)
	}
	return s
}

// ack follows what is acknowledged of one partition of a changelog.
type ack struct {
	last atomic.Int64 // offset; -1 for none since the last look
	done func(*kgo.Record, error)
}

// run is how many records without a key go to one partition before the next one
// has its turn: enough for a batch.
const run = 128

// Send implements runtime.Collector.
func (w *Worker) Send(o *runtime.Outgoing) error {
	s, err := w.sending()
	if err == nil {
		err = s.failed()
	}
	if err != nil {
		return err
	}
	return s.send(o)
}

func (s *sender) send(o *runtime.Outgoing) error {
	if n := size(o); s.largest > 0 && n > s.largest {
		refused, _ := asRefusal(o.Topic, fmt.Errorf("%w: %d bytes where a batch has at most %d", kerr.MessageTooLarge, n, s.largest))
		return refused
	}
	r := s.slab.record(o)
	r.Partition = o.Partition
	if o.Partition < 0 {
		r.Partition = -1
		r.Offset = int64(s.spread(o))
		if o.Choose != nil {
			r.Context = context.WithValue(s.cl.Context(), choiceKey{}, &choice{f: o.Choose})
		}
	}
	done := s.done
	if s.tracked[o.Topic] {
		done = s.ack(runtime.TP{Topic: o.Topic, Partition: o.Partition}).done
	}
	if s.refused.has(o.Topic) {
		return s.alone(s.cl.Context(), r, done)
	}
	s.cl.Produce(s.cl.Context(), r, done)
	return nil
}

// size returns the bytes of a record without what frames it.
func size(o *runtime.Outgoing) int {
	n := len(o.Key) + len(o.Value)
	for i := range o.Headers {
		n += len(o.Headers[i].Key) + len(o.Headers[i].Value)
	}
	return n
}

// spread returns the number whose remainder is the partition of a record.
func (s *sender) spread(o *runtime.Outgoing) uint32 {
	switch {
	case o.PartitionKey != nil:
		return runtime.Hash(o.PartitionKey)
	case o.Key != nil:
		return runtime.Hash(o.Key)
	default:
		s.rotation++
		return s.rotation / run
	}
}

// partitioner reads what send decided: the partition, or a number to divide,
// which waits in the offset that the broker has yet to assign, unless the user
// chooses.
func partitioner(string) func(*kgo.Record, int) int {
	return func(r *kgo.Record, n int) int {
		if r.Partition >= 0 {
			return int(r.Partition)
		}
		if c := chosen(r); c != nil {
			if p := c.choose(r.Topic, n); p >= 0 || c.err != nil {
				return p
			}
		}
		return int(r.Offset % int64(n))
	}
}

// choice is the choice of a partition by the user, on its way with a record.
type choice struct {
	f   func(partitions int32) int32
	err error // why there is none, for whoever sees the record fail
}

type choiceKey struct{}

func chosen(r *kgo.Record) *choice {
	if r.Context == nil {
		return nil
	}
	c, _ := r.Context.Value(choiceKey{}).(*choice)
	return c
}

// choose returns the partition, and a negative number for none.
func (c *choice) choose(topic string, n int) (partition int) {
	defer func() {
		if p := recover(); p != nil {
			partition, c.err = -1, fmt.Errorf("choose a partition of %s: panic: %v\n%s", topic, p, debug.Stack())
		}
	}()
	partition = int(c.f(int32(n)))
	if partition >= n {
		c.err = fmt.Errorf("choose a partition of %s: %d is chosen, there are %d", topic, partition, n)
		return -1
	}
	return partition
}

func (s *sender) ack(tp runtime.TP) *ack {
	a := s.acks[tp]
	if a == nil {
		a = &ack{}
		a.last.Store(-1)
		a.done = func(r *kgo.Record, err error) {
			if err == nil {
				a.last.Store(r.Offset)
			}
			s.done(r, err)
		}
		s.acks[tp] = a
	}
	return a
}

// done notes the first failure. The client calls it from one goroutine.
func (s *sender) done(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	if c := chosen(r); c != nil && c.err != nil {
		err = c.err // the record would fail again
	} else if _, ok := asRefusal(r.Topic, err); ok {
		s.refused.add(r.Topic)
		err = fmt.Errorf("%w: a record to %s was refused, which one shows when they go one by one: %w", runtime.ErrRetry, r.Topic, err)
	} else {
		err = classify(fmt.Errorf("send to %s: %w", r.Topic, err))
	}
	s.failure.CompareAndSwap(nil, &err)
}

func (s *sender) failed() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// flush waits until everything that was sent is acknowledged.
func (s *sender) flush(ctx context.Context) error {
	if err := s.cl.Flush(ctx); err != nil {
		return classify(fmt.Errorf("flush: %w", err))
	}
	return s.failed()
}

// drop forgets what is not sent yet, waits for the rest, and forgets failures.
func (s *sender) drop(ctx context.Context) error {
	err := s.cl.AbortBufferedRecords(ctx)
	s.failure.Store(nil)
	for _, a := range s.acks {
		a.last.Store(-1)
	}
	if err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

// Acked implements runtime.Log.
func (w *Worker) Acked(tp runtime.TP) (int64, bool) {
	if w.sender == nil {
		return 0, false
	}
	a := w.sender.acks[tp]
	if a == nil {
		return 0, false
	}
	last := a.last.Swap(-1)
	return last, last >= 0
}

// slab makes records and copies of bytes in blocks, so that sending allocates
// once for many records.
type slab struct {
	records []kgo.Record
	bytes   []byte
}

const (
	slabRecords = 128
	slabBytes   = 32 << 10
)

// record copies what is to be sent.
func (s *slab) record(o *runtime.Outgoing) *kgo.Record {
	if len(s.records) == 0 {
		s.records = make([]kgo.Record, slabRecords)
	}
	r := &s.records[0]
	s.records = s.records[1:]
	r.Topic, r.Key, r.Value = o.Topic, s.clone(o.Key), s.clone(o.Value)
	r.Timestamp = time.UnixMilli(o.Timestamp)
	if len(o.Headers) > 0 {
		r.Headers = make([]kgo.RecordHeader, len(o.Headers))
		for i, h := range o.Headers {
			r.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: s.clone(h.Value)}
		}
	}
	return r
}

func (s *slab) clone(b []byte) []byte {
	switch {
	case b == nil:
		return nil
	case len(b) > slabBytes/8:
		return append(make([]byte, 0, len(b)), b...)
	case len(b) > cap(s.bytes)-len(s.bytes):
		s.bytes = make([]byte, 0, slabBytes)
	}
	from := len(s.bytes)
	s.bytes = append(s.bytes, b...)
	return s.bytes[from:len(s.bytes):len(s.bytes)]
}
