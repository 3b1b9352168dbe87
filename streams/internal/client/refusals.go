package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// refusals are the topics of which the broker refused records since the last
// commit. A batch is refused whole, and the client gives up what waits behind it:
// only a record that is sent alone tells whether it is the one. So the unit is
// made again, with the records to these topics one by one.
type refusals struct {
	mu     sync.Mutex
	topics map[string]bool
}

func (f *refusals) add(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.topics == nil {
		f.topics = map[string]bool{}
	}
	f.topics[topic] = true
}

func (f *refusals) has(topic string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topics[topic]
}

func (f *refusals) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.topics)
}

// refusal is an answer that a record gets again however often it is sent.
type refusal struct {
	error
	code int16
}

// KafkaCode returns the error code of the protocol.
func (r refusal) KafkaCode() int16 { return r.code }

// Unwrap returns the answer.
func (r refusal) Unwrap() error { return r.error }

// asRefusal wraps the refusal of a record; any other error is not ok.
func asRefusal(topic string, err error) (refused error, ok bool) {
	for _, final := range []*kerr.Error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.InvalidTopicException,
		kerr.UnknownTopicOrPartition, kerr.TopicAuthorizationFailed, kerr.PolicyViolation, kerr.UnsupportedForMessageFormat,
	} {
		if errors.Is(err, final) {
			return fmt.Errorf("%w by %s: %w", runtime.ErrRefused, topic, refusal{err, final.Code}), true
		}
	}
	return nil, false
}

// alone sends a record by itself and waits for its answer.
func (s *sender) alone(ctx context.Context, r *kgo.Record, done func(*kgo.Record, error)) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	answer := make(chan error, 1)
	s.cl.Produce(ctx, r, func(r *kgo.Record, err error) {
		refused, ok := asRefusal(r.Topic, err)
		if !ok {
			done(r, err)
		}
		answer <- refused
	})
	if refused := <-answer; refused != nil {
		return refused
	}
	return s.failed()
}
