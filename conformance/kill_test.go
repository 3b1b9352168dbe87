package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKill9UnderLoad kills the broker while requests are in flight, again and
// again, under an idempotent producer with acks=all. No acknowledged record may
// be lost, none may stand twice, each key keeps its order, and what a consumer
// once read stays as it was.
func TestKill9UnderLoad(t *testing.T) {
	kills := 30
	if n, err := strconv.Atoi(os.Getenv("CONFORMANCE_KILLS")); err == nil {
		kills = n
	}
	if testing.Short() {
		kills = 5
	}
	const partitions, keys, atLeast = 4, 50, 100_000
	b := newBroker(t)
	b.createTopic("load", partitions)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)

	producer := b.client(kgo.DefaultProduceTopic("load"), kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(4096), kgo.RequestRetries(1<<30), quickRetries())
	var acked, inFlight atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		next := make([]int, keys)
		for i := 0; ctx.Err() == nil; i++ {
			key := i % keys
			value := fmt.Sprintf("%d:%d", key, next[key])
			next[key]++
			inFlight.Add(1)
			producer.Produce(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(strconv.Itoa(key)), Value: []byte(value)}, func(_ *kgo.Record, err error) {
				inFlight.Add(-1)
				if err != nil {
					t.Errorf("produce %s: %v", value, err)
					return
				}
				acked.Add(1)
			})
		}
	})
	seen := &observed{at: map[string]string{}}
	load.Go(func() {
		seen.follow(ctx, b.client(kgo.ConsumeTopics("load"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), quickRetries()))
	})

	for range kills {
		ackedBefore, seenBefore := acked.Load(), seen.len()
		waitFor(t, "fresh acknowledgements, and a consumer that reads on", func() bool {
			return acked.Load() > ackedBefore+int64(atLeast/kills) && inFlight.Load() > 0 && seen.len() > seenBefore
		})
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		if inFlight.Load() == 0 {
			t.Error("a kill fell while nothing was in flight")
		}
		b.kill()
		b.start()
	}
	cancel()
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	load.Wait()
	records := b.readAll("load")
	if n := acked.Load(); n < atLeast && !testing.Short() {
		t.Errorf("%d records acknowledged, want at least %d", n, atLeast)
	}
	checkExactlyOnceInOrder(t, records, acked.Load())
	seen.check(t, records)
	t.Logf("%d kills, %d records acknowledged, %d in the log, %d seen by the consumer", kills, acked.Load(), len(records), len(seen.at))
}

func quickRetries() kgo.Opt {
	return kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })
}

func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited two minutes for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// checkExactlyOnceInOrder wants values key:0, key:1, ... of each key, once each and in order.
func checkExactlyOnceInOrder(t *testing.T, records []*kgo.Record, acked int64) {
	t.Helper()
	next := map[string]int{}
	for _, r := range records {
		key, sequence, _ := strings.Cut(string(r.Value), ":")
		n, err := strconv.Atoi(sequence)
		if err != nil || n != next[key] {
			t.Fatalf("partition %d offset %d holds %q, want %s:%d: lost, doubled or out of order", r.Partition, r.Offset, r.Value, key, next[key])
		}
		next[key]++
	}
	if int64(len(records)) != acked {
		t.Errorf("%d records in the log, %d acknowledged", len(records), acked)
	}
}

// observed is what a consumer has read, by place.
type observed struct {
	mu sync.Mutex
	at map[string]string
}

func (o *observed) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.at)
}

func place(r *kgo.Record) string { return fmt.Sprintf("%s-%d@%d", r.Topic, r.Partition, r.Offset) }

func (o *observed) follow(ctx context.Context, client *kgo.Client) {
	for ctx.Err() == nil {
		for _, r := range client.PollFetches(ctx).Records() {
			o.mu.Lock()
			o.at[place(r)] = string(r.Value)
			o.mu.Unlock()
		}
	}
}

// check wants everything that was read to be in the log still.
func (o *observed) check(t *testing.T, records []*kgo.Record) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.at) == 0 {
		t.Error("the consumer read nothing")
	}
	final := map[string]string{}
	for _, r := range records {
		final[place(r)] = string(r.Value)
	}
	for where, value := range o.at {
		if final[where] != value {
			t.Errorf("read-then-lost: %s was read as %q and is now %q", where, value, final[where])
		}
	}
}
