package streams_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/runtime"
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

// TestForeignChangelogsAreRefused: a task that restores what no operator of ours
// wrote does not start, and says which store of which operator it is.
func TestForeignChangelogsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		build        func(b *builder)
		store, wants string
		value        string
	}{
		"suppression, bytes of somebody else": {
			build: pending()["suppressed for a time"], store: "KTABLE-SUPPRESS-STATE-STORE-0000000004",
			value: "\x00\x00\x01\x8b\xcf\xe5\x68\x00", wants: "begins with 0000",
		},
		"suppression, torn": {
			build: pending()["suppressed for a time"], store: "KTABLE-SUPPRESS-STATE-STORE-0000000004",
			value: "W\x01\x00\x00", wants: "ends after 4 bytes",
		},
		"delay, torn": {
			build: pending()["join with late rows"], store: "KSTREAM-JOIN-0000000002-Buffer",
			value: "W\x01\x09", wants: "cut short",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			tc.build(b)
			topo, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			db, err := statestore.Memory().Open("")
			if err != nil {
				t.Fatal(err)
			}
			task, err := runtime.NewTask(topo, processor.TaskID{}, runtime.TaskOptions{ApplicationID: "app", Disk: db, Memory: db})
			if err != nil {
				t.Fatal(err)
			}
			row := processor.Message{Key: []byte("\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x00\x01"), Value: []byte(tc.value)}
			if err := task.Restore("app-"+tc.store+"-changelog", []processor.Message{row}, 1); err != nil {
				t.Fatal(err)
			}
			err = task.Start()
			if !errors.Is(err, statestore.ErrCorrupt) || !strings.Contains(err.Error(), "read store "+tc.store) || !strings.Contains(err.Error(), tc.wants) {
				t.Errorf("error %v", err)
			}
			if err := task.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
