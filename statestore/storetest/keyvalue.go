package storetest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirstream/weir/statestore"
)

// table is a key-value store with the things that a test looks at.
type table struct {
	statestore.Store
	kv    statestore.KeyValue[string, int64]
	log   *Log
	heard []statestore.Change[string, int64]
}

func openTable(t fataler, db statestore.DB, spec statestore.Spec) *table {
	t.Helper()
	tb := &table{log: &Log{}}
	var err error
	tb.Store, err = statestore.Open(db, spec, tb.log)
	must(t, err)
	tb.kv, err = statestore.AsKeyValue(tb.Store, Text{}, Number{})
	must(t, err)
	if spec.Cached {
		must(t, tb.kv.OnFlush(func(c statestore.Change[string, int64]) error {
			tb.heard = append(tb.heard, c)
			return nil
		}))
	}
	return tb
}

// cell is a value and its time in a model.
type cell struct{ Value, Time int64 }

func wantTable(t fataler, tb *table, model map[string]cell) {
	t.Helper()
	want := []string{}
	for _, k := range slices.Sorted(maps.Keys(model)) {
		want = append(want, k+"="+strconv.FormatInt(model[k].Value, 10)+"@"+strconv.FormatInt(model[k].Time, 10))
	}
	equal(t, "all", collect(t, tb.kv.All(statestore.Ascending), row), want)
	equal(t, "all down", collect(t, tb.kv.All(statestore.Descending), row), reversed(want))
}

// keyValueModel is the law of the pending changes: three maps say what reads
// see, what was flushed and what was applied.
func keyValueModel(t *testing.T, s Suite) {
	db := s.open(t)
	var ids names
	keys := rapid.SampledFrom([]string{"", "a", "ab", "b", "b\x00", "b\xff", "\xff\xff", "c"})
	rapid.Check(t, func(t *rapid.T) {
		spec := statestore.Spec{
			Name: ids.next(), Timestamped: true, Logged: true, Cached: rapid.Bool().Draw(t, "cached"),
		}
		tb := openTable(t, db, spec)
		now, flushed, applied := map[string]cell{}, map[string]cell{}, map[string]cell{}
		dirty := map[string]bool{}
		var committed []Entry
		flush := func() {
			tb.heard = nil
			must(t, tb.Flush())
			if spec.Cached {
				wantHeard(t, tb.heard, flushed, now, dirty)
			}
			flushed, dirty = maps.Clone(now), map[string]bool{}
		}
		take := func() {
			var b statestore.Batch
			tb.Pending(&b)
			must(t, db.Apply(&b, nil))
			applied = maps.Clone(flushed)
			committed, tb.log.Entries = append(committed, tb.log.Entries...), nil
		}
		discard := func() {
			now, flushed, dirty, tb.log.Entries = maps.Clone(applied), maps.Clone(applied), map[string]bool{}, nil
		}
		actions := map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, c := keys.Draw(t, "key"), cell{rapid.Int64Range(0, 99).Draw(t, "value"), rapid.Int64Range(0, 99).Draw(t, "time")}
				must(t, tb.kv.PutAt(k, c.Value, c.Time))
				now[k], dirty[k] = c, true
			},
			"delete": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				must(t, tb.kv.DeleteAt(k, 7))
				delete(now, k)
				dirty[k] = true
			},
			"get": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				v, at, ok, err := tb.kv.GetAt(k)
				must(t, err)
				c, has := now[k]
				if ok != has || has && (cell{v, at} != c) {
					t.Fatalf("get %q: %d@%d %v, want %v %v", k, v, at, ok, c, has)
				}
			},
			"flush":   func(*rapid.T) { flush() },
			"pending": func(*rapid.T) { take() },
			"discard": func(*rapid.T) { tb.Discard(); discard() },
			"reopen": func(t *rapid.T) {
				must(t, tb.Close())
				discard()
				tb = openTable(t, db, spec)
			},
			"": func(t *rapid.T) {
				wantTable(t, tb, now)
				equal(t, "dirty", tb.Dirty(), len(dirty) > 0)
			},
		}
		t.Repeat(actions)
		tb.Discard()
		discard()
		wantTable(t, tb, applied)
		equal(t, "bytes of nothing", tb.PendingBytes(), 0)
		wantRestores(t, db, &ids, committed, applied)
	})
}

// wantRestores restores a changelog into a table that is read at once, and into one
// that is not.
func wantRestores(t fataler, db statestore.DB, ids *names, log []Entry, want map[string]cell) {
	t.Helper()
	spec := statestore.Spec{Name: ids.next(), Timestamped: true, Logged: true}
	restored := openTable(t, db, spec)
	for _, e := range log {
		must(t, restored.Restore(e.Key, e.Value, e.Timestamp))
	}
	wantTable(t, restored, want)
	commit(t, db, restored)
	wantTable(t, restored, want)
	equal(t, "changelog of a restore", len(restored.log.Entries), 0)
	spec.Name = ids.next()
	unseen := openTable(t, db, spec)
	load(t, db, unseen, log)
	wantTable(t, unseen, want)
}

// wantHeard checks what a flush told its listener.
func wantHeard(t fataler, heard []statestore.Change[string, int64], old, now map[string]cell, dirty map[string]bool) {
	t.Helper()
	want := map[string]statestore.Change[string, int64]{}
	for k := range dirty {
		was, hadOld := old[k]
		is, hasNew := now[k]
		c := statestore.Change[string, int64]{Key: k, Old: was.Value, HasOld: hadOld, New: is.Value, HasNew: hasNew, Timestamp: is.Time}
		if !hasNew {
			c.Timestamp = 7
		}
		if hadOld || hasNew {
			want[k] = c
		}
	}
	got := map[string]statestore.Change[string, int64]{}
	for _, c := range heard {
		got[c.Key] = c
	}
	equal(t, "changes heard once", len(heard), len(got))
	equal(t, "changes heard", got, want)
}

func keyValueRanges(t *testing.T, s Suite) {
	db := s.open(t)
	tb := openTable(t, db, statestore.Spec{Name: "kv"})
	for i, k := range []string{"a", "aa", "ab", "b", "c\xff", "c\xff\xff", "d"} {
		must(t, tb.kv.Put(k, int64(i)))
		if i == 3 {
			commit(t, db, tb)
		}
	}
	must(t, tb.kv.Delete("aa"))
	text := func(walk func(statestore.Order) []string, want string) {
		t.Helper()
		equal(t, "up", walk(statestore.Ascending), strings.Fields(want))
		equal(t, "down", walk(statestore.Descending), reversed(strings.Fields(want)))
	}
	between := func(from, to, want string) {
		t.Helper()
		text(func(o statestore.Order) []string { return collect(t, tb.kv.Range(from, to, o), row) }, want)
	}
	prefix := func(p, want string) {
		t.Helper()
		text(func(o statestore.Order) []string { return collect(t, tb.kv.Prefix([]byte(p), o), row) }, want)
	}
	between("a", "b", "a=0 ab=2 b=3")
	between("aa", "az", "ab=2")
	between("b", "a", "")
	between("c", "z", "c\xff=4 c\xff\xff=5 d=6")
	prefix("a", "a=0 ab=2")
	prefix("c\xff", "c\xff=4 c\xff\xff=5")
	prefix("x", "")
	prefix("", "a=0 ab=2 b=3 c\xff=4 c\xff\xff=5 d=6")
	old, present, err := tb.kv.PutIfAbsent("b", 9)
	must(t, err)
	equal(t, "present", present, true)
	equal(t, "old", old, 3)
	_, present, err = tb.kv.PutIfAbsent("aa", 9)
	must(t, err)
	equal(t, "absent", present, false)
	between("aa", "b", "aa=9 ab=2 b=3")
}

func keyValueWriteWhileWalking(t *testing.T, s Suite) {
	db := s.open(t)
	for _, order := range []statestore.Order{statestore.Ascending, statestore.Descending} {
		name := "kv-" + strconv.FormatBool(bool(order))
		tb := openTable(t, db, statestore.Spec{Name: name})
		for i := range 20 {
			must(t, tb.kv.Put(string(rune('a'+i)), int64(i)))
			if i%2 == 0 {
				commit(t, db, tb)
			}
		}
		last, seen := "", 0
		for r, err := range tb.kv.All(order) {
			must(t, err)
			if last != "" && (r.Key < last) != bool(order) {
				t.Fatalf("%q came after %q", r.Key, last)
			}
			last = r.Key
			if len(r.Key) > 1 {
				continue // written by the lines below
			}
			seen++
			must(t, tb.kv.Put(r.Key, r.Value+100))  // the row itself
			must(t, tb.kv.Put("a0"+r.Key, r.Value)) // near one end
			must(t, tb.kv.Put("t0", r.Value))       // and at the other
			if _, _, err := tb.kv.Get("b"); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "rows that were there", seen, 20)
		for i := range 20 {
			v, ok, err := tb.kv.Get(string(rune('a' + i)))
			must(t, err)
			equal(t, "value", v, int64(i+100))
			equal(t, "ok", ok, true)
		}
	}
}

// keyValueWriteAhead changes rows that the walk has not reached.
func keyValueWriteAhead(t *testing.T, s Suite) {
	db := s.open(t)
	tb := openTable(t, db, statestore.Spec{Name: "kv"})
	for i, k := range []string{"a", "c", "d", "e", "g"} {
		must(t, tb.kv.Put(k, int64(i)))
	}
	commit(t, db, tb)
	for _, pending := range []bool{false, true} {
		if pending {
			must(t, tb.kv.Put("g", 4)) // so that the walk has a pending row in sight
		}
		got := []string{}
		for r, err := range tb.kv.All(statestore.Ascending) {
			must(t, err)
			got = append(got, row(r))
			if r.Key == "c" {
				must(t, tb.kv.Put("b", 90))
				must(t, tb.kv.Delete("d"))
				must(t, tb.kv.Put("e", 91))
				must(t, tb.kv.Put("f", 92))
			}
		}
		equal(t, "walk", got, []string{"a=0", "c=1", "e=91", "f=92", "g=4"})
		tb.Discard()
	}
}

func keyValueTimes(t *testing.T, s Suite) {
	db := s.open(t)
	timed := openTable(t, db, statestore.Spec{Name: "timed", Timestamped: true, Logged: true})
	plain := openTable(t, db, statestore.Spec{Name: "plain", Logged: true})
	for _, tb := range []*table{timed, plain} {
		must(t, tb.kv.PutAt("k", 1, 100))
		must(t, tb.kv.Put("l", 2))
		must(t, tb.kv.DeleteAt("m", 300))
	}
	check := func() {
		t.Helper()
		equal(t, "timed", collect(t, timed.kv.All(statestore.Ascending), row), []string{"k=1@100", "l=2"})
		equal(t, "plain", collect(t, plain.kv.All(statestore.Ascending), row), []string{"k=1", "l=2"})
		_, at, _, err := plain.kv.GetAt("k")
		must(t, err)
		equal(t, "time of a plain row", at, statestore.NoTimestamp)
	}
	check()
	commit(t, db, timed, plain)
	check()
	one, two := []byte{7: 1}, []byte{7: 2}
	for _, tb := range []*table{timed, plain} {
		equal(t, "changelog", tb.log.Entries, []Entry{
			{tb.Name(), []byte("k"), one, 100}, {tb.Name(), []byte("l"), two, -1}, {tb.Name(), []byte("m"), nil, 300},
		})
	}
}

func storesShareDB(t *testing.T, s Suite) {
	db := s.open(t)
	a := openTable(t, db, statestore.Spec{Name: "a"})
	b := openTable(t, db, statestore.Spec{Name: "ab"})
	must(t, a.kv.Put("k", 1))
	must(t, b.kv.Put("k", 2))
	commit(t, db, a, b)
	must(t, a.Close())
	_, _, err := a.kv.Get("k")
	wantErr(t, "get of a closed store", err, statestore.ErrClosed)
	wantErr(t, "put", a.kv.Put("k", 1), statestore.ErrClosed)
	wantErr(t, "flush", a.Flush(), statestore.ErrClosed)
	wantErr(t, "restore", a.Restore([]byte("k"), nil, 0), statestore.ErrClosed)
	for _, err := range a.kv.All(statestore.Ascending) {
		wantErr(t, "all", err, statestore.ErrClosed)
	}
	a = openTable(t, db, statestore.Spec{Name: "a"})
	equal(t, "a", collect(t, a.kv.All(statestore.Ascending), row), []string{"k=1"})
	equal(t, "ab", collect(t, b.kv.All(statestore.Ascending), row), []string{"k=2"})
	_, err = statestore.Open(db, statestore.Spec{Name: "a", Timestamped: true}, nil)
	wantErr(t, "another layout", err, statestore.ErrChanged)
}
