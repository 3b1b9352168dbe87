package streams_test

import (
	"errors"
	"testing"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/streamstest"
)

// TestFullBufferShutsDown: a buffer that must not emit early ends the app, and
// no error handler is asked.
func TestFullBufferShutsDown(t *testing.T) {
	d := start(t, windowOperators()["suppress-strict"], streamstest.SkipErrors(func(err *processor.Error) {
		t.Errorf("asked about %v", err)
	}))
	in := streamstest.Input(d, "in", str, str)
	if err := in.Pipe("a", "v", 1); err != nil {
		t.Fatal(err)
	}
	if err := in.Pipe("b", "v", 2); !errors.Is(err, streams.ErrBufferFull) {
		t.Errorf("error %v, want %v", err, streams.ErrBufferFull)
	}
}

// TestWindowsThatMakeNoSense are refused where they are built.
func TestWindowsThatMakeNoSense(t *testing.T) {
	closed := streams.UntilWindowCloses(streams.Unbounded())
	for name, build := range map[string]func(b *builder){
		"a session without gap": func(b *builder) { streams.GroupByKey(from(b, "in")).WindowedBySession(streams.Sessions(0)) },
		"endless on close": func(b *builder) {
			streams.GroupByKey(from(b, "in")).WindowedBy(window().Grace(streams.Forever)).EmitStrategy(streams.OnWindowClose)
		},
		"nothing to close": func(b *builder) { streams.GroupByKey(from(b, "in")).Count().Suppress(closed) },
		"final but early": func(b *builder) {
			streams.GroupByKey(from(b, "in")).WindowedBy(window()).Count().Suppress(streams.UntilWindowCloses(streams.MaxRecords(1)))
		},
		"no room": func(b *builder) {
			streams.GroupByKey(from(b, "in")).Count().Suppress(streams.UntilTimeLimit(0, streams.MaxBytes(0)))
		},
		"cogroup of nothing": func(b *builder) {
			streams.Cogroup[string, string, string](streams.GroupByKey(from(b, "in")), nil).Aggregate(empty, str)
		},
	} {
		b := streams.NewBuilder()
		build(b)
		if _, err := b.Build(); err == nil {
			t.Errorf("%s: built", name)
		}
	}
}
