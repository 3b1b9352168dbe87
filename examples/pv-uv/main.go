// Command pv-uv counts page views and unique visitors of a web site from its
// access log: a feeder writes each request to a topic, a topology counts them per
// window, a table in the terminal and a page with charts show the result.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/examples/internal/embedded"
	"github.com/weirstream/weir/streams"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		say(os.Stderr, "pv-uv: %v\n", err)
		os.Exit(1)
	}
}

// run checks everything a person can get wrong before it touches the disk.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	in, err := openSource(o, stdin)
	if err != nil {
		return err
	}
	brokers := strings.Split(o.brokers, ",")
	end := func() error { return nil }
	if o.brokers == "" {
		say(stderr, "data is in %s\n", o.data)
		if brokers, end, err = embedded.Broker(ctx, o.data); err != nil {
			return err
		}
	}
	p := &program{options: o, in: in, names: namesFor(o.fingerprint(in)), brokers: brokers, stdout: stdout, stderr: stderr, tally: newTally(o.window)}
	return errors.Join(p.run(ctx), end())
}

// program is one run over checked options and input.
type program struct {
	options
	in             source
	names          names
	brokers        []string
	stdout, stderr io.Writer
	tally          *tally
}

func (p *program) run(ctx context.Context) error {
	const partitions = 4
	if err := p.createTopics(ctx, partitions); err != nil {
		return err
	}
	t, err := topology(p.names, p.window, p.uv)
	if err != nil {
		return err
	}
	app, err := streams.NewApp(t, streams.Config{
		ApplicationID: p.names.app, Brokers: p.brokers, StateDir: filepath.Join(p.data, "state"),
		Guarantee: p.guarantee, CommitInterval: 100 * time.Millisecond, LeaveOnStop: true, Logger: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	parts, live := errgroup.WithContext(ctx)
	counting, stopCounting := context.WithCancel(live)
	parts.Go(func() error { return app.Run(counting) })
	parts.Go(func() error {
		defer stopCounting()
		return p.feed(live, partitions, app)
	})
	if !p.once {
		p.show(counting, parts)
	}
	if err := parts.Wait(); err != nil || !p.once || ctx.Err() != nil {
		return err
	}
	return p.report(ctx)
}

// feed sends the input, and waits: with -once until all of it is counted.
func (p *program) feed(ctx context.Context, partitions int, app *streams.App) error {
	client, err := p.feedClient()
	if err != nil {
		return err
	}
	defer client.Close()
	f := &feeder{client: client, topic: p.names.views, partitions: partitions, rate: p.rate, report: func(int64, int64) {}}
	valid, bad, err := f.feed(ctx, p.in)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	say(p.stderr, "%s: %d lines counted, %d lines are not valid\n", p.in.name, valid, bad)
	if p.once {
		defer p.sayRestored(app)
		return p.drain(ctx, app)
	}
	<-ctx.Done()
	return nil
}

// drain waits until no record is left to count.
func (p *program) drain(ctx context.Context, app *streams.App) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		drained, err := app.Drained(ctx)
		if drained || err != nil {
			return ignoreEnd(ctx, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// ignoreEnd drops the error of work that was told to end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
