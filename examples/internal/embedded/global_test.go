package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/examples/internal/embedded"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// market is an application that looks prices up in a global table, with its
// broker.
type market struct {
	t         *testing.T
	ctx       context.Context
	brokers   []string
	cl        *kgo.Client
	guarantee streams.Guarantee
	dir       string // of the state
	orders    int
}

func newMarket(t *testing.T, g streams.Guarantee) *market {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	brokers, end, err := embedded.Broker(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("sold"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	m := &market{t: t, ctx: ctx, brokers: brokers, cl: cl, guarantee: g, dir: t.TempDir()}
	adm := kadm.NewClient(cl)
	for topic, partitions := range map[string]int32{"orders": 2, "prices": 3, "sold": 1} {
		if _, err := adm.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// put writes a record; no value is a null one.
func (m *market) put(topic, key, value string) {
	m.t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	if err := m.cl.ProduceSync(m.ctx, r).FirstErr(); err != nil {
		m.t.Fatal(err)
	}
}

// open runs the application until close is called.
func (m *market) open() (closed func()) {
	m.t.Helper()
	b, str := streams.NewBuilder(), serde.String()
	prices := streams.GlobalTableFrom(b, "prices", str, str, streams.Store("prices"))
	orders := streams.From(b, "orders", str, str)
	streams.LeftJoinGlobal(orders, prices, func(_, thing string) (string, bool) { return thing, true },
		func(_, thing string, price *string) string {
			if price == nil {
				return thing + " has no price"
			}
			return thing + " for " + *price
		}).To("sold", str, str)
	topology, err := b.Build()
	if err != nil {
		m.t.Fatal(err)
	}
	app, err := streams.NewApp(topology, streams.Config{
		ApplicationID: "market", Brokers: m.brokers, StateDir: m.dir, Guarantee: m.guarantee, LeaveOnStop: true,
		CommitInterval: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(m.t.Output(), nil)),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(m.ctx)
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	return func() {
		m.t.Helper()
		stop()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	}
}

// sell orders a thing and returns what it was sold for.
func (m *market) sell(thing string) string {
	m.t.Helper()
	m.orders++
	order := fmt.Sprint("order", m.orders)
	m.put("orders", order, thing)
	for {
		fetches := m.cl.PollFetches(m.ctx)
		if err := fetches.Err(); err != nil {
			m.t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if string(r.Key) == order {
				return string(r.Value)
			}
		}
	}
}

// sells fails unless the next order has that result.
func (m *market) sells(thing, want string) {
	m.t.Helper()
	if got := m.sell(thing); got != want {
		m.t.Errorf("sold %s, want %s", got, want)
	}
}

// until orders until the result is that: a running app follows the table beside
// its tasks.
func (m *market) until(thing, want string) {
	m.t.Helper()
	for got := ""; got != want; {
		got = m.sell(thing)
	}
}

// TestGlobalTablesOnABroker: a global table is whole before the first record is
// processed, follows its topic while the app runs, and holds what was written
// while the app was away, with its state and without.
func TestGlobalTablesOnABroker(t *testing.T) {
	for _, g := range []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnceV2} {
		t.Run(g.String(), func(t *testing.T) {
			m := newMarket(t, g)
			for i := range 50 {
				m.put("prices", fmt.Sprint("thing", i), fmt.Sprint(i))
			}
			closed := m.open()
			m.sells("thing7", "thing7 for 7")
			m.sells("thing49", "thing49 for 49")
			m.sells("nothing", "nothing has no price")
			m.put("prices", "thing7", "7000")
			m.put("prices", "thing8", "")
			m.until("thing7", "thing7 for 7000")
			m.until("thing8", "thing8 has no price")
			closed()
			m.put("prices", "thing7", "7001")
			m.put("prices", "thing9", "")
			m.put("prices", "more", "1")
			for _, dir := range []string{m.dir, t.TempDir()} {
				m.dir = dir
				closed := m.open()
				m.sells("thing7", "thing7 for 7001")
				m.sells("thing8", "thing8 has no price")
				m.sells("thing9", "thing9 has no price")
				m.sells("more", "more for 1")
				m.sells("thing10", "thing10 for 10")
				closed()
			}
		})
	}
}
