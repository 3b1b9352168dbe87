package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/examples/internal/embedded"
	"github.com/weirstream/weir/internal/deadletter"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

const orders, poisonEvery = 2000, 10

// line is a network that can be cut for good: what a crash looks like from outside.
type line struct{ cut atomic.Bool }

type cutConn struct {
	net.Conn
	l *line
}

var errCut = errors.New("the line is cut")

func (c cutConn) Write(b []byte) (int, error) {
	if c.l.cut.Load() {
		return 0, errors.Join(errCut, c.Close())
	}
	return c.Conn.Write(b)
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if l.cut.Load() {
		return nil, errCut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return cutConn{conn, l}, err
}

// newApp is an application that sends orders on, and cannot read one in ten; after
// so many of those it is cut off.
func newApp(t *testing.T, brokers []string, crashAfter int64) (*streams.App, *line) {
	t.Helper()
	b := streams.NewBuilder()
	streams.From(b, "orders", serde.String(), serde.Int64()).To("done", serde.String(), serde.Int64())
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	l, dead := &line{}, int64(0)
	app, err := streams.NewApp(topology, streams.Config{
		ApplicationID: "shop", Brokers: brokers, StateDir: t.TempDir(), Guarantee: streams.ExactlyOnceV2,
		CommitInterval: 20 * time.Millisecond, TransactionTimeout: 2 * time.Second, SessionTimeout: 6 * time.Second, StopTimeout: time.Second,
		OnError: func(streams.ErrorEvent) streams.Decision {
			if dead++; dead == crashAfter {
				l.cut.Store(true)
			}
			return streams.DeadLetter
		},
		ClientOptions: []kgo.Opt{kgo.Dialer(l.dial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return app, l
}

// await returns once done says so.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); !done(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("too long: ", what)
		}
	}
}

// TestDeadLettersSurviveACrash cuts an application off in the middle of its dead
// letters, with exactly_once_v2, and lets another one go on: every record that
// cannot be read is one dead letter, every other one is sent on once.
func TestDeadLettersSurviveACrash(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a session to end")
	}
	brokers, end, err := embedded.Broker(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	feed(t, brokers)
	first, cut := newApp(t, brokers, orders/poisonEvery/2)
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- first.Run(ctx) }()
	await(t, "the crash", cut.cut.Load)
	kill()
	<-ended // with whatever error: nothing of it reaches the broker

	second, _ := newApp(t, brokers, -1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { ended <- second.Run(ctx) }()
	await(t, "the rest", func() bool { drained, err := second.Drained(ctx); return err == nil && drained })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	check(t, brokers)
}

// feed writes the orders, some of them no numbers.
func feed(t *testing.T, brokers []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopics(t.Context(), 1, 1, nil, "orders", "done"); err != nil {
		t.Fatal(err)
	}
	for i := range orders {
		r := &kgo.Record{Topic: "orders", Key: strconv.AppendInt(nil, int64(i), 10), Value: make([]byte, 8)}
		if i%poisonEvery == 0 {
			r.Value = fmt.Appendf(nil, "poisoned %d", i)
		}
		cl.Produce(t.Context(), r, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// check counts what is committed in the output and in the dead letters.
func check(t *testing.T, brokers []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("done", "dlq.shop"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done, dead := map[string]int{}, map[int64]int{}
	for n := 0; n < orders; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			if r.Topic == "done" {
				done[string(r.Key)]++
				return
			}
			headers := make([]deadletter.Header, len(r.Headers))
			for i, h := range r.Headers {
				headers[i] = deadletter.Header(h)
			}
			l, _, _ := deadletter.Read(headers)
			dead[l.Origin.Offset]++
			if string(r.Value) != fmt.Sprintf("poisoned %d", l.Origin.Offset) || l.Stage != "deserialize" {
				t.Errorf("%s in a letter of offset %d, stage %s", r.Value, l.Origin.Offset, l.Stage)
			}
		})
	}
	if len(dead) != orders/poisonEvery || len(done) != orders-orders/poisonEvery {
		t.Errorf("%d dead letters and %d orders done", len(dead), len(done))
	}
}
