// Command goka runs an application written with github.com/lovoo/goka, unmodified, on
// Weir: three processors with a join and a lookup count clicks, a view shows the counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lovoo/goka/storage"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/examples/internal/embedded"
	"github.com/weirstream/weir/statestore/pebble"
	weirgoka "github.com/weirstream/weir/streams/goka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "goka: %v\n", err)
		os.Exit(1)
	}
}

// errUsage is a wrong command line; what is wrong has been said.
var errUsage = errors.New("wrong flags")

type options struct {
	brokers, data, storage string
	clicks                 int
	json, verbose          bool
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("goka", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.brokers, "brokers", "", "host:port,... of any Kafka; without it a broker runs inside")
	f.StringVar(&o.data, "data", "", "folder for the data, used again by the next run; without it one that is removed at the end")
	f.StringVar(&o.storage, "storage", "weir", "what keeps the tables: weir, or goka for goka's own")
	f.IntVar(&o.clicks, "clicks", 1000, "how many to emit")
	f.BoolVar(&o.json, "json", false, "write one JSON object a line instead of a table")
	f.BoolVar(&o.verbose, "verbose", false, "show goka's log")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("%q is not a flag", f.Arg(0))
	case o.clicks < 1:
		err = fmt.Errorf("-clicks %d: want at least 1", o.clicks)
	case o.storage != "weir" && o.storage != "goka":
		err = fmt.Errorf("-storage %s: want weir or goka", o.storage)
	}
	return o, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.data == "" {
		scratch, err := os.MkdirTemp("", "weir-goka-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(scratch) }()
		o.data = scratch
	}
	a := &app{brokers: strings.Split(o.brokers, ","), dir: filepath.Join(o.data, "tables"), tables: storage.DefaultBuilder, log: log.New(io.Discard, "", 0)}
	if o.storage == "weir" {
		engine := pebble.New(pebble.Options{})
		a.tables = func(dir string) storage.Builder { return weirgoka.Builder(engine, dir) }
	}
	if o.verbose {
		a.log = log.New(stderr, "", log.LstdFlags)
	}
	if o.brokers == "" {
		brokers, end, err := embedded.Broker(ctx, o.data)
		if err != nil {
			return err
		}
		a.brokers = brokers
		return errors.Join(a.count(ctx, o, stdout), end())
	}
	return a.count(ctx, o, stdout)
}

// count emits the traffic, waits until it is counted, and shows the table.
func (a *app) count(ctx context.Context, o options, stdout io.Writer) error {
	if err := os.MkdirAll(a.dir, 0o750); err != nil {
		return err
	}
	if err := a.create(); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	parts, live := errgroup.WithContext(working)
	err := func() error {
		defer stop()
		view, err := a.start(live, parts)
		if err != nil {
			return err
		}
		before, err := total(view)
		if err != nil {
			return err
		}
		if err := a.emit(live, traffic{clicks, click(o.clicks)}); err != nil {
			return err
		}
		if err := await(live, view, before+o.clicks); err != nil {
			return err
		}
		return show(view, o.json, stdout)
	}()
	return errors.Join(err, parts.Wait())
}
