package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// Poll implements runtime.Log.
func (w *Worker) Poll(ctx context.Context, wait time.Duration, limit int) ([]runtime.Fetched, error) {
	w.cl.AllowRebalance()
	fetches := poll(ctx, w.cl, wait, limit)
	if err := w.check(fetches); err != nil {
		return nil, err
	}
	return w.polled.convert(fetches), nil
}

// Pause implements runtime.Log.
func (w *Worker) Pause(tps []runtime.TP) { w.cl.PauseFetchPartitions(group(tps)) }

// Resume implements runtime.Log.
func (w *Worker) Resume(tps []runtime.TP) { w.cl.ResumeFetchPartitions(group(tps)) }

// Seek implements runtime.Log.
func (w *Worker) Seek(to map[runtime.TP]int64) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for tp, at := range to {
		if offsets[tp.Topic] == nil {
			offsets[tp.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	w.cl.SetOffsets(offsets)
}

func poll(ctx context.Context, cl *kgo.Client, wait time.Duration, limit int) kgo.Fetches {
	if wait <= 0 {
		return cl.PollRecords(nil, limit) //nolint:staticcheck,contextcheck // nil is how this call is told not to wait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return cl.PollRecords(ctx, limit)
}

// check returns the first error that matters. What the client tries again by
// itself is only logged.
func (w *Worker) check(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		err := e.Err
		lost := (*kgo.ErrDataLoss)(nil)
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			continue
		case errors.As(err, &lost):
			w.log.Warn("records are gone before they were read", slog.Any("error", err))
			continue
		}
		err = classify(err)
		if errors.Is(err, runtime.ErrRetry) {
			w.log.Warn("fetch failed", slog.String("topic", e.Topic), slog.Int("partition", int(e.Partition)), slog.Any("error", err))
			continue
		}
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
			if !w.o.Layout.Named(e.Topic) {
				w.o.Noticed() // of a pattern
				continue
			}
			err = fmt.Errorf("topic %s was deleted: %w", e.Topic, err)
		}
		return err
	}
	return nil
}

// polled holds what the last poll brought, in memory that the next one reuses.
type polled struct {
	committed bool // only what is committed is read
	messages  []runtime.Message
	fetched   []runtime.Fetched
}

func (p *polled) convert(fetches kgo.Fetches) []runtime.Fetched {
	clear(p.messages)
	p.messages, p.fetched = p.messages[:0], p.fetched[:0]
	if n := fetches.NumRecords(); cap(p.messages) < n {
		p.messages = make([]runtime.Message, 0, n+n/2)
	}
	for _, f := range fetches {
		for _, t := range f.Topics {
			for k := range t.Partitions {
				if t.Partitions[k].Err == nil {
					p.add(t.Topic, &t.Partitions[k])
				}
			}
		}
	}
	return p.fetched
}

// end is the end of what can be read for now.
func (p *polled) end(from *kgo.FetchPartition) int64 {
	if p.committed {
		return from.LastStableOffset
	}
	return from.HighWatermark
}

// add appends the records of a partition. Markers only move its position.
func (p *polled) add(topic string, from *kgo.FetchPartition) {
	f := runtime.Fetched{
		TP: runtime.TP{Topic: topic, Partition: from.Partition}, Next: -1, End: p.end(from),
	}
	start := len(p.messages)
	for _, r := range from.Records {
		f.Next = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		m := runtime.Message{
			Topic: topic, Partition: from.Partition, Offset: r.Offset,
			Key: r.Key, Value: r.Value, Timestamp: r.Timestamp.UnixMilli(),
		}
		if len(r.Headers) > 0 {
			m.Headers = make([]runtime.Header, 0, len(r.Headers))
			for _, h := range r.Headers {
				m.Headers = append(m.Headers, runtime.Header{Key: h.Key, Value: h.Value})
			}
		}
		p.messages = append(p.messages, m)
	}
	f.Messages = p.messages[start:len(p.messages):len(p.messages)]
	p.fetched = append(p.fetched, f)
}
