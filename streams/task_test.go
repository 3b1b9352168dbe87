package streams_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

var errUser = errors.New("out of order")

// faulty is a processor that fails where it is told to.
type faulty struct {
	ctx                 streams.Context[string, string]
	inInit, inProcess   bool
	inClose, inSchedule bool
	closed              *int
	clock               processor.PunctuationType
	panicInstead        bool
}

func (f *faulty) fail(here bool) error {
	if here && f.panicInstead {
		panic(errUser)
	}
	if here {
		return errUser
	}
	return nil
}

func (f *faulty) Init(ctx streams.Context[string, string]) error {
	f.ctx = ctx
	ctx.Schedule(time.Millisecond, f.clock, func(int64) error { return f.fail(f.inSchedule) })
	return f.fail(f.inInit)
}

func (f *faulty) Process(r streams.Record[string, string]) error {
	if err := f.fail(f.inProcess); err != nil {
		return err
	}
	return f.ctx.Forward(r)
}

func (f *faulty) Close() error {
	if f.closed != nil {
		*f.closed++
	}
	return f.fail(f.inClose)
}

type badSerde struct{}

func (badSerde) Append(dst []byte, _ string, v string) ([]byte, error) {
	if v == "bad" {
		return dst, errUser
	}
	return append(dst, v...), nil
}

func (badSerde) Decode(_ string, b []byte) (string, error) {
	if string(b) == "bad" {
		return "", errUser
	}
	return string(b), nil
}

func boom[V any](_ string, v V) V { panic(fmt.Sprintf("cannot take %v", v)) }

// TestErrorsNameTheOperator: whatever fails, the error says where and in which
// stage, keeps its cause, and holds a stack if it was a panic.
func TestErrorsNameTheOperator(t *testing.T) {
	process := func(f faulty) func(b *builder) {
		return func(b *builder) {
			s := streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &f }, named("p"))
			to(s.Filter(yes), "out", str)
		}
	}
	for name, tc := range map[string]struct {
		build  func(b *builder)
		key    string
		op     string
		stage  processor.Stage
		panics bool
	}{
		"bad key": {
			build: func(b *builder) { streams.From(b, "in", serde.Serde[string](badSerde{}), str, named("src")) },
			key:   "bad", op: "src", stage: processor.Deserialize,
		},
		"bad value": {
			build: func(b *builder) { streams.From(b, "in", str, serde.Serde[string](badSerde{}), named("src")) },
			op:    "src", stage: processor.Deserialize,
		},
		"bad table row": {
			build: func(b *builder) { streams.TableFrom(b, "in", str, serde.Serde[string](badSerde{}), named("t")) },
			op:    "t-source", stage: processor.Deserialize,
		},
		"key that cannot be written": {
			build: func(b *builder) {
				streams.SelectKey(from(b, "in"), value).To("out", badSerde{}, str, named("k"))
			},
			op: "k", stage: processor.Serialize,
		},
		"value that cannot be written": {
			build: func(b *builder) { from(b, "in").To("out", str, badSerde{}, named("k")) },
			op:    "k", stage: processor.Serialize,
		},
		"row that cannot be written": {
			build: func(b *builder) {
				streams.GroupByKey(from(b, "in"), streams.ValueSerde[string](badSerde{})).Reduce(first, named("r"), streams.NoCache())
			},
			op: "r", stage: processor.Process,
		},
		"window row that cannot be written": {
			build: func(b *builder) {
				w := streams.GroupByKey(from(b, "in"), streams.ValueSerde[string](badSerde{})).WindowedBy(window())
				w.Reduce(first, named("r"), streams.NoCache())
			},
			op: "r", stage: processor.Process,
		},
		"filter": {
			build: func(b *builder) { from(b, "in").Filter(func(k, v string) bool { panic(errUser) }, named("f")) },
			op:    "f", stage: processor.Process, panics: true,
		},
		"behind others": {
			build: func(b *builder) { streams.MapValues(from(b, "in").Filter(yes).Peek(look), boom, named("m")).Peek(look) },
			op:    "m", stage: processor.Process, panics: true,
		},
		"behind a flat map": {
			build: func(b *builder) {
				streams.MapValues(streams.FlatMap(from(b, "in"), wordPairs), boom, named("m"))
			},
			op: "m", stage: processor.Process, panics: true,
		},
		"behind flat values and a fan": {
			build: func(b *builder) {
				s := streams.FlatMapValues(from(b, "in"), words)
				s.Peek(look)
				streams.MapValues(s, boom, named("m"))
			},
			op: "m", stage: processor.Process, panics: true,
		},
		"aggregate": {
			build: func(b *builder) {
				streams.Aggregate(streams.GroupByKey(from(b, "in")), empty, func(_, v, _ string) string { return boom("", v) }, str, named("a"))
			},
			op: "a", stage: processor.Process, panics: true,
		},
		"window aggregate": {
			build: func(b *builder) {
				w := streams.GroupByKey(from(b, "in")).WindowedBy(window())
				streams.AggregateWindow(w, empty, func(_, v, _ string) string { return boom("", v) }, str, named("a"))
			},
			op: "a", stage: processor.Process, panics: true,
		},
		"behind a cache": {
			build: func(b *builder) {
				streams.MapValues(streams.GroupByKey(from(b, "in")).Count().ToStream(), boom, named("m"))
			},
			op: "m", stage: processor.Process, panics: true,
		},
		"behind a repartition topic": {
			build: func(b *builder) { streams.MapValues(from(b, "in").Repartition(), boom, named("m")) },
			op:    "m", stage: processor.Process, panics: true,
		},
		"timestamp extractor": {
			build: func(b *builder) {
				from(b, "in", named("src"), streams.TimestampFrom(func(*streams.Message) (int64, error) { panic(errUser) }))
			},
			op: "src", stage: processor.Deserialize, panics: true,
		},
		"processor":        {build: process(faulty{inProcess: true}), op: "p", stage: processor.Process},
		"processor panics": {build: process(faulty{inProcess: true, panicInstead: true}), op: "p", stage: processor.Process, panics: true},
		"schedule":         {build: process(faulty{inSchedule: true}), op: "p", stage: processor.Process},
		"schedule panics":  {build: process(faulty{inSchedule: true, panicInstead: true}), op: "p", stage: processor.Process, panics: true},
		"after the processor": {
			build: func(b *builder) {
				s := streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &faulty{} }, named("p"))
				streams.MapValues(s, boom, named("m"))
			},
			op: "m", stage: processor.Process, panics: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, tc.build)
			key := "k"
			if tc.key != "" {
				key = tc.key
			}
			err := streamstest.Input(d, "in", str, str).Pipe(key, "bad", 1)
			var pe *processor.Error
			if !errors.As(err, &pe) {
				t.Fatalf("error %v, want a processor.Error", err)
			}
			if pe.Operator != tc.op || pe.Stage != tc.stage || (pe.Stack != nil) != tc.panics {
				t.Errorf("operator %s, stage %s, stack %v; want %s, %s, %v", pe.Operator, pe.Stage, pe.Stack != nil, tc.op, tc.stage, tc.panics)
			}
			if !errors.Is(err, errUser) && !strings.Contains(err.Error(), "cannot take") {
				t.Errorf("error %v lost its cause", err)
			}
			if again := d.AdvanceWallClock(0); !errors.Is(again, pe) {
				t.Errorf("a broken driver went on: %v", again)
			}
		})
	}
}

func TestWallClockErrorsNameTheOperator(t *testing.T) {
	d := start(t, func(b *builder) {
		f := faulty{inSchedule: true, clock: streams.WallClock}
		streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &f }, named("p"))
	})
	err := d.AdvanceWallClock(time.Second)
	var pe *processor.Error
	if !errors.As(err, &pe) || pe.Operator != "p" || !errors.Is(err, errUser) {
		t.Errorf("error %v, want that of p", err)
	}
}

// TestProcessorsCloseInPairs: what was initialised is closed once, also when a
// later one cannot be initialised.
func TestProcessorsCloseInPairs(t *testing.T) {
	build := func(closed *int, bad faulty) *streams.Topology {
		b := streams.NewBuilder()
		s := from(b, "in")
		for i := range 3 {
			f := faulty{closed: closed}
			if i == 2 {
				f = bad
			}
			streams.Process(s, func() streams.Processor[string, string, string, string] { return &f }, named(fmt.Sprintf("p%d", i)))
		}
		topo, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return topo
	}
	for _, panics := range []bool{false, true} {
		closed := 0
		_, err := streamstest.New(build(&closed, faulty{inInit: true, panicInstead: panics}))
		if !errors.Is(err, errUser) || !strings.Contains(err.Error(), "p2") {
			t.Errorf("error %v, want that of p2", err)
		}
		if closed != 2 {
			t.Errorf("%d processors closed, want the 2 that were initialised", closed)
		}
	}
	closed := 0
	d, err := streamstest.New(build(&closed, faulty{inClose: true}))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); !errors.Is(err, errUser) || closed != 2 {
		t.Errorf("error %v and %d others closed, want that of p2 and 2", err, closed)
	}
}

// curious asks for everything a context has.
type curious struct {
	silent
	t   *testing.T
	ref streams.StoreRef[string, int64]
}

func (c *curious) Init(ctx streams.Context[string, string]) error {
	if _, err := c.ref.Open(ctx); err == nil || !strings.Contains(err.Error(), "not connected") {
		c.t.Errorf("a store of another processor was opened: %v", err)
	}
	if _, _, _, ok := ctx.Meta(); ok {
		c.t.Error("there is a message outside of processing")
	}
	got := fmt.Sprintf("%s %s %d %d %v", ctx.ApplicationID(), ctx.TaskID(), ctx.StreamTime(), ctx.Now().UnixMilli(), ctx.Logger() != nil)
	if want := "my-app 1_0 -1 7 true"; got != want {
		c.t.Errorf("context %q, want %q", got, want)
	}
	return nil
}

func TestContextShowsTheTask(t *testing.T) {
	var seen []string
	b := streams.NewBuilder()
	kv := streams.NewStore(b, "kv", str, i64)
	streams.Process(from(b, "other"), quiet, kv)
	streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &curious{t: t, ref: kv} })
	meta := streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &teller{seen: &seen} })
	to(meta, "out", str)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d, err := streamstest.New(topo, streamstest.ApplicationID("my-app"), streamstest.StartAt(time.UnixMilli(7)))
	if err != nil {
		t.Fatal(err)
	}
	in := streamstest.Input(d, "in", str, str)
	header := []streams.Header{{Key: "h", Value: []byte("1")}}
	for at := range int64(2) {
		r := streams.Record[string, string]{Key: "k", Value: "v", Timestamp: 10 * at, Headers: header}
		if err := in.PipeRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"in-0 0 at 0", "in-0 1 at 10"}, seen); diff != "" {
		t.Error(diff)
	}
	if n, reasons := d.Dropped(); n != 2 || reasons["told"] != 2 {
		t.Errorf("%d dropped, %v; want 2 as told", n, reasons)
	}
	for _, m := range d.Drain() {
		if diff := cmp.Diff(header, m.Headers); diff != "" {
			t.Error(diff)
		}
	}
	if kv.Name() != "kv" {
		t.Errorf("the store is named %q", kv.Name())
	}
}

// teller tells of each message where it comes from.
type teller struct {
	silent
	ctx  streams.Context[string, string]
	seen *[]string
}

func (p *teller) Init(ctx streams.Context[string, string]) error { p.ctx = ctx; return nil }

func (p *teller) Process(r streams.Record[string, string]) error {
	topic, partition, offset, _ := p.ctx.Meta()
	*p.seen = append(*p.seen, fmt.Sprintf("%s-%d %d at %d", topic, partition, offset, p.ctx.StreamTime()))
	p.ctx.Drop("told")
	p.ctx.Commit()
	return p.ctx.Forward(r)
}

func TestCancelledSchedulesStop(t *testing.T) {
	fired := 0
	d := start(t, func(b *builder) {
		streams.Process(from(b, "in"), func() streams.Processor[string, string, string, string] { return &once{fired: &fired} })
	})
	for range 3 {
		if err := d.AdvanceWallClock(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if fired != 1 {
		t.Errorf("fired %d times, want once", fired)
	}
}

type once struct {
	silent
	fired *int
}

func (o *once) Init(ctx streams.Context[string, string]) error {
	var cancel func()
	cancel = ctx.Schedule(time.Second, streams.WallClock, func(int64) error {
		*o.fired++
		cancel()
		return nil
	})
	return nil
}

// TestAnUnknownTopicIsRefused goes past the driver, which checks topics itself.
func TestAnUnknownTopicIsRefused(t *testing.T) {
	d := start(t, func(b *builder) { from(b, "in") })
	if err := d.PipeMessage(streams.Message{Topic: "elsewhere"}); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("error %v, want that no source reads elsewhere", err)
	}
	if _, err := streamstest.KeyValue(d, "kv", str, str); err == nil {
		t.Error("a store that does not exist was opened")
	}
	if _, err := streamstest.Window(d, "kv", str, str); err == nil {
		t.Error("a window store that does not exist was opened")
	}
}

// TestStatelessRecordsDoNotAllocate: between the bytes that come and those that
// go, an operator allocates nothing.
func TestStatelessRecordsDoNotAllocate(t *testing.T) {
	b := streams.NewBuilder()
	s := streams.From(b, "in", i64, i64).Filter(func(_, v int64) bool { return v > 0 }).Peek(func(_, _ int64) {})
	m := streams.Map(s, func(k, v int64) (int64, float64) { return v, float64(k) })
	streams.MapValues(m, func(_ int64, v float64) int64 { return int64(v) }).To("out", i64, i64)
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	task, err := topo.NewTask(0, sinkhole{})
	if err != nil {
		t.Fatal(err)
	}
	eight := []byte{0, 0, 0, 0, 0, 0, 0, 1}
	msg := &streams.Message{Topic: "in", Key: eight, Value: eight}
	allocs := testing.AllocsPerRun(100, func() {
		if err := task.Process(msg); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations a record, want none", allocs)
	}
	if err := task.Process(&streams.Message{Topic: "elsewhere"}); err == nil {
		t.Error("a message of another topic was processed")
	}
	if _, err := task.Timestamp(&streams.Message{Topic: "elsewhere"}, -1); err == nil {
		t.Error("a message of another topic was given a time")
	}
}

// sinkhole is a host that takes every record.
type sinkhole struct{ processor.Host }

func (sinkhole) ApplicationID() string         { return "app" }
func (sinkhole) TaskID() processor.TaskID      { return processor.TaskID{} }
func (sinkhole) Send(processor.Outgoing) error { return nil }

// TestATaskNeedsItsStores: operators say which of them lacks a store, wherever
// they stand.
func TestATaskNeedsItsStores(t *testing.T) {
	for name, build := range map[string]func(s *strs){
		"count":  func(s *strs) { streams.GroupByKey(s).Count(named("needy")) },
		"window": func(s *strs) { streams.GroupByKey(s).WindowedBy(window()).Count(named("needy")) },
		"behind others": func(s *strs) {
			split := s.Filter(yes).Merge(s).Split()
			counts := streams.GroupByKey(split.Branch(yes)).Count(named("needy")).ToStream()
			streams.GroupByKey(streams.Process(split.Default(), quiet).Repartition()).Count()
			counts.Peek(func(string, int64) {})
		},
		"behind a table": func(s *strs) {
			g := streams.GroupByKey(s).Count(named("needy"))
			streams.GroupByKey(g.ToStream()).Count(named("needy-too"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			build(from(b, "in"))
			topo, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			_, err = topo.NewTask(0, storeless{})
			var pe *processor.Error
			if !errors.As(err, &pe) || !strings.HasPrefix(pe.Operator, "needy") || !errors.Is(err, errUser) {
				t.Errorf("error %v, want that of needy", err)
			}
		})
	}
	b := streams.NewBuilder()
	streams.TableFrom(b, "in", str, str, store("t"), named("needy"))
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topo.NewTask(0, storeless{}); !errors.Is(err, errUser) {
		t.Errorf("error %v, want that of the table", err)
	}
}

// storeless is a host that has no store.
type storeless struct{ sinkhole }

func (storeless) Store(string) (statestore.Store, error) { return nil, errUser }

// TestSerdesFollowTypes: where the DSL is not told how to encode, a type that
// has a serde of its own is written with it, any other as JSON.
func TestSerdesFollowTypes(t *testing.T) {
	through := func(b *builder) {
		in := from(b, "in")
		reroute(in, "bytes", func(_, v string) []byte { return []byte(v) })
		reroute(in, "int32", func(_, _ string) int32 { return 1 })
		reroute(in, "int64", func(_, _ string) int64 { return 1 })
		reroute(in, "float64", func(_, _ string) float64 { return 1 })
		reroute(in, "string", value)
		reroute(in, "struct", func(k, v string) struct{ A, B string } { return struct{ A, B string }{k, v} })
	}
	d := start(t, through)
	if err := streamstest.Input(d, "in", str, str).Pipe("k", "v", 1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bytes": "v", "string": "v", "int32": "\x00\x00\x00\x01", "int64": "\x00\x00\x00\x00\x00\x00\x00\x01",
		"float64": "\x3f\xf0\x00\x00\x00\x00\x00\x00", "struct": `{"A":"k","B":"v"}`,
	} {
		got := d.Internal("test-" + name + "-repartition")
		if len(got) != 1 || string(got[0].Value) != want {
			t.Errorf("%s: %v, want %q", name, got, want)
		}
	}
}

func reroute[V any](s *strs, name string, f func(k, v string) V) {
	streams.MapValues(s, f).Repartition(named(name))
}
