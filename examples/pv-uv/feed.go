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

// feedClient makes the client of a feeder. An input that can be read again is fed
// in transactions: the brokers end those of a feeder that was killed before the
// next one has its producer id, so that nothing arrives after it has looked where
// the topic ends.
func (p *program) feedClient() (*kgo.Client, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(p.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())}
	if !p.in.live {
		opts = append(opts, kgo.TransactionalID(p.names.app+"-feeder"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	}
	return kgo.NewClient(opts...)
}

// commitEvery is how long a feeder's transaction lasts.
const commitEvery = 200 * time.Millisecond

// feeder turns the lines of an input into records of the views topic: the page
// as key, the visitor as value, the line's time as timestamp.
type feeder struct {
	client     *kgo.Client
	topic      string
	partitions int
	rate       int
	report     func(fed, bad int64) // called now and then, and at the end
	begun      time.Time            // of the transaction; zero without one
}

// feed sends every line that the topic does not hold yet, in order, and returns
// how many valid and bad lines the input has. Lines of one page keep their order.
func (f *feeder) feed(ctx context.Context, in source) (valid, bad int64, err error) {
	held := make([]int64, f.partitions)
	if !in.live {
		if held, err = f.held(ctx); err != nil {
			return 0, 0, err
		}
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
			if err := f.begin(in.live); err != nil {
				return err
			}
			f.send(ctx, cancel, number, partition, v)
			pace.wait(ctx)
		}
		if valid%1000 == 0 {
			f.report(valid, bad)
		}
		if err := f.commit(ctx, commitEvery); err != nil {
			return err
		}
		return context.Cause(ctx)
	})
	if err == nil {
		err = errors.Join(f.client.Flush(ctx), f.commit(ctx, 0))
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	f.report(valid, bad)
	return valid, bad, err
}

// begin sees to it that there is a transaction, if there have to be any.
func (f *feeder) begin(live bool) error {
	if live || !f.begun.IsZero() {
		return nil
	}
	f.begun = time.Now()
	return f.client.BeginTransaction()
}

// commit commits a transaction that is as old.
func (f *feeder) commit(ctx context.Context, age time.Duration) error {
	if f.begun.IsZero() || time.Since(f.begun) < age {
		return nil
	}
	f.begun = time.Time{}
	if err := f.client.Flush(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err := f.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("commit what was fed: %w; run again to go on", err)
	}
	return nil
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
	if _, _, err := f.client.ProducerID(ctx); err != nil { // ends what an earlier feeder left
		return nil, fmt.Errorf("take the place of an earlier feeder: %w", err)
	}
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
	open := map[int32]int64{} // where each partition ends
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			open[o.Partition] = o.Offset
		}
	})
	for back := int64(8); len(open) > 0; back *= 8 {
		if err := f.lookBack(ctx, back, open, held); err != nil {
			return nil, fmt.Errorf("read the end of %s: %w", f.topic, err)
		}
	}
	return held, nil
}

// lookBack reads the last offsets of the open partitions, markers and aborted
// records among them, and takes out those that are known after it.
func (f *feeder) lookBack(ctx context.Context, back int64, open map[int32]int64, held []int64) error {
	from, next := map[int32]kgo.Offset{}, map[int32]int64{}
	for partition, end := range open {
		next[partition] = max(0, end-back)
		from[partition] = kgo.NewOffset().At(next[partition])
	}
	f.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: from})
	defer f.client.PurgeTopicsFromConsuming(f.topic)
	for len(next) > 0 {
		fetches := f.client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			for _, h := range r.Headers {
				if h.Key == lineHeader && len(h.Value) == 8 {
					held[r.Partition] = int64(binary.BigEndian.Uint64(h.Value))
				}
			}
			if r.Offset+1 >= open[r.Partition] {
				delete(next, r.Partition)
			}
		}
	}
	for partition, end := range open {
		if held[partition] >= 0 || end <= back {
			delete(open, partition)
		}
	}
	return nil
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
