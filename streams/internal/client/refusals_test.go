package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

func TestRefusalsOfOneRecord(t *testing.T) {
	for _, test := range []struct {
		err error
		ok  bool
	}{
		{kerr.MessageTooLarge, true},
		{kerr.InvalidRecord, true},
		{kerr.TopicAuthorizationFailed, true},
		{kerr.UnknownTopicOrPartition, true},
		{kerr.NotLeaderForPartition, false},
		{kerr.InvalidProducerEpoch, false},
		{errors.New("connection refused"), false},
		{nil, false},
	} {
		refused, ok := asRefusal("out", test.err)
		if ok != test.ok {
			t.Errorf("%v: a refusal %v", test.err, ok)
			continue
		}
		coded := (interface{ KafkaCode() int16 })(nil)
		if ok && (!errors.Is(refused, runtime.ErrRefused) || !errors.Is(refused, test.err) || !errors.As(refused, &coded) || !errors.Is(kerr.ErrorForCode(coded.KafkaCode()), test.err)) {
			t.Errorf("%v became %v", test.err, refused)
		}
	}
}

// A record of a batch that was refused makes the unit be made again, with its
// topic's records one by one.
func TestRefusedBatchNamesNoRecord(t *testing.T) {
	s := &sender{refused: &refusals{}}
	s.done(&kgo.Record{Topic: "out"}, fmt.Errorf("batch: %w", kerr.MessageTooLarge))
	s.done(&kgo.Record{Topic: "other"}, kerr.NotLeaderForPartition)
	if err := s.failed(); !errors.Is(err, runtime.ErrRetry) || errors.Is(err, runtime.ErrRefused) || !strings.Contains(err.Error(), "out") {
		t.Errorf("failed with %v", err)
	}
	if !s.refused.has("out") || s.refused.has("other") {
		t.Error("the wrong topics are suspected")
	}
	s.refused.forget()
	if s.refused.has("out") {
		t.Error("suspected after a commit")
	}
}

// offline is a sender that reaches no broker.
func offline(t *testing.T, opts ...kgo.Opt) *sender {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cl, err := kgo.NewClient(append(opts, kgo.WithContext(ctx), kgo.SeedBrokers("127.0.0.1:1"), kgo.RecordDeliveryTimeout(time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cl.Close() })
	return newSender(cl, nil, &refusals{})
}

func TestLargerThanABatchIsRefusedAtOnce(t *testing.T) {
	s := offline(t, kgo.ProducerBatchMaxBytes(2000))
	err := s.send(&runtime.Outgoing{Topic: "out", Partition: 0, Key: make([]byte, 500), Headers: []runtime.Header{{Key: "h", Value: make([]byte, 1500)}}})
	if !errors.Is(err, runtime.ErrRefused) || !errors.Is(err, kerr.MessageTooLarge) || !strings.Contains(err.Error(), "2001 bytes") {
		t.Errorf("got %v", err)
	}
	if err := s.failed(); err != nil {
		t.Errorf("the unit fails with %v", err)
	}
}
