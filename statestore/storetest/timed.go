package storetest

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirstream/weir/statestore"
)

const minute = 60_000

type windows struct {
	statestore.Store
	w   statestore.Window[string, int64]
	log *Log
}

func openWindows(t fataler, db statestore.DB, spec statestore.Spec) *windows {
	t.Helper()
	ws := &windows{log: &Log{}}
	spec.Kind = statestore.KindWindow
	var err error
	ws.Store, err = statestore.Open(db, spec, ws.log)
	must(t, err)
	ws.w, err = statestore.AsWindow(ws.Store, Text{}, Number{})
	must(t, err)
	return ws
}

func (ws *windows) put(t fataler, key string, start, value int64) bool {
	t.Helper()
	stored, err := ws.w.Put(key, start, value, start)
	must(t, err)
	return stored
}

// bothWays checks a walk in both orders.
func bothWays(t fataler, what string, walk func(statestore.Order) iter.Seq2[statestore.Row[string, int64], error], want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	equal(t, what, collect(t, walk(statestore.Ascending), row), want)
	equal(t, what+", down", collect(t, walk(statestore.Descending), row), reversed(want))
}

type slot struct {
	key        string
	start, end int64
}

func byKeyAndTime(a, b slot) int {
	if c := strings.Compare(a.key, b.key); c != 0 {
		return c
	}
	if a.end != b.end {
		return int(a.end - b.end)
	}
	return int(a.start - b.start)
}

func windowModel(t *testing.T, s Suite) {
	db := s.open(t)
	var ids names
	keys := rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00\x01", "ab", "\x00"})
	rapid.Check(t, func(t *rapid.T) {
		retention := rapid.SampledFrom([]int64{1, 1000, 5 * minute, statestore.Forever}).Draw(t, "retention")
		spec := statestore.Spec{Name: ids.next(), RetentionMs: retention, Logged: true, Cached: rapid.Bool().Draw(t, "cached")}
		ws := openWindows(t, db, spec)
		model, now := map[slot]int64{}, int64(-1)
		live := func(at int64) bool { return now < 0 || at > now-retention }
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			at := slot{key: keys.Draw(t, "key"), start: rapid.Int64Range(0, 20).Draw(t, "start") * minute / 2}
			at.end = at.start
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				commit(t, db, ws)
			case 1:
				must(t, ws.w.Delete(at.key, at.start, 0))
				if live(at.start) {
					delete(model, at)
					now = max(now, at.start)
				}
			case 2:
				v, _, ok, err := ws.w.Get(at.key, at.start)
				must(t, err)
				want, has := model[at]
				has = has && live(at.start)
				if ok != has || has && v != want {
					t.Fatalf("get %v: %d %v, want %d %v", at, v, ok, want, has)
				}
			default:
				stored := ws.put(t, at.key, at.start, at.start/1000)
				equal(t, "stored", stored, live(at.start))
				if stored {
					model[at] = at.start / 1000
					now = max(now, at.start)
				}
			}
		}
		wantWindows(t, ws, model, live, keys.Draw(t, "fetch"))
		commit(t, db, ws)
		wantWindows(t, ws, model, live, keys.Draw(t, "fetch"))
		spec.Name = ids.next()
		restored := openWindows(t, db, spec)
		for _, e := range ws.log.Entries {
			must(t, restored.Restore(e.Key, e.Value, e.Timestamp))
		}
		wantWindows(t, restored, model, live, keys.Draw(t, "fetch"))
		spec.Name = ids.next()
		unseen := openWindows(t, db, spec)
		load(t, db, unseen, ws.log.Entries)
		wantWindows(t, unseen, model, live, keys.Draw(t, "fetch"))
	})
}

func wantWindows(t fataler, ws *windows, model map[slot]int64, live func(int64) bool, key string) {
	t.Helper()
	all, ofKey := []slot{}, []string{}
	for at := range model {
		if live(at.start) {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, byKeyAndTime)
	want := []string{}
	for _, at := range all {
		text := row(statestore.Row[string, int64]{Key: at.key, Start: at.start, End: at.end, Value: model[at], Timestamp: -1})
		want = append(want, text)
		if at.key == key && at.start >= minute && at.start <= 8*minute {
			ofKey = append(ofKey, text)
		}
	}
	got := []slot{}
	for r, err := range ws.w.All(statestore.Ascending) {
		must(t, err)
		got = append(got, slot{r.Key, r.Start, r.End})
		equal(t, "value", r.Value, model[got[len(got)-1]])
	}
	slices.SortFunc(got, byKeyAndTime) // keys mix
	equal(t, "all rows", fmt.Sprint(got), fmt.Sprint(all))
	equal(t, "count", len(want), len(got))
	bothWays(t, "fetch "+key, func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
		return ws.w.Fetch(key, minute, 8*minute, o)
	}, ofKey...)
}

func windowFetch(t *testing.T, s Suite) {
	db := s.open(t)
	ws := openWindows(t, db, statestore.Spec{Name: "w", RetentionMs: 10 * minute, WindowSizeMs: 10})
	for i, at := range []int64{0, 10, 20, 3 * minute, 6 * minute, math.MaxInt32} {
		if at == math.MaxInt32 {
			break
		}
		ws.put(t, "a", at, int64(i))
		ws.put(t, "a\x00", at, int64(i)+100)
		if i == 2 {
			commit(t, db, ws)
		}
	}
	fetch := func(from, to int64, want ...string) {
		t.Helper()
		bothWays(t, fmt.Sprintf("fetch %d..%d", from, to), func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
			return ws.w.Fetch("a", from, to, o)
		}, want...)
	}
	fetch(0, 20, "a[0,10]=0", "a[10,20]=1", "a[20,30]=2")
	fetch(1, 19, "a[10,20]=1")
	fetch(10, 10, "a[10,20]=1")
	fetch(11, 9)
	fetch(11, 19)
	fetch(20, 3*minute, "a[20,30]=2", "a[180000,180010]=3")
	fetch(math.MinInt64, math.MaxInt64, "a[0,10]=0", "a[10,20]=1", "a[20,30]=2", "a[180000,180010]=3", "a[360000,360010]=4")
	bothWays(t, "fetch all", func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
		return ws.w.FetchAll(10, 3*minute, o)
	}, "a[10,20]=1", "a[20,30]=2", "a[180000,180010]=3", "a\x00[10,20]=101", "a\x00[20,30]=102", "a\x00[180000,180010]=103")
	v, at, ok, err := ws.w.Get("a", 20)
	must(t, err)
	equal(t, "get", fmt.Sprint(v, at, ok), "2 -1 true")
}

func windowDuplicates(t *testing.T, s Suite) {
	db := s.open(t)
	spec := statestore.Spec{Name: "w", RetentionMs: minute, RetainDuplicates: true, Logged: true}
	ws := openWindows(t, db, spec)
	fetch := func(want ...string) {
		t.Helper()
		bothWays(t, "fetch", func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
			return ws.w.Fetch("a", 0, 100, o)
		}, want...)
	}
	ws.put(t, "a", 100, 3)
	ws.put(t, "a", 100, 1)
	commit(t, db, ws)
	ws.put(t, "a", 100, 2)
	ws.put(t, "a", 50, 9)
	fetch("a[50,50]=9", "a[100,100]=3", "a[100,100]=1", "a[100,100]=2")
	must(t, ws.w.Delete("a", 100, 0))
	fetch("a[50,50]=9", "a[100,100]=3", "a[100,100]=1", "a[100,100]=2")
	v, _, ok, err := ws.w.Get("a", 100)
	must(t, err)
	equal(t, "first", fmt.Sprint(v, ok), "3 true")
	_, _, ok, err = ws.w.Get("a", 99)
	must(t, err)
	equal(t, "none", ok, false)
	ws.Discard()
	fetch("a[100,100]=3", "a[100,100]=1")
	ws.put(t, "a", 100, 7)
	commit(t, db, ws)
	fetch("a[100,100]=3", "a[100,100]=1", "a[100,100]=7")
	equal(t, "last changelog key", string(ws.log.Entries[len(ws.log.Entries)-1].Key), "a\x00\x00\x00\x00\x00\x00\x00\x64\x00\x00\x00\x03")
	ws = openWindows(t, db, spec)
	ws.put(t, "a", 100, 8)
	fetch("a[100,100]=3", "a[100,100]=1", "a[100,100]=7", "a[100,100]=8")
}

// rowsIn counts the rows of stores in a DB.
func rowsIn(t fataler, db statestore.DB) int {
	t.Helper()
	return len(collect(t, db.Range(nil, []byte{0xff}, statestore.Ascending), pair))
}

func windowExpiry(t *testing.T, s Suite) {
	db := s.open(t)
	ws := openWindows(t, db, statestore.Spec{Name: "w", RetentionMs: 2 * minute, Logged: true})
	for at := range int64(4) {
		ws.put(t, "a", at*minute, at)
		commit(t, db, ws)
	}
	all := func(want ...string) {
		t.Helper()
		bothWays(t, "all", ws.w.All, want...)
		bothWays(t, "fetch", func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
			return ws.w.Fetch("a", 0, math.MaxInt64, o)
		}, want...)
	}
	all("a[120000,120000]=2", "a[180000,180000]=3")
	// The row at 1 min is hidden, though its segment is not gone yet.
	_, _, ok, err := ws.w.Get("a", minute)
	must(t, err)
	equal(t, "expired row", ok, false)
	equal(t, "expired put", ws.put(t, "a", minute, 1), false)
	must(t, ws.w.Delete("a", minute, 0))
	equal(t, "no change", ws.Dirty(), false)
	equal(t, "rows", rowsIn(t, db), 3)
	equal(t, "put at the edge", ws.put(t, "a", minute+1, 1), true)
	all("a[60001,60001]=1", "a[120000,120000]=2", "a[180000,180000]=3")
	ws.put(t, "a", 10*minute, 10)
	all("a[600000,600000]=10")
	commit(t, db, ws)
	equal(t, "rows after the jump", rowsIn(t, db), 1)
	equal(t, "changelog has the row that expired", len(ws.log.Entries), 6)
}

func windowReopen(t *testing.T, s Suite) {
	db := s.open(t)
	spec := statestore.Spec{Name: "w", RetentionMs: 2 * minute, Logged: true}
	ws := openWindows(t, db, spec)
	ws.put(t, "a", 5*minute, 5)
	must(t, ws.Flush())
	ws.put(t, "a", 9*minute, 9)
	var b statestore.Batch
	ws.Pending(&b)
	must(t, db.Apply(&b, nil))
	equal(t, "at 9 min", ws.put(t, "a", 5*minute, 0), false)
	ws.Discard()
	equal(t, "back at 5 min", ws.put(t, "a", 3*minute, 0), false)
	equal(t, "and not before", ws.put(t, "a", 3*minute+1, 3), true)
	ws = openWindows(t, db, spec)
	bothWays(t, "all", ws.w.All, "a[300000,300000]=5")
	equal(t, "opened at 5 min", ws.put(t, "a", 3*minute, 0), false)
	spec.RetentionMs = 10 * minute
	_, err := statestore.Open(db, statestore.Spec{Name: "w", Kind: statestore.KindWindow, RetentionMs: 10 * minute}, nil)
	wantErr(t, "other segments", err, statestore.ErrChanged)
}

type sessions struct {
	statestore.Store
	s   statestore.Session[string, int64]
	log *Log
}

func openSessions(t fataler, db statestore.DB, spec statestore.Spec) *sessions {
	t.Helper()
	ss := &sessions{log: &Log{}}
	spec.Kind = statestore.KindSession
	var err error
	ss.Store, err = statestore.Open(db, spec, ss.log)
	must(t, err)
	ss.s, err = statestore.AsSession(ss.Store, Text{}, Number{})
	must(t, err)
	return ss
}

func (ss *sessions) put(t fataler, key string, start, end, value int64) bool {
	t.Helper()
	stored, err := ss.s.Put(key, start, end, value)
	must(t, err)
	return stored
}

func sessionModel(t *testing.T, s Suite) {
	db := s.open(t)
	var ids names
	keys := rapid.SampledFrom([]string{"", "a", "a\x00", "ab"})
	rapid.Check(t, func(t *rapid.T) {
		retention := rapid.SampledFrom([]int64{1, 5 * minute, statestore.Forever}).Draw(t, "retention")
		spec := statestore.Spec{Name: ids.next(), RetentionMs: retention, Logged: true, Cached: rapid.Bool().Draw(t, "cached")}
		ss := openSessions(t, db, spec)
		model, now := map[slot]int64{}, int64(-1)
		live := func(at int64) bool { return now < 0 || at > now-retention }
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			at := slot{key: keys.Draw(t, "key"), start: rapid.Int64Range(0, 20).Draw(t, "start") * minute / 2}
			at.end = at.start + rapid.Int64Range(0, 3).Draw(t, "length")*minute/2
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				commit(t, db, ss)
			case 1, 2:
				must(t, ss.s.Remove(at.key, at.start, at.end))
				if live(at.end) {
					delete(model, at)
					now = max(now, at.end)
				}
			default:
				stored := ss.put(t, at.key, at.start, at.end, int64(i))
				equal(t, "stored", stored, live(at.end))
				if stored {
					model[at] = int64(i)
					now = max(now, at.end)
				}
			}
		}
		key := keys.Draw(t, "key")
		earliestEnd, latestStart := rapid.Int64Range(0, 20).Draw(t, "end")*minute/2, rapid.Int64Range(0, 20).Draw(t, "latest")*minute/2
		want := []slot{}
		for at := range model {
			if at.key == key && live(at.end) && at.end >= earliestEnd && at.start <= latestStart {
				want = append(want, at)
			}
		}
		slices.SortFunc(want, byKeyAndTime)
		texts := []string{}
		for _, at := range want {
			texts = append(texts, row(statestore.Row[string, int64]{Key: at.key, Start: at.start, End: at.end, Value: model[at], Timestamp: -1}))
		}
		check := func(ss *sessions) {
			bothWays(t, "sessions", func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
				return ss.s.FetchSessions(key, earliestEnd, latestStart, o)
			}, texts...)
			wantSessions(t, ss, model, live)
		}
		check(ss)
		commit(t, db, ss)
		check(ss)
		spec.Name = ids.next()
		restored := openSessions(t, db, spec)
		for _, e := range ss.log.Entries {
			must(t, restored.Restore(e.Key, e.Value, e.Timestamp))
		}
		check(restored)
		spec.Name = ids.next()
		unseen := openSessions(t, db, spec)
		load(t, db, unseen, ss.log.Entries)
		check(unseen)
	})
}

// wantSessions checks that the sessions of a model can be read if they live.
func wantSessions(t fataler, ss *sessions, model map[slot]int64, live func(int64) bool) {
	t.Helper()
	for at, value := range model {
		v, ok, err := ss.s.Get(at.key, at.start, at.end)
		must(t, err)
		if ok != live(at.end) || ok && v != value {
			t.Fatalf("get %v: %d %v", at, v, ok)
		}
	}
}

func sessionFetch(t *testing.T, s Suite) {
	db := s.open(t)
	ss := openSessions(t, db, statestore.Spec{Name: "s", RetentionMs: 10 * minute, Logged: true})
	ss.put(t, "a", 10, 15, 1)
	commit(t, db, ss)
	equal(t, "changelog key", string(ss.log.Entries[0].Key), "a\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x00\x00\x00\x00\x0a")
	equal(t, "changelog time", ss.log.Entries[0].Timestamp, int64(15))
	ss.put(t, "a", 5, 15, 2)
	ss.put(t, "a", 20, 7*minute, 3)
	ss.put(t, "ab", 10, 15, 4)
	fetch := func(earliestEnd, latestStart int64, want ...string) {
		t.Helper()
		bothWays(t, fmt.Sprintf("sessions %d %d", earliestEnd, latestStart), func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
			return ss.s.FetchSessions("a", earliestEnd, latestStart, o)
		}, want...)
	}
	fetch(0, math.MaxInt64, "a[5,15]=2", "a[10,15]=1", "a[20,420000]=3")
	fetch(15, 10, "a[5,15]=2", "a[10,15]=1")
	fetch(15, 9, "a[5,15]=2")
	fetch(16, 20, "a[20,420000]=3")
	fetch(7*minute+1, math.MaxInt64)
	fetch(0, 4)
	must(t, ss.s.Remove("a", 10, 15))
	fetch(0, math.MaxInt64, "a[5,15]=2", "a[20,420000]=3")
	bothWays(t, "all", ss.s.All, "a[5,15]=2", "ab[10,15]=4", "a[20,420000]=3")
	if _, err := ss.s.Put("a", 2, 1, 0); err == nil {
		t.Fatal("a session may not end before it starts")
	}
}

func sessionExpiry(t *testing.T, s Suite) {
	db := s.open(t)
	ss := openSessions(t, db, statestore.Spec{Name: "s", RetentionMs: 500})
	ss.put(t, "a", 0, 15, 1)
	ss.put(t, "b", 600, 600, 2)
	ss.put(t, "c", 300, 600, 3)
	bothWays(t, "all", ss.s.All, "b[600,600]=2", "c[300,600]=3")
	_, ok, err := ss.s.Get("a", 0, 15)
	must(t, err)
	equal(t, "expired", ok, false)
	equal(t, "expired put", ss.put(t, "a", 0, 100, 1), false)
	equal(t, "put at the edge", ss.put(t, "a", 0, 101, 1), true)
	must(t, ss.s.Remove("a", 0, 15))
	ss.put(t, "d", 0, 10*minute, 4)
	commit(t, db, ss)
	equal(t, "rows", rowsIn(t, db), 1)
}
