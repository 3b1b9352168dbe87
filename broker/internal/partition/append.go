package partition

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
)

// What a producer waits for, as Produce spells it.
const (
	AcksNone   int16 = 0
	AcksLeader int16 = 1
	AcksAll    int16 = -1
)

// AppendRequest says how bytes are to be appended.
type AppendRequest struct {
	Acks           int16
	Timeout        time.Duration // how long acks=all may take
	Internal       bool          // the broker's own batches: several at once, control batches, no timestamp rules
	Bumped         bool          // markers carry an epoch later than that of the transaction (KIP-890)
	CurrentEpoch   int32         // the leader epoch the caller believes in; -1 for any
	ProduceVersion int16
	Token          int // handed back to the Completion
}

// AppendResult is what an append is answered with.
type AppendResult struct {
	BaseOffset    int64 // -1 when nothing was appended
	LogAppendTime int64 // milliseconds; -1 under create time
	LogStart      int64
	RecordErrors  []RecordError
	Message       string
}

// Completion receives the outcome of an append, exactly once. A *kerr.Error tells of a rule,
// other errors wrap a sentinel of commitlog. After REQUEST_TIMED_OUT, NOT_LEADER_OR_FOLLOWER or a
// storage error the data may be in the log all the same. Appended must not block, and may call
// the partition.
type Completion interface {
	Appended(token int, r AppendResult, err error)
}

// Append checks the bytes, appends them and completes: before it returns with acks 0 and 1, and
// whenever they are refused; with acks=all once the high watermark has passed them, or with
// REQUEST_TIMED_OUT when that takes too long. The call itself never waits for a disk to sync.
// Appends happen in the order of the calls, and so do the completions of acks=all. The bytes are
// stamped in place and must stay untouched until Append returns.
//
// A batch that an idempotent producer repeats is not appended again; it completes like the
// original, so with acks=all it waits until the original is durable.
func (p *Partition) Append(buf []byte, r AppendRequest, done Completion) {
	now := p.env.Clock.Now()
	c := p.config.Load()
	b := record.Batch(buf)
	if !r.Internal {
		var no *refusal
		if b, no = p.validate(buf, r, c, now); no != nil {
			p.refused(r, done, p.nothing(no), no.err)
			return
		}
	}
	p.mu.Lock()
	p.appendAndUnlock(b, r, c, now, done)
}

// refused completes an append that was refused before it was ordered.
func (p *Partition) refused(r AppendRequest, done Completion, result AppendResult, err error) {
	p.meter.Refused()
	done.Appended(r.Token, result, err)
}

// appendAndUnlock appends a checked batch under the mutex, releases it, and completes.
func (p *Partition) appendAndUnlock(b record.Batch, r AppendRequest, c *Config, now time.Time, done Completion) {
	w, wait := p.appendLocked(b, r, c, now)
	if wait {
		w.done = done
		p.queue.push(w)
		p.arm(w.deadline)
	}
	p.mu.Unlock()
	if !wait {
		if w.err != nil {
			p.meter.Refused()
		}
		done.Appended(r.Token, w.result, w.err)
	}
	p.settle()
}

// nothing is the result of an append that was refused.
func (p *Partition) nothing(no *refusal) AppendResult {
	return AppendResult{
		BaseOffset: -1, LogAppendTime: record.NoTimestamp, LogStart: p.log.StartOffset(),
		RecordErrors: no.records, Message: no.message,
	}
}

// appendLocked appends a checked batch and reports whether its answer has to wait.
func (p *Partition) appendLocked(b record.Batch, r AppendRequest, c *Config, now time.Time) (w waiter, wait bool) {
	w = waiter{token: r.Token, result: p.nothing(&refusal{})}
	if w.err = p.mayAppend(r, c); w.err != nil {
		return w, false
	}
	dup, repeated, err := p.checkProducers(b, r)
	if err != nil {
		w.err = err
		return w, false
	}
	first, last := dup.First, dup.Last
	if !repeated {
		epoch, _ := p.leadership()
		appendTo := p.log.Append
		if r.Acks == AcksAll && !r.Internal {
			appendTo = p.log.AppendForSync
		}
		if first, last, w.err = appendTo(b, epoch); w.err != nil {
			return w, false
		}
		if r.Internal {
			p.ended(b, r.Bumped)
			p.indexAborted()
		}
		p.advance(p.durableEnd())
		p.meter.Appended(len(b), int(last-first+1))
	}
	w.result.BaseOffset = first
	if c.LogAppendTime && !r.Internal {
		w.result.LogAppendTime = b.MaxTimestamp()
		if repeated {
			w.result.LogAppendTime = dup.Timestamp
		}
	}
	w.need, w.deadline = last+1, now.Add(r.Timeout)
	early := p.faults.AnswerBeforeSync || p.faults.MarkerBeforeSync && r.Internal
	return w, r.Acks == AcksAll && p.hw.Load() < w.need && !early
}

// mayAppend decides what does not depend on the batch. The caller holds the mutex.
func (p *Partition) mayAppend(r AppendRequest, c *Config) error {
	epoch, leader := p.leadership()
	switch {
	case p.closed != nil:
		return p.closed
	case p.failed != nil:
		return p.failed // a repeated batch could wait for a sync that never comes
	case r.Acks != AcksAll && r.Acks != AcksLeader && r.Acks != AcksNone:
		return kerr.InvalidRequiredAcks
	case r.CurrentEpoch >= 0 && r.CurrentEpoch < epoch:
		return kerr.FencedLeaderEpoch
	case r.CurrentEpoch > epoch:
		return kerr.UnknownLeaderEpoch
	case !leader:
		return kerr.NotLeaderForPartition
	case r.Acks == AcksAll && c.MinISR > 1:
		return kerr.NotEnoughReplicas // this replica is the only one
	}
	return nil
}

// checkProducers asks the producer state about every batch; several arrive only from the broker.
func (p *Partition) checkProducers(b record.Batch, r AppendRequest) (producer.Duplicate, bool, error) {
	if !r.Internal {
		return p.producers.Check(b, producer.Client)
	}
	for rest := []byte(b); len(rest) > 0; {
		var one record.Batch
		var err error
		if one, rest, err = record.Split(rest); err != nil {
			return producer.Duplicate{}, false, kerr.InvalidRecord
		}
		if _, _, err = p.producers.Check(one, coordinated(r.Bumped)); err != nil {
			return producer.Duplicate{}, false, err
		}
	}
	return producer.Duplicate{}, false, nil
}

// Check tells whether a batch or marker of a coordinator would be appended now, as far as its producer
// is concerned; bumped as in AppendRequest. The error is one that Append would answer.
func (p *Partition) Check(b record.Batch, bumped bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _, err := p.producers.Check(b, coordinated(bumped))
	return err
}

func coordinated(bumped bool) producer.Origin {
	if bumped {
		return producer.Bumped
	}
	return producer.Coordinator
}

// arm sees to it that the timer fires no later than at the deadline. The caller holds the mutex.
func (p *Partition) arm(deadline time.Time) {
	if !p.timerAt.IsZero() && !deadline.Before(p.timerAt) {
		return
	}
	p.timerAt = deadline
	in := deadline.Sub(p.env.Clock.Now())
	if p.timer == nil {
		p.timer = p.env.Clock.AfterFunc(in, p.expire)
		return
	}
	p.timer.Reset(in)
}

// expire answers the appends that have waited long enough.
func (p *Partition) expire() {
	p.mu.Lock()
	p.timerAt = time.Time{}
	if next, any := p.queue.expire(p.env.Clock.Now()); any && p.closed == nil {
		p.arm(next)
	}
	p.mu.Unlock()
	p.settle()
}
