package deadletter

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func number(n int64, bits int) string {
	if bits == 32 {
		return string(binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
	return string(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func headers(pairs ...string) []Header {
	var h []Header
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, Header{pairs[i], []byte(pairs[i+1])})
	}
	return h
}

// TestDialects reads one failure as each system writes it.
func TestDialects(t *testing.T) {
	place := Origin{Topic: "orders", Partition: 3, Offset: 42, Timestamp: -1}
	full := place
	full.Timestamp, full.TimestampType = 1_700_000_000_000, "CreateTime"
	failed := Error{Class: "java.lang.ArithmeticException", Message: "/ by zero", Stack: "at A.b(A.java:1)"}
	for _, test := range []struct {
		dialect Dialect
		headers []Header
		want    Letter
	}{
		{Weir, headers(
			"dlq.id", "018bcfe5-6800-7000-8000-000000000000",
			"dlq.origin.topic", "orders", "dlq.origin.partition", "3", "dlq.origin.offset", "42",
			"dlq.origin.timestamp", "1700000000000", "dlq.origin.timestamp.type", "CreateTime",
			"dlq.component", "billing", "dlq.task", "0_3", "dlq.stage", "process", "dlq.operator", "divide",
			"dlq.error.class", failed.Class, "dlq.error.message", failed.Message, "dlq.error.stack", failed.Stack, "dlq.error.code", "10",
			"dlq.error.fingerprint", "0123456789abcdef", "dlq.attempts", "4",
			"dlq.first.failed.at", "1700000000001", "dlq.last.failed.at", "1700000000009",
			"dlq.schema.id", "7", "dlq.replays", "1", "dlq.replayed.from", "018bcfe5-6800-7000-8000-00000000000f",
		), Letter{
			ID: "018bcfe5-6800-7000-8000-000000000000", Origin: full, Component: "billing", Task: "0_3", Stage: "process", Operator: "divide",
			Error:       Error{Class: failed.Class, Message: failed.Message, Stack: failed.Stack, Code: 10},
			Fingerprint: "0123456789abcdef", SchemaID: "7", Attempts: 4, FirstFailedAt: 1_700_000_000_001, LastFailedAt: 1_700_000_000_009,
			Replays: 1, ReplayedFrom: "018bcfe5-6800-7000-8000-00000000000f",
		}},
		{Streams, headers(
			"__streams.errors.exception", failed.Class, "__streams.errors.stacktrace", failed.Stack, "__streams.errors.message", failed.Message,
			"__streams.errors.topic", "orders", "__streams.errors.partition", "3", "__streams.errors.offset", "42",
		), Letter{Origin: place, Error: failed}},
		{Connect, headers(
			"__connect.errors.topic", "orders", "__connect.errors.partition", "3", "__connect.errors.offset", "42",
			"__connect.errors.connector.name", "sink", "__connect.errors.task.id", "1", "__connect.errors.stage", "VALUE_CONVERTER",
			"__connect.errors.class.name", "JsonConverter", "__connect.errors.exception.class.name", failed.Class,
			"__connect.errors.exception.message", failed.Message, "__connect.errors.exception.stacktrace", failed.Stack,
		), Letter{Origin: place, Component: "sink", Task: "1", Stage: "VALUE_CONVERTER", Operator: "JsonConverter", Error: failed}},
		{Share, headers(
			"__dlq.errors.topic", "orders", "__dlq.errors.partition", "3", "__dlq.errors.offset", "42",
			"__dlq.errors.group", "workers", "__dlq.errors.delivery.count", "5", "__dlq.errors.message", failed.Message,
		), Letter{Origin: place, Component: "workers", Attempts: 5, Error: Error{Message: failed.Message}}},
		{Spring, headers(
			"kafka_dlt-original-topic", "orders", "kafka_dlt-original-partition", number(3, 32), "kafka_dlt-original-offset", number(42, 64),
			"kafka_dlt-original-timestamp", number(1_700_000_000_000, 64), "kafka_dlt-original-timestamp-type", "CreateTime",
			"kafka_dlt-original-consumer-group", "workers", "kafka_dlt-exception-fqcn", "ListenerExecutionFailedException",
			"kafka_dlt-exception-cause-fqcn", failed.Class, "kafka_dlt-exception-message", failed.Message,
			"kafka_dlt-exception-stacktrace", failed.Stack, "retry_topic-attempts", number(2, 32),
		), Letter{Origin: full, Component: "workers", Attempts: 2, Error: failed}},
		{Spring, headers(
			"kafka_dlt-original-topic", "orders", "kafka_dlt-original-partition", number(3, 32), "kafka_dlt-original-offset", number(42, 64),
			"kafka_dlt-key-exception-fqcn", failed.Class, "kafka_dlt-key-exception-message", failed.Message, "kafka_dlt-key-exception-stacktrace", failed.Stack,
		), Letter{Origin: place, Error: failed}},
	} {
		t.Run(test.dialect.String(), func(t *testing.T) {
			own := headers("trace", "1", "trace", "2")
			l, d, ok := Read(append(own, test.headers...))
			if !ok || d != test.dialect {
				t.Fatalf("read in the words of %s, %v", d, ok)
			}
			if diff := cmp.Diff(test.want, l); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(own, Original(append(own, test.headers...))); diff != "" {
				t.Errorf("the record's own headers: %s", diff)
			}
			if test.dialect == Weir || len(test.headers) != len(columns(test.dialect)) {
				return
			}
			written := l.appendAs(nil, test.dialect)
			if diff := cmp.Diff(test.headers, written); diff != "" {
				t.Errorf("written: %s", diff)
			}
		})
	}
	if Dialect(9).String() != "dialect(9)" || columns(9) != nil {
		t.Error("an unknown dialect has a name")
	}
}

func TestNothingToRead(t *testing.T) {
	for _, h := range [][]Header{nil, headers("a", "b", "dlq", "x", "dlq.unknown", "y")} {
		l, _, ok := Read(h)
		if ok || l != (Letter{Origin: Nowhere()}) {
			t.Errorf("read %+v", l)
		}
	}
	if _, err := Replay(headers("a", "b")); err == nil {
		t.Error("replayed what is no dead letter")
	}
}

func TestBadNumbersAreAbsent(t *testing.T) {
	for _, h := range [][]Header{
		headers("dlq.origin.topic", "t", "dlq.origin.partition", "x", "dlq.origin.offset", "", "dlq.attempts", "99999999999"),
		headers("kafka_dlt-original-topic", "t", "kafka_dlt-original-partition", "3", "kafka_dlt-original-offset", number(3, 32)),
		{{Key: "__connect.errors.topic", Value: []byte("t")}, {Key: "__connect.errors.partition"}, {Key: "__connect.errors.exception.message"}},
	} {
		l, _, ok := Read(h)
		want := Letter{Origin: Nowhere()}
		want.Origin.Topic = "t"
		if !ok || l != want {
			t.Errorf("read %+v", l)
		}
	}
}

// The writer's own words come last, so a record that failed first elsewhere and
// then here tells the failure here, and the other way round.
func TestLastFailureCounts(t *testing.T) {
	first := headers("__connect.errors.topic", "a", "__connect.errors.offset", "1")
	here := Letter{Origin: Origin{Topic: "b", Partition: 0, Offset: 2, Timestamp: 3}}
	both := here.Append(first, Streams)
	if l, d, _ := Read(both); d != Weir || l.Origin.Topic != "b" {
		t.Errorf("read %s, %s", d, l.Origin.Topic)
	}
	again := append(both, headers("__connect.errors.topic", "c", "__connect.errors.offset", "4")...)
	if l, d, _ := Read(again); d != Connect || l.Origin.Topic != "c" || l.Origin.Offset != 4 {
		t.Errorf("read %s, %+v", d, l.Origin)
	}
}

func letters() *rapid.Generator[Letter] {
	return rapid.Custom(func(t *rapid.T) Letter {
		text := rapid.StringN(0, 20, 60)
		n32 := rapid.Int32Min(0)
		n64 := rapid.Int64Min(0)
		return Letter{
			ID: text.Draw(t, "id"), Component: text.Draw(t, "component"), Task: text.Draw(t, "task"),
			Stage: text.Draw(t, "stage"), Operator: text.Draw(t, "operator"),
			Origin: Origin{
				Topic: text.Draw(t, "topic"), Partition: rapid.Int32Min(-1).Draw(t, "partition"), Offset: rapid.Int64Min(-1).Draw(t, "offset"),
				Timestamp: rapid.Int64().Draw(t, "timestamp"), TimestampType: text.Draw(t, "type"),
			},
			Error: Error{
				Class: text.Draw(t, "class"), Message: text.Draw(t, "message"), Stack: text.Draw(t, "stack"), Code: rapid.Int32().Draw(t, "code"),
			},
			Fingerprint: text.Draw(t, "fingerprint"), SchemaID: text.Draw(t, "schema"), Attempts: n32.Draw(t, "attempts"),
			FirstFailedAt: n64.Draw(t, "first"), LastFailedAt: n64.Draw(t, "last"),
			Replays: n32.Draw(t, "replays"), ReplayedFrom: text.Draw(t, "from"),
		}
	})
}

// Whatever is written behind whatever a record has comes back, and the record's
// own headers are untouched.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := letters().Draw(t, "letter")
		l.ID = "x" + l.ID // an empty letter writes nothing
		l.Error.Message, l.Error.Stack = strings.ToValidUTF8(l.Error.Message, "?"), strings.ToValidUTF8(l.Error.Stack, "?")
		var own []Header
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			own = append(own, Header{rapid.String().Draw(t, "name"), rapid.SliceOf(rapid.Byte()).Draw(t, "value")})
		}
		kept := append([]Header(nil), own...)
		also := rapid.SampledFrom([]Dialect{Weir, Streams, Connect, Share, Spring}).Draw(t, "also")
		all := l.Append(own, also)
		got, d, ok := Read(all)
		if !ok || d != Weir || got != l {
			t.Fatalf("%s, %v: %s", d, ok, cmp.Diff(l, got))
		}
		if diff := cmp.Diff(kept, Original(all)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestTextsAreLimited(t *testing.T) {
	l := Letter{ID: "x", Error: Error{Message: strings.Repeat("é", MaxMessage), Stack: "\xff" + strings.Repeat("s", 2*MaxStack)}}
	size := 0
	for _, h := range l.Append(nil, Streams) {
		size += len(h.Key) + len(h.Value)
	}
	got, _, _ := Read(l.Append(nil, Streams))
	if n := len(got.Error.Message); n > MaxMessage || n < MaxMessage-4 || !utf8.ValidString(got.Error.Message) || !strings.HasSuffix(got.Error.Message, cut) {
		t.Errorf("message of %d bytes", n)
	}
	if n := len(got.Error.Stack); n != MaxStack || !strings.HasPrefix(got.Error.Stack, "\uFFFDs") {
		t.Errorf("stack of %d bytes", n)
	}
	if size > 2*(MaxMessage+MaxStack)+400 {
		t.Errorf("headers of %d bytes", size)
	}
}

func TestReplaysEnd(t *testing.T) {
	own := headers("trace", "1")
	record := own
	for i := range int32(MaxReplays) {
		l := Letter{ID: NewID(int64(i), [10]byte{}), Origin: Nowhere(), Error: Error{Message: "boom"}}
		l.Lineage(record)
		if l.Replays != i {
			t.Fatalf("letter %d knows of %d replays", i, l.Replays)
		}
		letter := l.Append(record, Streams)
		var err error
		if record, err = Replay(letter); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(own, headers("dlq.replays", fmt.Sprint(i+1), "dlq.replayed.from", l.ID)...), record); diff != "" {
			t.Fatal(diff)
		}
	}
	l := Letter{ID: "last"}
	l.Lineage(record)
	if _, err := Replay(l.Append(record, Streams)); !errors.Is(err, ErrLoop) {
		t.Errorf("got %v", err)
	}
}

func TestIDsSortByTime(t *testing.T) {
	// The example of RFC 9562, appendix A.6.
	if id := NewID(0x017f22e279b0, [10]byte{0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f}); id != "017f22e2-79b0-7cc3-98c4-dc0c0c07398f" {
		t.Error(id)
	}
	if a, b := NewID(1, [10]byte{0xff}), NewID(2, [10]byte{}); a >= b {
		t.Errorf("%s is not before %s", a, b)
	}
}

type typed struct{ error }

func TestClassIsWhereTheErrorBegan(t *testing.T) {
	syntax := json.Unmarshal([]byte("{"), &struct{}{})
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("x"), "*errors.errorString"},
		{fmt.Errorf("value: %w", fmt.Errorf("json: %w", syntax)), "*json.SyntaxError"},
		{fmt.Errorf("a: %w", typed{errors.New("x")}), "deadletter.typed"},
		{fmt.Errorf("%w: %w", errors.New("bad input"), syntax), "*json.SyntaxError"},
		{errors.Join(syntax, errors.New("x")), "*errors.joinError"},
	} {
		if got := Class(test.err); got != test.want {
			t.Errorf("%v is a %s, want %s", test.err, got, test.want)
		}
	}
}

func stackOfPanic() (stack string) {
	defer func() {
		_ = recover()
		stack = string(debug.Stack())
	}()
	var frames []string
	return frames[len(frames)]
}

func TestFingerprints(t *testing.T) {
	base := Error{Class: "c", Message: `can't read "a" at offset 17 of 0xBEEF`, Stack: "goroutine 7 [running]:\nmain.f(0x1)\n\t/f.go:1 +0x2\n"}
	same := base
	same.Message, same.Stack = `can't read "b c" at offset 3 of 0xABCD`, "goroutine 8 [running]:\nmain.f(0x9)\n\t/f.go:1 +0x2\n"
	if Fingerprint(base) != Fingerprint(same) || len(Fingerprint(base)) != 16 {
		t.Errorf("%s and %s", Fingerprint(base), Fingerprint(same))
	}
	for name, change := range map[string]func(*Error){
		"class":   func(e *Error) { e.Class = "d" },
		"message": func(e *Error) { e.Message = "cannot write" },
		"frame":   func(e *Error) { e.Stack = "goroutine 7 [running]:\nmain.g(0x1)\n" },
	} {
		other := base
		change(&other)
		if Fingerprint(other) == Fingerprint(base) {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
	if got := normal("it's 'so' `odd` \"open"); got != `it's "" "" "open` {
		t.Errorf("normal form %s", got)
	}
	for want, stack := range map[string]string{
		"github.com/weirstream/weir/internal/deadletter.stackOfPanic": stackOfPanic(),
		"A.b":    "java.lang.X: boom\n\tat A.b(A.java:1)\n\tat C.d(C.java:2)\n",
		"main.f": base.Stack,
		"":       "goroutine 7 [running]:\n",
	} {
		if got := topFrame(stack); got != want {
			t.Errorf("top frame %q, want %q", got, want)
		}
	}
}

// FuzzRead holds the reader to be total, and what it reads to survive a rewrite.
func FuzzRead(f *testing.F) {
	f.Add("dlq.origin.offset", []byte("12"), "trace", []byte{0})
	f.Add("kafka_dlt-original-partition", []byte{0, 0, 0, 1}, "kafka_dlt-exception-fqcn", []byte("x"))
	f.Add("__connect.errors.exception.message", []byte(nil), "__dlq.errors.delivery.count", []byte("-1"))
	f.Fuzz(func(t *testing.T, k1 string, v1 []byte, k2 string, v2 []byte) {
		in := []Header{{k1, v1}, {k2, v2}}
		l, d, ok := Read(in)
		if ok != (len(Original(in)) < len(in)) {
			t.Fatalf("a letter %v, but own headers %v", ok, Original(in))
		}
		if !ok {
			return
		}
		l.Error.Message, l.Error.Stack = clip(l.Error.Message, MaxMessage), clip(l.Error.Stack, MaxStack)
		out := l.Append(nil, d)
		if again, _, _ := Read(out); len(out) > 0 && again != l {
			t.Fatal(cmp.Diff(l, again))
		}
		if _, err := Replay(in); err != nil && !errors.Is(err, ErrLoop) {
			t.Fatal(err)
		}
		Fingerprint(Error{Message: string(v1), Stack: string(v2)})
	})
}
