package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	compactTopic   = "compact"
	compactSegment = 64 << 20
	compactKeys    = 400_000
	compactRecords = 8_000_000 // of 100 B, so that one record of twenty is kept
)

// Compact fills a topic of one partition with records of few keys and measures what the broker takes
// from the moment at which the topic becomes compacted until its log no longer shrinks. Bytes are
// those that were there before, without the active segment's.
func Compact(ctx context.Context, b *Broker, records int) (*Result, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic(compactTopic),
		kgo.MaxBufferedRecords(100_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	config := map[string]*string{
		"cleanup.policy": new("delete"), "segment.bytes": new(strconv.Itoa(compactSegment)), "min.cleanable.dirty.ratio": new("0.1"),
	}
	if err := createTopic(ctx, b.Addr, compactTopic, 1, config); err != nil {
		return nil, err
	}
	filler := []byte(strings.Repeat("x", 100))
	if err := produceAll(ctx, client, records, func(i int) *kgo.Record {
		return &kgo.Record{Key: strconv.AppendInt(nil, int64(i)*7919%compactKeys, 10), Value: filler}
	}); err != nil {
		return nil, err
	}
	full, err := logSize(ctx, admin, compactTopic)
	if err != nil {
		return nil, err
	}
	from, err := mark(b.PID())
	if err != nil {
		return nil, err
	}
	compact := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: new("compact")}}
	changed, err := admin.AlterTopicConfigs(ctx, compact, compactTopic)
	if err != nil {
		return nil, err
	}
	if changed[0].Err != nil {
		return nil, changed[0].Err
	}
	to, err := untilCompacted(ctx, admin, b.PID(), full)
	if err != nil {
		return nil, err
	}
	rss, err := residentBytes(b.PID())
	result := &Result{Records: int64(records), Requests: 1, Bytes: full - compactSegment, RSS: rss}
	result.between(from, to)
	return result, errors.Join(err, deleteTopic(ctx, b.Addr, compactTopic))
}

// untilCompacted waits until a log has shrunk and then stayed as it is for a second, and returns the
// moment of its last change.
func untilCompacted(ctx context.Context, admin *kadm.Client, pid int, full int64) (changed moment, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errNotCompacted)
	defer cancel()
	for last := full; last > full/2 || time.Since(changed.at) < time.Second; {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return changed, context.Cause(ctx)
		}
		size, err := logSize(ctx, admin, compactTopic)
		if err != nil {
			return changed, err
		}
		if size == last {
			continue
		}
		last = size
		if changed, err = mark(pid); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

var errNotCompacted = errors.New("the log was not compacted in time")

// logSize is the size of a topic's logs on the only broker.
func logSize(ctx context.Context, admin *kadm.Client, topic string) (int64, error) {
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	dirs.Each(func(d kadm.DescribedLogDir) {
		for _, p := range d.Topics[topic] {
			total += p.Size
		}
	})
	if total == 0 {
		return 0, fmt.Errorf("no size of topic %s", topic)
	}
	return total, nil
}

// produceAll sends the records that make returns and waits for all answers.
func produceAll(ctx context.Context, client *kgo.Client, n int, record func(i int) *kgo.Record) error {
	var failed error
	for i := range n {
		client.Produce(ctx, record(i), func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err // promises run one after another, before Flush returns
			}
		})
	}
	return errors.Join(client.Flush(ctx), failed)
}
