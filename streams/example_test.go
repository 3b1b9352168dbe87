package streams_test

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// Words are counted across all lines: the stream goes through a repartition
// topic, so that every occurrence of a word meets in one task.
func Example() {
	b := streams.NewBuilder()
	lines := streams.From(b, "lines", serde.String(), serde.String())
	words := streams.FlatMapValues(lines, func(_, line string) iter.Seq[string] {
		return strings.FieldsSeq(strings.ToLower(line))
	})
	streams.GroupBy(words, func(_, word string) string { return word }, serde.String()).
		Count(streams.Store("counts")).
		ToStream().
		To("counts", serde.String(), serde.Int64())
	topo, err := b.Build()
	if err != nil {
		panic(err)
	}

	d, err := streamstest.New(topo)
	if err != nil {
		panic(err)
	}
	in := streamstest.Input(d, "lines", serde.String(), serde.String())
	out := streamstest.Output(d, "counts", serde.String(), serde.Int64())
	if err := in.Pipe("", "the cat and the hat", 1); err != nil {
		panic(err)
	}
	records, err := out.Drain()
	if err != nil {
		panic(err)
	}
	for _, r := range records {
		fmt.Println(r.Key, r.Value)
	}
	// Output:
	// the 1
	// cat 1
	// and 1
	// the 2
	// hat 1
}

// Page views and unique visitors per minute, from one grouping.
func ExampleAggregateWindow() {
	type view struct{ Page, Visitor string }
	type visitors = map[string]bool

	b := streams.NewBuilder()
	views := streams.From(b, "page-views", serde.String(), serde.JSON[view]())
	perMinute := streams.GroupBy(views, func(_ string, v view) string { return v.Page }, serde.String(), streams.Named("by-page")).
		WindowedBy(streams.Tumbling(time.Minute).Grace(10 * time.Second))

	key := serde.TimeWindowed(serde.String(), time.Minute)
	perMinute.Count(streams.Store("pv")).ToStream().To("pv", key, serde.Int64())

	unique := streams.AggregateWindow(perMinute,
		func() visitors { return visitors{} },
		func(_ string, v view, seen visitors) visitors { seen[v.Visitor] = true; return seen },
		serde.JSON[visitors](), streams.Store("uv"))
	streams.MapValues(unique.ToStream(), func(_ streams.Windowed[string], seen visitors) int64 { return int64(len(seen)) }).
		To("uv", key, serde.Int64())

	topo, err := b.Build()
	if err != nil {
		panic(err)
	}
	d, err := streamstest.New(topo)
	if err != nil {
		panic(err)
	}
	in := streamstest.Input(d, "page-views", serde.String(), serde.JSON[view]())
	for i, visitor := range []string{"ada", "bob", "ada"} {
		if err := in.Pipe("", view{"/", visitor}, int64(i)*30_000); err != nil {
			panic(err)
		}
	}
	for _, topic := range []string{"pv", "uv"} {
		records, err := streamstest.Output(d, topic, key, serde.Int64()).Drain()
		if err != nil {
			panic(err)
		}
		for _, r := range records {
			fmt.Println(topic, r.Key.Key, time.UnixMilli(r.Key.Start).UTC().Format(time.TimeOnly), r.Value)
		}
	}
	// Output:
	// pv / 00:00:00 1
	// pv / 00:00:00 2
	// pv / 00:01:00 1
	// uv / 00:00:00 1
	// uv / 00:00:00 2
	// uv / 00:01:00 1
}

func ExampleStream_Split() {
	b := streams.NewBuilder()
	split := streams.From(b, "orders", serde.String(), serde.Int64()).Split(streams.Named("orders-"))
	split.Branch(func(_ string, cents int64) bool { return cents >= 100_000 }, streams.Named("large")).
		To("large-orders", serde.String(), serde.Int64())
	split.Default(streams.Named("small")).To("small-orders", serde.String(), serde.Int64())
	topo, err := b.Build()
	if err != nil {
		panic(err)
	}
	fmt.Print(topo.Describe())
	// Output:
	// Topologies:
	//    Sub-topology: 0
	//     Source: KSTREAM-SOURCE-0000000000 (topics: [orders])
	//       --> orders-
	//     Processor: orders- (stores: [])
	//       --> orders-large, orders-small
	//       <-- KSTREAM-SOURCE-0000000000
	//     Processor: orders-large (stores: [])
	//       --> KSTREAM-SINK-0000000003
	//       <-- orders-
	//     Processor: orders-small (stores: [])
	//       --> KSTREAM-SINK-0000000005
	//       <-- orders-
	//     Sink: KSTREAM-SINK-0000000003 (topic: large-orders)
	//       <-- orders-large
	//     Sink: KSTREAM-SINK-0000000005 (topic: small-orders)
	//       <-- orders-small
}

// firstOnly forwards the first record of each key.
type firstOnly struct {
	seen streams.StoreRef[string, int64]
	ctx  streams.Context[string, string]
	kv   streams.KV[string, int64]
}

func (p *firstOnly) Init(ctx streams.Context[string, string]) (err error) {
	p.ctx = ctx
	p.kv, err = p.seen.Open(ctx)
	return err
}

func (p *firstOnly) Process(r streams.Record[string, string]) error {
	if _, known, err := p.kv.Get(r.Key); known || err != nil {
		return err
	}
	if err := p.kv.Put(r.Key, r.Timestamp); err != nil {
		return err
	}
	return p.ctx.Forward(r)
}

func (p *firstOnly) Close() error { return nil }

// A processor with a store of its own lets the first record of each key pass.
func ExampleProcess() {
	b := streams.NewBuilder()
	in := streams.From(b, "in", serde.String(), serde.String())
	seen := streams.NewStore(b, "seen", serde.String(), serde.Int64())
	streams.Process(in, func() streams.Processor[string, string, string, string] {
		return &firstOnly{seen: seen}
	}, seen).To("out", serde.String(), serde.String())
	topo, err := b.Build()
	if err != nil {
		panic(err)
	}
	d, err := streamstest.New(topo)
	if err != nil {
		panic(err)
	}
	input := streamstest.Input(d, "in", serde.String(), serde.String())
	for i, word := range []string{"one", "two", "three"} {
		if err := input.Pipe("key", word, int64(i)); err != nil {
			panic(err)
		}
	}
	for _, m := range d.Drain() {
		fmt.Printf("%s=%s\n", m.Key, m.Value)
	}
	// Output: key=one
}
