package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/streams"
)

// createTopics makes the topics that do not exist yet.
func (p *program) createTopics(ctx context.Context, partitions int32) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.RequestRetries(3))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("no broker answers at %v: %w", p.brokers, err)
	}
	configs := map[string]*string{}
	for key, value := range keepForever() {
		configs[key] = &value
	}
	configs["message.timestamp.type"] = new("CreateTime")
	created, err := kadm.NewClient(client).CreateTopics(ctx, partitions, -1, configs, p.names.views, p.names.output)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for topic, r := range created {
		if r.Err != nil && !errors.Is(r.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w %s", topic, r.Err, r.ErrMessage)
		}
	}
	return nil
}

// sayRestored says how much state had to be read back from the brokers.
func (p *program) sayRestored(app *streams.App) {
	records := int64(0)
	for _, t := range app.Tasks() {
		records += t.Restored
	}
	say(p.stderr, "%d records of state read back\n", records)
}

// reader reads what is committed. It sees the markers of transactions too, for a
// topic may end with one.
func (p *program) reader() (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
}

// show follows the output topic and shows it until ctx ends.
func (p *program) show(ctx context.Context, parts *errgroup.Group) {
	url := make(chan string, 1)
	if p.http == "off" {
		url <- ""
	} else {
		parts.Go(func() error {
			return p.tally.web(ctx, p.http, func(at string) {
				say(p.stderr, "charts are at %s\n", at)
				url <- at
			})
		})
	}
	if p.json {
		p.tally.update = func(l outputLine) error { return l.write(p.stdout) }
	}
	parts.Go(func() error {
		client, err := p.reader()
		if err != nil {
			return err
		}
		defer client.Close()
		return p.tally.follow(ctx, client, p.names.output, false)
	})
	if p.json || !isTerminal(p.stdout) {
		return
	}
	parts.Go(func() error {
		select {
		case at := <-url:
			return p.tally.screen(ctx, p.stdout, at)
		case <-ctx.Done():
			return nil
		}
	})
}

// report writes the final counts.
func (p *program) report(ctx context.Context) error {
	client, err := p.reader()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := p.tally.follow(ctx, client, p.names.output, true); err != nil {
		return err
	}
	if p.json {
		return p.tally.writeJSON(p.stdout)
	}
	_, err = fmt.Fprint(p.stdout, p.tally.table(""))
	return err
}
