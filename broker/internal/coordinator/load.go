package coordinator

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
)

const (
	loadChunk        = 1 << 20   // bytes read from the log at a time
	maxInflatedBatch = 128 << 20 // bytes that one batch of the log may decompress to
)

// queueLoad asks a loader to load the shard, once.
func (s *shard) queueLoad() {
	if !s.queued {
		s.queued = true
		s.runtime.loads <- s
	}
}

// retryLoad asks for a load after a while.
func (s *shard) retryLoad() {
	term := s.term
	s.runtime.options.Env.Clock.AfterFunc(s.runtime.options.ReloadDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.term == term && s.state == loading {
			s.queueLoad()
		}
	})
}

// load reads the log into an empty machine and puts that to work, unless the shard was hosted anew
// meanwhile. A load that fails is tried again until the shard is unloaded.
func (s *shard) load(ctx context.Context) {
	s.mu.Lock()
	s.queued = false
	term, epoch, log, wanted := s.term, s.epoch, s.log, s.state == loading
	s.mu.Unlock()
	if !wanted {
		return
	}
	clock := s.runtime.options.Env.Clock
	begin := clock.Now()
	m, err := s.replay(ctx, epoch, log)

	s.mu.Lock()
	if s.term != term || ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	var out outbox
	if err != nil {
		s.logger().Warn("coordinator load failed", slog.Any("err", err))
		s.retryLoad()
	} else {
		s.start(m, &out)
	}
	s.mu.Unlock()
	s.run(out)
	if observe := s.runtime.options.Observe; observe != nil && err == nil {
		observe(s.partition, clock.Now().Sub(begin))
	}
}

// start puts a loaded machine to work.
func (s *shard) start(m machine.Machine, out *outbox) {
	s.machine, s.state = m, active
	s.decide(machine.Input{Event: machine.Loaded{}}, out)
	for _, event := range s.later {
		s.decide(machine.Input{Event: event}, out)
	}
	s.later = nil
}

// replay reads the log up to where it ends now. All of it counts as committed: the log of a leader
// that keeps leading is never cut.
func (s *shard) replay(ctx context.Context, epoch int32, log Log) (machine.Machine, error) {
	m := s.runtime.options.Machine(s.partition, epoch)
	end := log.EndOffset()
	for at := log.StartOffset(); at < end; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		chunk, next, err := log.Read(at, loadChunk)
		if err != nil {
			return nil, err
		}
		if next <= at {
			return nil, fmt.Errorf("log ends at offset %d, before %d", at, end)
		}
		at = next
		for len(chunk) > 0 {
			var b record.Batch
			if b, chunk, err = record.Split(chunk); err != nil {
				return nil, err
			}
			if err := s.replayBatch(m, b); err != nil {
				return nil, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
			}
		}
	}
	return m, nil
}

func (s *shard) replayBatch(m machine.Machine, b record.Batch) error {
	if b.IsControl() {
		return s.replayControl(m, b)
	}
	var txn *machine.Txn
	if b.IsTransactional() {
		txn = &machine.Txn{ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch()}
	}
	count := 0
	for r, err := range b.Records(maxInflatedBatch) {
		if err != nil {
			return err
		}
		if err := m.Replay(machine.Record{Key: r.Key, Value: r.Value, Txn: txn}); err != nil {
			s.logger().Warn("coordinator record skipped", slog.Int64("offset", r.Offset), slog.Any("err", err))
		}
		count++
	}
	m.Commit(count)
	return nil
}

func (s *shard) replayControl(m machine.Machine, b record.Batch) error {
	if b.Count() == 0 {
		return nil // Kafka's compaction leaves these of a transaction that is all gone
	}
	c, err := b.Control()
	if err != nil {
		return err
	}
	if !c.IsEndTxn() {
		return nil
	}
	m.ReplayMarker(machine.Marker{
		ProducerID:       b.ProducerID(),
		ProducerEpoch:    b.ProducerEpoch(),
		CoordinatorEpoch: c.CoordinatorEpoch,
		Commit:           c.Type == record.Commit,
	})
	m.Commit(1)
	return nil
}
