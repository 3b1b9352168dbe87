package partition

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/record"
)

// What a partition keeps for verifications: batches and bytes that wait for one answer, and failed
// verifications whose first sequence is remembered.
const (
	maxHeldBatches = 64
	maxHeldBytes   = 64 << 20
	maxFailed      = 10_000
)

// author is a producer in one epoch.
type author struct {
	id    int64
	epoch int16
}

// Verification is the question to a transaction's coordinator whether this partition is part of the
// transaction (KIP-890), and the batches that wait for the answer. Whoever got it asks, and gives the
// answer exactly once.
type Verification struct {
	ProducerID    int64
	ProducerEpoch int16

	partition *Partition // whose mutex guards what follows
	asking    bool
	void      bool  // a marker came since, so the answer is about a transaction that has ended
	lowest    int32 // sequence of the first batch; nothing may be appended before it
	held      []heldAppend
	bytes     int
}

// heldAppend is a checked batch, in bytes of its own.
type heldAppend struct {
	batch   record.Batch
	request AppendRequest
	done    Completion
}

// AppendVerified is Append for what a client produces. The first batch of a transaction on this
// partition is copied and waits, and whatever its producer sends after it waits behind it; the caller
// that sent the first gets the Verification to ask about. Nothing else waits or costs anything.
func (p *Partition) AppendVerified(buf []byte, r AppendRequest, done Completion) *Verification {
	if len(buf) < record.HeaderSize || !record.Batch(buf).IsTransactional() {
		p.Append(buf, r, done)
		return nil
	}
	now := p.env.Clock.Now()
	c := p.config.Load()
	b, no := p.validate(buf, r, c, now)
	if no != nil {
		p.refused(r, done, p.nothing(no), no.err)
		return nil
	}
	p.mu.Lock()
	v, err := p.toVerify(b, r, c)
	if err == nil && v != nil {
		err = v.hold(b, r, done)
	}
	switch {
	case err != nil:
		p.mu.Unlock()
		p.refused(r, done, p.nothing(&refusal{}), err)
		return nil
	case v == nil:
		p.appendAndUnlock(b, r, c, now, done)
		return nil
	}
	first := !v.asking
	v.asking = true
	p.mu.Unlock()
	if !first {
		return nil
	}
	return v
}

// toVerify returns the verification that a batch has to wait for, or nil when it can be appended or
// refused at once. The caller holds the mutex.
func (p *Partition) toVerify(b record.Batch, r AppendRequest, c *Config) (*Verification, error) {
	by := author{b.ProducerID(), b.ProducerEpoch()}
	v := p.verifying[by]
	if v != nil && v.asking {
		return v, nil
	}
	if p.producers.InTransaction(by.id, by.epoch) {
		return nil, nil
	}
	if err := p.mayAppend(r, c); err != nil {
		return nil, err
	}
	if _, repeated, err := p.checkProducers(b, r); repeated || err != nil {
		return nil, err
	}
	if v != nil { // it failed before
		if b.BaseSequence() > v.lowest {
			return nil, kerr.OutOfOrderSequenceNumber
		}
		v.lowest = b.BaseSequence()
		return v, nil
	}
	v = &Verification{ProducerID: by.id, ProducerEpoch: by.epoch, partition: p, lowest: b.BaseSequence()}
	if p.verifying == nil {
		p.verifying = make(map[author]*Verification)
	}
	p.verifying[by] = v
	return v, nil
}

// hold keeps a batch until the answer. Clients have a few in flight; a flood is told to come again.
func (v *Verification) hold(b record.Batch, r AppendRequest, done Completion) error {
	if len(v.held) == maxHeldBatches || len(v.held) > 0 && v.bytes+len(b) > maxHeldBytes {
		return kerr.NotEnoughReplicas
	}
	v.held = append(v.held, heldAppend{batch: slices.Clone(b), request: r, done: done})
	v.bytes += len(b)
	return nil
}

// Answer appends the batches that waited, in their order, or completes all of them with the error.
func (v *Verification) Answer(err error) {
	p := v.partition
	now := p.env.Clock.Now()
	c := p.config.Load()
	p.mu.Lock()
	if err == nil && v.void {
		err = kerr.InvalidTxnState
	}
	var over []waiter
	for _, h := range v.held {
		w, wait := waiter{token: h.request.Token, result: p.nothing(&refusal{}), err: err}, false
		if err == nil {
			w, wait = p.appendLocked(h.batch, h.request, c, now)
			if w.err != nil && !p.producers.InTransaction(v.ProducerID, v.ProducerEpoch) {
				err = w.err // what comes behind it would leave a gap
			}
		}
		w.done = h.done
		if wait {
			p.queue.push(w)
			p.arm(w.deadline)
			continue
		}
		over = append(over, w)
	}
	v.held, v.bytes, v.asking = nil, 0, false
	by := author{v.ProducerID, v.ProducerEpoch}
	if again := err != nil && retriable(err) && len(p.verifying) <= maxFailed; !again && p.verifying[by] == v {
		delete(p.verifying, by)
	}
	p.mu.Unlock()
	for _, w := range over {
		if w.err != nil {
			p.meter.Refused()
		}
		w.done.Appended(w.token, w.result, w.err)
	}
	p.settle()
}

func retriable(err error) bool {
	e, ok := errors.AsType[*kerr.Error](err)
	return ok && e.Retriable
}

// ended makes the answers void that are under way for the transactions that markers end; those of older
// epochs are refused anyway. A bumped marker has the epoch of the next transaction, whose first batch
// may be waiting here already. The caller holds the mutex.
func (p *Partition) ended(batches record.Batch, bumped bool) {
	if len(p.verifying) == 0 {
		return
	}
	for rest := []byte(batches); len(rest) > 0; {
		var b record.Batch
		b, rest, _ = record.Split(rest) // was split before
		by := author{b.ProducerID(), b.ProducerEpoch()}
		if bumped {
			by.epoch--
		}
		if v := p.verifying[by]; v != nil && b.IsControl() {
			v.void = true
			delete(p.verifying, by)
		}
	}
}

// forgetFailed forgets the verifications that failed and were not tried again. The caller holds the
// mutex.
func (p *Partition) forgetFailed() {
	for by, v := range p.verifying {
		if !v.asking {
			delete(p.verifying, by)
		}
	}
}
