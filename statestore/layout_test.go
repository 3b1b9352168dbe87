package statestore

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRowKeysAndChangelogKeys(t *testing.T) {
	for _, c := range []struct {
		what     string
		spec     Spec
		key      string
		at       span
		row, log string
	}{
		{
			"key-value",
			Spec{Kind: KindKeyValue},
			"a\x00",
			span{},
			"00000001 6100", "6100",
		},
		{
			"window",
			Spec{Kind: KindWindow, RetentionMs: 1},
			"a",
			span{100, 100, 0},
			"00000001 00000000 610001 8000000000000064 00000000", "61 0000000000000064 00000000",
		},
		{
			"window with duplicates",
			Spec{Kind: KindWindow, RetentionMs: 1},
			"a",
			span{100, 100, 7},
			"00000001 00000000 610001 8000000000000064 00000007", "61 0000000000000064 00000007",
		},
		{
			"escapes and segment",
			Spec{Kind: KindWindow, RetentionMs: 1},
			"a\x00",
			span{120_000, 120_000, 0},
			"00000001 00000002 6100ff0001 800000000001d4c0 00000000", "6100 000000000001d4c0 00000000",
		},
		{
			"session",
			Spec{Kind: KindSession, RetentionMs: 1},
			"a",
			span{10, 15, 0},
			"00000001 00000000 610001 800000000000000f 800000000000000a", "61 000000000000000f 000000000000000a",
		},
	} {
		l := newLayout(c.spec, 1)
		log := l.appendLogTail([]byte(c.key), c.at)
		if got, want := hex.EncodeToString(log), strings.ReplaceAll(c.log, " ", ""); got != want {
			t.Errorf("%s: changelog key %s, want %s", c.what, got, want)
		}
		row, at, err := l.fromLog(nil, log)
		if err != nil || at != c.at {
			t.Errorf("%s: from changelog %v %v, want %v", c.what, at, err, c.at)
		}
		if got, want := hex.EncodeToString(row), strings.ReplaceAll(c.row, " ", ""); got != want {
			t.Errorf("%s: row key %s, want %s", c.what, got, want)
		}
		key, at, err := l.parse([]byte("dst"), row)
		if err != nil || string(key) != "dst"+c.key || at != c.at {
			t.Errorf("%s: parsed %q %v %v", c.what, key, at, err)
		}
	}
}

func TestBadKeysAreCorrupt(t *testing.T) {
	w, s, kv := newLayout(Spec{Kind: KindWindow}, 1), newLayout(Spec{Kind: KindSession}, 1), newLayout(Spec{}, 1)
	row := w.window(nil, []byte("a"), 1, 0)
	noEnd := bytes.Clone(row)
	noEnd[10] = 9
	badEscape := w.window(nil, []byte("ab\x00c"), 1, 0)
	badEscape[11] = 7
	for what, err := range map[string]error{
		"short window row":    second(w.parse(nil, row[:21])),
		"no end of key":       second(w.parse(nil, noEnd)),
		"unknown escape":      second(w.parse(nil, badEscape)),
		"short session row":   second(s.parse(nil, row[:20])),
		"short key-value row": second(kv.parse(nil, row[:3])),
		"short window log":    second(w.fromLog(nil, make([]byte, 11))),
		"short session log":   second(s.fromLog(nil, make([]byte, 15))),
	} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second(_ []byte, _ span, err error) error { return err }

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x00\x00\x00\x00a\x00\x01\x80\x00\x00\x00\x00\x00\x00\x64\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []Kind{KindKeyValue, KindWindow, KindSession} {
			l := newLayout(Spec{Kind: kind, RetentionMs: 1}, 1)
			key, at, err := l.parse(nil, b)
			if err != nil {
				continue
			}
			log := l.appendLogTail(key, at)
			row, back, err := l.fromLog(nil, log)
			if err != nil || back != at {
				t.Fatalf("%s %x: %v became %v, %v", kind, b, at, back, err)
			}
			if len(b) == len(row) && kind == KindKeyValue && !bytes.Equal(row[idLen:], b[idLen:]) {
				t.Fatalf("%x became %x", b, row)
			}
		}
	})
}

func TestRowKeysSortByKeyThenTime(t *testing.T) {
	l := newLayout(Spec{Kind: KindWindow, RetentionMs: Forever}, 1)
	key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 0, 4)
	start := rapid.OneOf(rapid.Int64Range(-2, 2), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
	rapid.Check(t, func(t *rapid.T) {
		type rowOf struct {
			key   []byte
			start int64
		}
		a, b := rowOf{key.Draw(t, "a"), start.Draw(t, "at")}, rowOf{key.Draw(t, "b"), start.Draw(t, "bt")}
		want := cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.start, b.start))
		if l.segment(a.start) != l.segment(b.start) {
			want = cmp.Compare(l.segment(a.start), l.segment(b.start))
		}
		if got := bytes.Compare(l.window(nil, a.key, a.start, 0), l.window(nil, b.key, b.start, 0)); got != want {
			t.Fatalf("%v against %v: %d, want %d", a, b, got, want)
		}
	})
}

func TestSegmentsCoverAllTime(t *testing.T) {
	l := newLayout(Spec{Kind: KindWindow, RetentionMs: 1}, 1)
	times := []int64{math.MinInt64, -1, 0, 59_999, 60_000, 1 << 40, math.MaxInt64}
	segments := []uint32{}
	for _, at := range times {
		segments = append(segments, l.segment(at))
	}
	if want := []uint32{0, 0, 0, 0, 1, 18325193, math.MaxUint32}; !slices.Equal(segments, want) {
		t.Errorf("segments %v, want %v", segments, want)
	}
	if l := newLayout(Spec{Kind: KindWindow, RetentionMs: Forever}, 1); l.segment(1<<61) != 0 {
		t.Error("a store that keeps everything has one segment for all times that matter")
	}
}

func TestAfter(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "\x00\xff\xff": "\x01"} {
		if got := after([]byte(in)); string(got) != want {
			t.Errorf("after %q: %q, want %q", in, got, want)
		}
	}
	if after([]byte{0xff}) != nil || after(nil) != nil {
		t.Error("nothing is after the last prefix")
	}
}
