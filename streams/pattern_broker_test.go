package streams_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/serde"
)

// follower counts by key what it reads of topics that match a pattern.
type follower struct {
	app *streams.App
	*running
}

// follow starts an instance that looks for topics that often.
func (w *wordCount) follow(name string, age time.Duration) *follower {
	t := w.t
	t.Helper()
	b := streams.NewBuilder()
	in := streams.FromPattern(b, regexp.MustCompile(strings.ReplaceAll(`APP-in\d*|APP-.*-changelog|dlq\.APP|__.*`, "APP", w.prefix)), serde.String(), serde.String())
	counts := streams.GroupByKey(in).Count(streams.Store("counts"))
	counts.ToStream().To(w.prefix+"-counts", serde.String(), serde.Int64())
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.NewApp(topology, streams.Config{
		ApplicationID: w.prefix, Brokers: w.brokers, StateDir: t.TempDir(), Guarantee: w.guarantee, MetadataMaxAge: age,
		CommitInterval: 50 * time.Millisecond, LeaveOnStop: true, OnError: func(streams.ErrorEvent) streams.Decision { return streams.Fail },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)).With(slog.String("instance", name)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &follower{app: app, running: runApp(t, app)}
}

// reads returns the partitions of the tasks that run.
func reads(instances ...*follower) map[string]int {
	partitions := map[string]int{}
	for _, f := range instances {
		for _, s := range f.app.Tasks() {
			for _, tp := range s.Partitions {
				if s.State == "running" {
					partitions[tp.Topic]++
				}
			}
		}
	}
	return partitions
}

// awaitReads waits until the instances run and read so many partitions of each topic.
func (w *wordCount) awaitReads(want map[string]int, instances ...*follower) {
	w.t.Helper()
	begun := time.Now()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		got := reads(instances...)
		all := !slices.ContainsFunc(instances, func(f *follower) bool { return f.app.State() != streams.Running })
		if all && maps.Equal(got, want) {
			return
		}
		if time.Since(begun) > time.Minute {
			w.t.Fatalf("reads %v, want %v", got, want)
		}
	}
}

// put makes a topic if there are partitions to make, and writes a record for each
// key to it.
func (w *wordCount) put(topic string, partitions int32, keys int) {
	w.t.Helper()
	if partitions > 0 {
		if _, err := kadm.NewClient(w.cl).CreateTopic(w.t.Context(), partitions, 1, nil, topic); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := range keys {
		r := &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: []byte("v")}
		if err := w.cl.ProduceSync(w.t.Context(), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// awaitCounts waits until every key was counted n times.
func (w *wordCount) awaitCounts(n int64) {
	w.t.Helper()
	begun := time.Now()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		got := w.counts()
		if len(got) == 10 && !slices.ContainsFunc(slices.Collect(maps.Values(got)), func(m int64) bool { return m != n }) {
			return
		}
		if time.Since(begun) > time.Minute {
			w.t.Fatalf("counts %v, want %d", got, n)
		}
	}
}

// TestPatternFollowsTheTopicsOnBroker makes and deletes topics while two instances
// run, one of which learns of them from the other.
func TestPatternFollowsTheTopicsOnBroker(t *testing.T) {
	w := wordCountOn(t, embedded(t), streams.ExactlyOnceV2)
	first, second, third := w.prefix+"-in1", w.prefix+"-in2", w.prefix+"-in"
	a := w.follow("a", 100*time.Millisecond)
	w.awaitReads(map[string]int{}, a)
	w.put(first, 2, 10)
	w.awaitReads(map[string]int{first: 2}, a)
	b := w.follow("b", time.Hour)
	w.awaitReads(map[string]int{first: 2}, a, b)
	w.awaitCounts(1)
	w.put(second, 2, 10)
	w.awaitReads(map[string]int{first: 2, second: 2}, a, b)
	w.awaitCounts(2)
	if _, err := kadm.NewClient(w.cl).DeleteTopic(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	w.awaitReads(map[string]int{first: 2}, a, b)
	w.put(third, 2, 10)
	w.awaitReads(map[string]int{first: 2, third: 2}, a, b)
	w.awaitCounts(3)
	if err := b.end(); err != nil {
		t.Error(err)
	}
	w.put(second, 3, 0) // its third partition has no state to go to
	if <-a.ended; !errors.Is(a.err, runtime.ErrPartitions) {
		t.Errorf("a topic that does not fit gave %v", a.err)
	}
}

// TestTopicOfTwoPatternsOnBroker: the app does not run on what no builder can know.
func TestTopicOfTwoPatternsOnBroker(t *testing.T) {
	w := wordCountOn(t, embedded(t), streams.AtLeastOnce)
	b := streams.NewBuilder()
	to(matching(b, w.prefix+"-l.*"), "out", str)
	to(matching(b, w.prefix+"-.*s"), "out", str)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app, err := streams.NewApp(topology, streams.Config{ApplicationID: w.prefix, Brokers: w.brokers, StateDir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context()); !errors.Is(err, graph.ErrOverlap) {
		t.Errorf("got %v", err)
	}
}
