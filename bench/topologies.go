package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// StreamsApp is one of the measured topologies on Weir's streams, as StreamsApp.java is on Kafka
// Streams: the same input, the same settings, one worker.
type StreamsApp struct {
	Topology  string // map, count, window, last
	Guarantee string // atLeastOnce, exactlyOnce
	Addr      string // of the broker
	ID        string // of the application
	Dir       string // of its state
}

// Kafka's names of the guarantees.
const (
	atLeastOnce = "at_least_once"
	exactlyOnce = "exactly_once_v2"
)

// streamsInput is the topic that every topology reads.
const streamsInput = "bench-in"

// output is the topic that the application writes.
func (a StreamsApp) output() string { return a.ID + "-out" }

// Run runs the topology until ctx ends.
func (a StreamsApp) Run(ctx context.Context) error {
	topology, err := a.build()
	if err != nil {
		return err
	}
	guarantee := streams.AtLeastOnce
	if a.Guarantee == exactlyOnce {
		guarantee = streams.ExactlyOnceV2
	}
	app, err := streams.NewApp(topology, streams.Config{
		ApplicationID: a.ID, Brokers: []string{a.Addr}, StateDir: a.Dir,
		Guarantee: guarantee, CommitInterval: 100 * time.Millisecond, CacheBytes: 10 << 20, OnRestore: tellRestored(os.Stdout),
	})
	if err != nil {
		return err
	}
	return app.Run(ctx)
}

func (a StreamsApp) build() (*streams.Topology, error) {
	b := streams.NewBuilder()
	text := serde.String()
	input := streamsInput
	if a.Topology == "last" { // it only restores
		input = a.ID + "-in"
	}
	in := streams.From(b, input, text, text)
	switch a.Topology {
	case "map":
		full := in.Filter(func(_, v string) bool { return v != "" })
		streams.MapValues(full, func(_, v string) string { return v + "!" }).To(a.output(), text, text)
	case "count":
		streams.GroupByKey(in).Count().ToStream().To(a.output(), text, serde.Int64())
	case "last":
		streams.GroupByKey(in).Reduce(func(_, v string) string { return v }, streams.Store(lastOf)).ToStream().To(a.output(), text, text)
	case "window":
		streams.GroupBy(in, func(_, v string) string { return v[:6] }, text).
			WindowedBy(streams.Tumbling(time.Minute).Grace(2*time.Hour)).Count().ToStream().
			To(a.output(), serde.TimeWindowed(text, time.Minute), serde.Int64())
	default:
		return nil, fmt.Errorf("no topology %q: want map, count, last or window", a.Topology)
	}
	return b.Build()
}
