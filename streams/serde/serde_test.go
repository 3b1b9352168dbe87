package serde_test

import (
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/streams/serde"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector checks that a value has these bytes, both ways.
func vector[T any](t *testing.T, s serde.Serde[T], v T, want string) {
	t.Helper()
	got, err := s.Append([]byte("before"), "topic", v)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append([]byte("before"), unhex(t, want)...), got); d != "" {
		t.Errorf("%T of %v (-want +got):\n%s", s, v, d)
	}
	b := unhex(t, want)
	back, err := s.Decode("topic", b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0xff // the result must not look at the bytes any more
	}
	if d := cmp.Diff(v, back); d != "" {
		t.Errorf("%T decodes %s (-want +got):\n%s", s, want, d)
	}
}

type view struct {
	User string `json:"user"`
	N    int    `json:"n"`
}

func TestBytesAreKafkas(t *testing.T) {
	vector(t, serde.String(), "aé", "61 c3 a9")
	vector(t, serde.String(), "", "")
	vector(t, serde.Bytes(), []byte{0, 255}, "00 ff")
	vector(t, serde.Bytes(), []byte{}, "")
	vector(t, serde.Int32(), -2, "ff ff ff fe")
	vector(t, serde.Int64(), 100, "00 00 00 00 00 00 00 64")
	vector(t, serde.Int64(), math.MinInt64, "80 00 00 00 00 00 00 00")
	vector(t, serde.Float64(), 1.5, "3f f8 00 00 00 00 00 00")
	vector(t, serde.JSON[view](), view{"u", 1}, hex.EncodeToString([]byte(`{"user":"u","n":1}`)))
	vector(t, serde.TimeWindowed(serde.String(), 50*time.Millisecond),
		serde.Windowed[string]{Key: "a", Start: 100, End: 150}, "61 00 00 00 00 00 00 00 64")
	vector(t, serde.TimeWindowed(serde.String(), time.Millisecond),
		serde.Windowed[string]{Key: "", Start: math.MaxInt64, End: math.MaxInt64}, "7f ff ff ff ff ff ff ff")
	vector(t, serde.SessionWindowed(serde.String()),
		serde.Windowed[string]{Key: "a", Start: 10, End: 15}, "61 00 00 00 00 00 00 00 0f 00 00 00 00 00 00 00 0a")
}

func TestPartitionKeyIsThePlainKey(t *testing.T) {
	for name, s := range map[string]serde.Serde[serde.Windowed[string]]{
		"time":    serde.TimeWindowed(serde.String(), time.Second),
		"session": serde.SessionWindowed(serde.String()),
	} {
		b, err := s.Append(nil, "t", serde.Windowed[string]{Key: "user", Start: 1, End: 2})
		if err != nil {
			t.Fatal(err)
		}
		p, ok := s.(interface{ PartitionKey([]byte) []byte })
		if !ok {
			t.Fatalf("%s: no PartitionKey", name)
		}
		if got := string(p.PartitionKey(b)); got != "user" {
			t.Errorf("%s: %q", name, got)
		}
		if got := p.PartitionKey([]byte("short")); len(got) != 0 {
			t.Errorf("%s: short bytes give %q", name, got)
		}
	}
}

func TestBadBytesAreErrors(t *testing.T) {
	wrong := func(name string, err error, length bool) {
		t.Helper()
		if err == nil || errors.Is(err, serde.ErrLength) != length {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := serde.Int32().Decode("", make([]byte, 3))
	wrong("int32", err, true)
	_, err = serde.Int64().Decode("", make([]byte, 9))
	wrong("int64", err, true)
	_, err = serde.Float64().Decode("", nil)
	wrong("float64", err, true)
	_, err = serde.JSON[view]().Decode("", []byte("{"))
	wrong("json", err, false)
	timed := serde.TimeWindowed(serde.Int32(), time.Second)
	_, err = timed.Decode("", make([]byte, 7))
	wrong("time window without a start", err, true)
	_, err = timed.Decode("", make([]byte, 11))
	wrong("time window with a bad key", err, true)
	_, err = timed.Decode("", []byte{0, 0, 0, 1, 255, 0, 0, 0, 0, 0, 0, 0})
	wrong("negative start", err, false)
	sess := serde.SessionWindowed(serde.Int32())
	_, err = sess.Decode("", make([]byte, 15))
	wrong("session without times", err, true)
	_, err = sess.Decode("", make([]byte, 17))
	wrong("session with a bad key", err, true)
	_, err = sess.Decode("", []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2})
	wrong("session that ends before it starts", err, false)
}

func TestAppendFailureLeavesDst(t *testing.T) {
	bad := serde.JSON[float64]()
	for name, add := range map[string]func([]byte) ([]byte, error){
		"json": func(b []byte) ([]byte, error) { return bad.Append(b, "", math.NaN()) },
		"time": func(b []byte) ([]byte, error) {
			return serde.TimeWindowed(bad, time.Second).Append(b, "", serde.Windowed[float64]{Key: math.NaN()})
		},
		"session": func(b []byte) ([]byte, error) {
			return serde.SessionWindowed(bad).Append(b, "", serde.Windowed[float64]{Key: math.NaN()})
		},
	} {
		if got, err := add([]byte("dst")); err == nil || string(got) != "dst" {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// roundTrip is the law of every serde.
func roundTrip[T any](s serde.Serde[T], gen *rapid.Generator[T]) func(*rapid.T) {
	return func(t *rapid.T) {
		v := gen.Draw(t, "value")
		b, err := s.Append(nil, "topic", v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := s.Decode("topic", b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v, back); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	at := rapid.Int64Range(0, math.MaxInt64/2)
	windowed := func(end func(start int64, t *rapid.T) int64) *rapid.Generator[serde.Windowed[string]] {
		return rapid.Custom(func(t *rapid.T) serde.Windowed[string] {
			start := at.Draw(t, "start")
			return serde.Windowed[string]{Key: rapid.String().Draw(t, "key"), Start: start, End: end(start, t)}
		})
	}
	for name, check := range map[string]func(*rapid.T){
		"string":  roundTrip(serde.String(), rapid.String()),
		"bytes":   roundTrip(serde.Bytes(), rapid.SliceOf(rapid.Byte())),
		"int32":   roundTrip(serde.Int32(), rapid.Int32()),
		"int64":   roundTrip(serde.Int64(), rapid.Int64()),
		"float64": roundTrip(serde.Float64(), rapid.Float64()),
		"json": roundTrip(serde.JSON[map[string]int64](),
			rapid.MapOf(rapid.StringMatching("[a-z]*"), rapid.Int64())),
		"time": roundTrip(serde.TimeWindowed(serde.String(), time.Second),
			windowed(func(start int64, _ *rapid.T) int64 { return start + 1000 })),
		"session": roundTrip(serde.SessionWindowed(serde.String()),
			windowed(func(start int64, t *rapid.T) int64 { return start + rapid.Int64Range(0, 1<<40).Draw(t, "length") })),
	} {
		t.Run(name, func(t *testing.T) { rapid.Check(t, check) })
	}
}

// FuzzDecode feeds any bytes to the windowed serdes; what they accept must come
// back byte for byte.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("a\x00\x00\x00\x00\x00\x00\x00\x64"))
	f.Add([]byte("a\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x00\x00\x00\x00\x0a"))
	serdes := []serde.Serde[serde.Windowed[string]]{
		serde.TimeWindowed(serde.String(), time.Second), serde.SessionWindowed(serde.String()),
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range serdes {
			w, err := s.Decode("t", b)
			if err != nil {
				continue
			}
			if w.End < w.Start {
				t.Fatalf("%x is %v", b, w)
			}
			back, err := s.Append(nil, "t", w)
			if err != nil || string(back) != string(b) {
				t.Fatalf("%x came back as %x, %v", b, back, err)
			}
		}
	})
}
