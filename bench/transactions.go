package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// Transactions lets Conns producers of franz-go each commit one transaction of one record after
// another. Records and Requests count transactions; a latency is that of a whole one.
func Transactions(ctx context.Context, l Load) (*Result, error) {
	l = l.withDefaults()
	if err := prepare(ctx, &l); err != nil {
		return nil, err
	}
	w := newWindow(&l)
	producers := make([]*transactor, l.Conns)
	for i := range producers {
		client, err := kgo.NewClient(kgo.SeedBrokers(l.Addr), kgo.DefaultProduceTopic(l.Topic), kgo.ProducerLinger(0),
			kgo.TransactionalID(fmt.Sprintf("%s-%d", l.Topic, i)))
		if err != nil {
			return nil, err
		}
		defer client.Close()
		producers[i] = &transactor{client: client, window: w, value: make([]byte, l.Value)}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range producers {
		g.Go(func() error { return p.run(ctx) })
	}
	r := new(Result)
	g.Go(func() error { return w.watch(ctx, l.PID, r) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, p := range producers {
		r.Records += p.committed
		r.Latency.Merge(&p.latency)
	}
	r.Requests, r.Bytes = r.Records, r.Records*int64(l.Value)
	return r, nil
}

// transactor is one transactional producer.
type transactor struct {
	client *kgo.Client
	window *window
	value  []byte

	committed int64
	latency   Histogram
}

func (p *transactor) run(ctx context.Context) error {
	for began := time.Now(); !p.window.over(began); {
		if err := p.client.BeginTransaction(); err != nil {
			return err
		}
		if err := p.client.ProduceSync(ctx, &kgo.Record{Value: p.value}).FirstErr(); err != nil {
			return err
		}
		if err := p.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return err
		}
		done := time.Now()
		if p.window.counts(done) {
			p.committed++
			p.latency.Add(done.Sub(began))
		}
		began = done
	}
	return nil
}
