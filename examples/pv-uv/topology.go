package main

import (
	"iter"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// names are the topics and the application of one run. They carry a fingerprint
// of input, window and kind of uniques: another input starts afresh beside it.
type names struct{ app, views, output string }

func namesFor(fingerprint string) names {
	app := "pv-uv-" + fingerprint
	return names{app: app, views: app + "-views", output: app + "-output"}
}

// keepForever is for topics whose records are as old as the log they come from.
func keepForever() map[string]string { return map[string]string{"retention.ms": "-1"} }

// topology counts the views and the unique visitors of every page, and of all
// pages together, per window:
//
//	views ──FlatMap──▶ page, * ──GroupByKey──▶ WindowedBy ──Aggregate──▶ output
//
// Grace has no end: the place of a line in the file never loses it.
func topology(n names, window time.Duration, uv string) (*streams.Topology, error) {
	b := streams.NewBuilder()
	views := streams.From(b, n.views, serde.String(), serde.String())
	pages := streams.FlatMap(views, pageAndTotal, streams.Named("page-and-total"))
	counts := streams.AggregateWindow(
		streams.GroupByKey(pages, streams.Named("by-page")).WindowedBy(streams.Tumbling(window).Grace(streams.Forever)),
		newStat(uv),
		func(_, visitor string, s stat) stat { return s.seen(visitor) },
		statSerde{}, streams.Store("pv-uv"), streams.TopicConfig(keepForever()))
	streams.MapValues(counts.ToStream(), func(w streams.Windowed[string], s stat) outputLine {
		return newOutputLine(row{w.Start, w.Key}, counted{s.PV, s.UV})
	}).To(n.output, windowKeys(window), lineSerde{})
	return b.Build()
}

// pageAndTotal counts a view once for its page and once for all pages.
func pageAndTotal(page, visitor string) iter.Seq2[string, string] {
	token := visitorToken(visitor)
	return func(yield func(string, string) bool) {
		_ = yield(page, token) && yield(total, token)
	}
}

// windowKeys encodes a page and the start of a window as Kafka Streams does.
func windowKeys(window time.Duration) serde.Serde[streams.Windowed[string]] {
	return serde.TimeWindowed(serde.String(), window)
}
