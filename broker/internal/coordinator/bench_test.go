package coordinator_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// sink is a log that commits at once and keeps nothing.
type sink struct{}

func (sink) Append(_ []byte, done func(error))             { done(nil) }
func (sink) Check(record.Batch, bool) error                { return nil }
func (sink) Read(from int64, _ int) ([]byte, int64, error) { return nil, from, nil }
func (sink) StartOffset() int64                            { return 0 }
func (sink) EndOffset() int64                              { return 0 }

// hosted returns a runtime with a stable group of one member.
func hosted(b *testing.B) (r *coordinator.Runtime, member string) {
	b.Helper()
	o := group.DefaultOptions()
	o.InitialDelay = 0
	loaded := make(chan struct{})
	r = coordinator.New(coordinator.Options{
		Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Partitions: 1,
		Machine: func(int32, int32) machine.Machine { return group.New(o) },
		Observe: func(int32, time.Duration) { close(loaded) },
	})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	r.Load(0, 1, sink{})
	<-loaded
	r.Submit(0, &group.Join{
		Version: 3, Group: "g", ClientID: "c", Random: "1", SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
		ProtocolType: "consumer", Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range"}},
	}, func(v any, err error) {
		j, ok := v.(group.Joined)
		if !ok || err != nil {
			b.Errorf("join: %v, %v", v, err)
		}
		member = j.MemberID
	})
	r.Submit(0, &group.Sync{Group: "g", MemberID: member, Generation: 1}, func(_ any, err error) {
		if err != nil {
			b.Error(err)
		}
	})
	return r, member
}

func BenchmarkHeartbeat(b *testing.B) {
	r, member := hosted(b)
	e := &group.Heartbeat{Group: "g", MemberID: member, Generation: 1}
	b.ReportAllocs()
	for b.Loop() {
		r.Submit(0, e, func(_ any, err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkOffsetCommit(b *testing.B) {
	r, member := hosted(b)
	e := &group.CommitOffsets{Version: 9, Group: "g", MemberID: member, Generation: 1, Retention: -1}
	for p := range int32(10) {
		e.Offsets = append(e.Offsets, group.CommitOffset{Topic: "topic", Partition: p, Offset: 1 << 40, LeaderEpoch: 3})
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Offsets[0].Offset++
		r.Submit(0, e, func(_ any, err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
