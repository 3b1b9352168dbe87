package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lineHeader carries the number of the line that a record was made from. It is
// how a feeder that was killed knows where each partition stands.
const lineHeader = "line"

// feeder turns the lines of an input into records of the views topic: the page
// as key, the visitor as value, the line's time as timestamp.
type feeder struct {
	client     *kgo.Client
	topic      string
	partitions int
	rate       int
	report     func(fed, bad int64) // called now and then, and at the end
}

// feed sends every line that the topic does not hold yet, in order, and returns
// how many valid and bad lines the input has. Lines of one page keep their order.
func (f *feeder) feed(ctx context.Context, in source) (valid, bad int64, err error) {
	held, err := f.held(ctx)
	if err != nil {
		return 0, 0, err
	}
	lines, err := in.open()
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = lines.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pace := newPacer(f.rate)
	err = eachLine(lines, func(number int64, line []byte) error {
		v, ok := parseLine(line)
		if !ok {
			bad++
			return nil
		}
		valid++
		partition := f.partition(v.page)
		if in.live || number > held[partition] {
			f.send(ctx, cancel, number, partition, v)
			pace.wait(ctx)
		}
		if valid%1000 == 0 {
			f.report(valid, bad)
		}
		return context.Cause(ctx)
	})
	if err == nil {
		err = f.client.Flush(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	f.report(valid, bad)
	return valid, bad, err
}

func (f *feeder) send(ctx context.Context, fail context.CancelCauseFunc, number int64, partition int32, v view) {
	record := &kgo.Record{
		Topic: f.topic, Partition: partition, Key: []byte(v.page), Value: []byte(v.visitor), Timestamp: v.at,
		Headers: []kgo.RecordHeader{{Key: lineHeader, Value: binary.BigEndian.AppendUint64(nil, uint64(number))}},
	}
	f.client.Produce(ctx, record, func(_ *kgo.Record, err error) {
		if err != nil {
			fail(fmt.Errorf("feed line %d: %w", number+1, err))
		}
	})
}

// partition puts all lines of a page into one partition, the same on every run.
func (f *feeder) partition(page string) int32 {
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, page)
	return int32(hash.Sum32() % uint32(f.partitions))
}

// held returns the number of the last line in each partition, -1 where there is none.
// A partition holds a prefix of its own lines, since its producer keeps their order.
func (f *feeder) held(ctx context.Context) ([]int64, error) {
	held := make([]int64, f.partitions)
	for i := range held {
		held[i] = -1
	}
	ends, err := kadm.NewClient(f.client).ListEndOffsets(ctx, f.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("look where %s ends: %w", f.topic, err)
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			from[o.Partition] = kgo.NewOffset().At(o.Offset - 1)
		}
	})
	if len(from) == 0 {
		return held, nil
	}
	f.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: from})
	defer f.client.PurgeTopicsFromConsuming(f.topic)
	for seen := 0; seen < len(from); {
		fetches := f.client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return nil, fmt.Errorf("read the end of %s: %w", f.topic, err)
		}
		for _, r := range fetches.Records() {
			for _, h := range r.Headers {
				if h.Key == lineHeader && len(h.Value) == 8 {
					held[r.Partition] = int64(binary.BigEndian.Uint64(h.Value))
				}
			}
			seen++
		}
	}
	return held, nil
}

// pacer lets through rate lines a second; 0 lets all through.
type pacer struct {
	every time.Duration
	next  time.Time
}

func newPacer(rate int) *pacer {
	if rate <= 0 {
		return &pacer{}
	}
	return &pacer{every: time.Second / time.Duration(rate), next: time.Now()}
}

func (p *pacer) wait(ctx context.Context) {
	if p.every == 0 {
		return
	}
	p.next = p.next.Add(p.every)
	timer := time.NewTimer(time.Until(p.next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
