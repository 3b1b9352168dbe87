package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirstream/weir/statestore"
)

// apply applies "key=value" as a put, "key" as a delete and "from..to" as the
// deletion of a range.
func apply(t fataler, db statestore.DB, positions map[string]int64, steps ...string) {
	t.Helper()
	var b statestore.Batch
	for _, s := range steps {
		if key, value, ok := strings.Cut(s, "="); ok {
			b.Put([]byte(key), []byte(value))
		} else if from, to, ok := strings.Cut(s, ".."); ok {
			b.DeleteRange([]byte(from), []byte(to))
		} else {
			b.Delete([]byte(s))
		}
	}
	must(t, db.Apply(&b, positions))
}

func wantRows(t fataler, r statestore.Reader, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	// Up to the keys that belong to no store.
	equal(t, "rows", collect(t, r.Range(nil, []byte{0xff}, statestore.Ascending), pair), want)
}

func dbReads(t *testing.T, s Suite) {
	if s.Engine(t).Name() == "" {
		t.Fatal("the engine has no name")
	}
	db := s.open(t)
	for op := range new(statestore.Batch).Ops() {
		t.Fatalf("an empty batch has %v", op)
	}
	apply(t, db, nil, "a=1", "b=", "c=3")
	for _, c := range []struct {
		key, want string
		ok        bool
	}{{"a", "1", true}, {"b", "", true}, {"c", "3", true}, {"d", "", false}, {"", "", false}} {
		got, ok, err := db.Get([]byte("dst:"), []byte(c.key))
		must(t, err)
		equal(t, "get "+c.key, string(got), "dst:"+c.want)
		equal(t, "has "+c.key, ok, c.ok)
	}
	apply(t, db, nil, "a=one", "c", "nothing")
	wantRows(t, db, "a=one", "b=")
}

func dbRanges(t *testing.T, s Suite) {
	db := s.open(t)
	apply(t, db, nil, "a=1", "b=2", "c=3", "d=4")
	for _, c := range []struct{ from, to, want string }{
		{"", "", "a=1 b=2 c=3 d=4"},
		{"b", "d", "b=2 c=3"},
		{"b", "", "b=2 c=3 d=4"},
		{"", "c", "a=1 b=2"},
		{"aa", "cc", "b=2 c=3"},
		{"c", "b", ""},
		{"e", "f", ""},
		{"b", "b", ""},
	} {
		from, to := []byte(c.from), []byte(c.to)
		if c.to == "" {
			to = []byte{0xff}
		}
		if c.from == "" {
			from = nil
		}
		want := strings.Fields(c.want)
		equal(t, c.from+".."+c.to, collect(t, db.Range(from, to, statestore.Ascending), pair), want)
		equal(t, c.from+".."+c.to+" down", collect(t, db.Range(from, to, statestore.Descending), pair), reversed(want))
	}
	for _, err := range db.Range(nil, nil, statestore.Ascending) {
		must(t, err)
		break // leaving early releases the walk
	}
	equal(t, "no bounds, down", collect(t, db.Range(nil, nil, statestore.Descending), pair), reversed(strings.Fields("a=1 b=2 c=3 d=4")))
}

func dbStepOrder(t *testing.T, s Suite) {
	db := s.open(t)
	apply(t, db, nil, "a=1", "b=1", "c=1", "d=1")
	apply(t, db, nil, "b=2", "bb=2", "b..d", "c=3", "d", "d=4", "e=5", "e")
	wantRows(t, db, "a=1", "c=3", "d=4")
	apply(t, db, nil, "x..z", "a..d")
	wantRows(t, db, "d=4")
}

func dbPositions(t *testing.T, s Suite) {
	db := s.open(t)
	at := func() string {
		p, err := db.Position()
		must(t, err)
		out := []string{}
		for _, topic := range slices.Sorted(maps.Keys(p)) {
			out = append(out, topic+":"+strconv.FormatInt(p[topic], 10))
		}
		return strings.Join(out, " ")
	}
	equal(t, "fresh", at(), "")
	apply(t, db, map[string]int64{"t": 5, "u": 1 << 40}, "a=1")
	apply(t, db, map[string]int64{"t": 7})
	equal(t, "positions", at(), "t:7 u:1099511627776")
	wantRows(t, db, "a=1")
	var b statestore.Batch
	b.Put([]byte("b"), []byte("1"))
	b.Put([]byte("a"), []byte("2"))
	b.Put([]byte("b"), []byte("2"))
	must(t, db.Load(&b, map[string]int64{"u": 1}))
	equal(t, "positions after a load", at(), "t:7 u:1")
	wantRows(t, db, "a=2", "b=2")
}

func dbSnapshots(t *testing.T, s Suite) {
	db := s.open(t)
	apply(t, db, nil, "a=1", "b=2")
	snap, err := db.Snapshot()
	must(t, err)
	apply(t, db, nil, "a=3", "b", "c=4")
	wantRows(t, snap, "a=1", "b=2")
	got, ok, err := snap.Get(nil, []byte("a"))
	must(t, err)
	equal(t, "get", fmt.Sprint(string(got), ok), "1true")
	_, ok, err = snap.Get(nil, []byte("c"))
	must(t, err)
	equal(t, "has c", ok, false)
	must(t, snap.Close())
	_, _, err = snap.Get(nil, []byte("a"))
	wantErr(t, "get of a closed snapshot", err, statestore.ErrClosed)
	wantRows(t, db, "a=3", "c=4")
}

func dbWalks(t *testing.T, s Suite) {
	db := s.open(t)
	apply(t, db, nil, "a=1", "b=2", "c=3")
	seen := []string{}
	for p, err := range db.Range(nil, []byte{0xff}, statestore.Ascending) {
		must(t, err)
		if len(seen) == 0 {
			apply(t, db, nil, "a", "b=9", "bb=5", "z=6")
		}
		seen = append(seen, pair(p))
	}
	equal(t, "walk", seen, []string{"a=1", "b=2", "c=3"})
	wantRows(t, db, "b=9", "bb=5", "c=3", "z=6")
}

func dbInUse(t *testing.T, s Suite) {
	if !s.Durable {
		t.Skip("memory has no directories")
	}
	engine, dir := s.Engine(t), s.Dir(t)
	db, err := engine.Open(dir)
	must(t, err)
	_, err = engine.Open(dir)
	wantErr(t, "second open", err, statestore.ErrInUse)
	if !strings.Contains(err.Error(), dir) {
		t.Fatalf("error %q does not name the directory", err)
	}
	must(t, db.Close())
	db, err = engine.Open(dir)
	must(t, err)
	must(t, db.Close())
}

func dbReopen(t *testing.T, s Suite) {
	if !s.Durable {
		t.Skip("memory forgets")
	}
	engine, dir := s.Engine(t), s.Dir(t)
	for round := range 3 {
		db, err := engine.Open(dir)
		must(t, err)
		var want []string
		for i := range round {
			want = append(want, fmt.Sprintf("k%d=v%d", i, i))
		}
		wantRows(t, db, want...)
		p, err := db.Position()
		must(t, err)
		equal(t, "position", p["t"], int64(round))
		apply(t, db, map[string]int64{"t": int64(round + 1)}, fmt.Sprintf("k%d=v%d", round, round))
		must(t, db.Close())
	}
}

func dbClosed(t *testing.T, s Suite) {
	db, err := s.Engine(t).Open(s.Dir(t))
	must(t, err)
	must(t, db.Close())
	must(t, db.Close())
	_, _, err = db.Get(nil, []byte("a"))
	wantErr(t, "get", err, statestore.ErrClosed)
	wantErr(t, "apply", db.Apply(&statestore.Batch{}, map[string]int64{"t": 1}), statestore.ErrClosed)
	wantErr(t, "load", db.Load(&statestore.Batch{}, map[string]int64{"t": 1}), statestore.ErrClosed)
	_, err = db.Position()
	wantErr(t, "position", err, statestore.ErrClosed)
	_, err = db.Snapshot()
	wantErr(t, "snapshot", err, statestore.ErrClosed)
	for _, err := range db.Range(nil, nil, statestore.Ascending) {
		wantErr(t, "range", err, statestore.ErrClosed)
	}
}

func dbModel(t *testing.T, s Suite) {
	db := s.open(t)
	var ids names
	key := rapid.SliceOfN(rapid.Byte(), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		prefix := ids.next() + "/"
		model := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			var b statestore.Batch
			for range rapid.IntRange(0, 8).Draw(t, "steps") {
				k := prefix + string(key.Draw(t, "key"))
				switch rapid.IntRange(0, 5).Draw(t, "kind") {
				case 0:
					b.Delete([]byte(k))
					delete(model, k)
				case 1:
					to := prefix + string(key.Draw(t, "to"))
					if to <= k {
						continue
					}
					b.DeleteRange([]byte(k), []byte(to))
					maps.DeleteFunc(model, func(has, _ string) bool { return k <= has && has < to })
				default:
					v := rapid.StringN(0, 4, 8).Draw(t, "value")
					b.Put([]byte(k), []byte(v))
					model[k] = v
				}
			}
			if rapid.Bool().Draw(t, "load") {
				must(t, db.Load(&b, nil))
			} else {
				must(t, db.Apply(&b, nil))
			}
		}
		from, to := prefix+string(key.Draw(t, "from")), prefix+string(key.Draw(t, "end"))
		want := []string{}
		for _, k := range slices.Sorted(maps.Keys(model)) {
			if from <= k && k < to {
				want = append(want, k+"="+model[k])
			}
		}
		equal(t, "range", collect(t, db.Range([]byte(from), []byte(to), statestore.Ascending), pair), want)
		equal(t, "range down", collect(t, db.Range([]byte(from), []byte(to), statestore.Descending), pair), reversed(want))
		for k, v := range model {
			got, ok, err := db.Get(nil, []byte(k))
			must(t, err)
			if !ok || !bytes.Equal(got, []byte(v)) {
				t.Fatalf("get %q: %q %v, want %q", k, got, ok, v)
			}
		}
	})
}
