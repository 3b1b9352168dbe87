package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/internal/env"
)

var errNoPower = errors.New("the power is off")

// house has one node at a time, whose power fails now and then. What clients hear
// and what the disk keeps ends at the same moment.
type house struct {
	mu   sync.RWMutex // held for reading while somebody dials
	node *powered     // nil without power
	rng  *rand.Rand
	dark chan *env.MemFS // receives what each power cut has left
}

// Dial is a client's way to the node of the moment.
func (h *house) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.node == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errNoPower} // what a dialer says, so that clients try again
	}
	return h.node.net.Dial(ctx, addr)
}

// start runs a node on a disk.
func (h *house) start(t *testing.T, disk *env.MemFS) *powered {
	t.Helper()
	node, err := powerOn(disk, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node = node
	return node
}

// startBriefly runs a node on a disk until the power is cut at a random operation.
func (h *house) startBriefly(t *testing.T, disk *env.MemFS) *powered {
	t.Helper()
	node := h.start(t, disk)
	left := 30 + h.rng.IntN(150)
	policy, seed := somePolicy(h.rng), h.rng.Uint64()
	var mu sync.Mutex
	disk.OnOp(func(op env.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !op.Kind.Changes() {
			return nil
		}
		if left--; left > 0 {
			return nil
		}
		if left == 0 {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.node = nil
			node.net.CutAll()
			after, _ := disk.Crash(policy, seed)
			h.dark <- after
		}
		return errNoPower
	})
	return node
}

// TestAClientRidesThroughPowerCuts lets franz-go produce idempotently, with its own
// retries, to a node whose power is cut again and again: everything arrives, once,
// in order.
func TestAClientRidesThroughPowerCuts(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	h := &house{rng: rand.New(rand.NewPCG(3, 3)), dark: make(chan *env.MemFS, 1)}
	disk := env.NewMemFS()
	node := h.start(t, disk)
	admin, err := node.connect()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.createTopic("ride", 2, map[string]string{"segment.bytes": "4000"}); err != nil {
		t.Fatal(err)
	}
	admin.close()
	if err := node.off(); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(powerAddr), kgo.Dialer(h.Dial), kgo.DefaultProduceTopic("ride"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(40), kgo.ProducerBatchMaxBytes(1000),
		kgo.RequestRetries(1<<30), kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan map[tp][]seen, 1)
	go func() { told <- produceUntil(ctx, t, client) }()
	for range rounds {
		node = h.startBriefly(t, disk)
		select {
		case disk = <-h.dark:
		case <-time.After(patience):
			t.Fatal("no power cut")
		}
		if err := node.off(); err == nil {
			t.Error("a node whose disk failed ended without an error")
		}
	}
	node = h.start(t, disk) // its power lasts, however long the last answers take
	stop()
	acked := <-told
	client.Close()
	v := &verdicts{lossy: map[uint64]bool{}}
	i := &inspection{v: v, made: newPromises(), at: "after the ride"}
	if i.c, err = node.connect(); err != nil {
		t.Fatal(err)
	}
	for at, want := range acked {
		log, err := i.readAll(at, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]seen, len(log))
		for n, value := range log {
			got[n] = seen{int64(n), value}
		}
		for n := range max(len(got), len(want)) {
			if n >= len(got) || n >= len(want) || got[n] != want[n] {
				t.Errorf("%s: %d records, want %d; they differ at offset %d", at, len(got), len(want), n)
				break
			}
		}
		t.Logf("%s: %d records rode through %d power cuts", at, len(log), rounds)
	}
	i.c.close()
	if err := node.off(); err != nil {
		t.Error(err)
	}
}

// produceUntil produces until ctx ends, waits for every answer, and returns what was
// acknowledged, by offset.
func produceUntil(ctx context.Context, t *testing.T, client *kgo.Client) map[tp][]seen {
	all := context.WithoutCancel(ctx) // what was begun is waited for
	var mu sync.Mutex
	acked := map[tp][]seen{}
	for n := 0; ctx.Err() == nil; n++ {
		r := &kgo.Record{Partition: int32(n % 2), Value: fmt.Appendf(nil, "%d %0*d", n, n%90, 0)}
		client.Produce(all, r, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %s: %v", r.Value, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			at := tp{r.Topic, r.Partition}
			acked[at] = append(acked[at], seen{r.Offset, string(r.Value)})
		})
	}
	if err := client.Flush(all); err != nil {
		t.Error(err)
	}
	for at, records := range acked {
		if !slices.IsSortedFunc(records, func(a, b seen) int { return int(a.offset - b.offset) }) {
			t.Errorf("%s: the offsets are not in the order of producing", at)
		}
	}
	return acked
}
