package statestore_test

import (
	"encoding/binary"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/storetest"
)

var errDisk = errors.New("disk")

// brittle is a DB that fails where it is told to.
type brittle struct {
	statestore.DB
	get, apply, walk error
}

func (b *brittle) Get(dst, key []byte) ([]byte, bool, error) {
	if b.get != nil {
		return dst, false, b.get
	}
	return b.DB.Get(dst, key)
}

func (b *brittle) Apply(batch *statestore.Batch, at map[string]int64) error {
	if b.apply != nil {
		return b.apply
	}
	return b.DB.Apply(batch, at)
}

func (b *brittle) Range(from, to []byte, o statestore.Order) iter.Seq2[statestore.Pair, error] {
	if b.walk == nil {
		return b.DB.Range(from, to, o)
	}
	return func(yield func(statestore.Pair, error) bool) { yield(statestore.Pair{}, b.walk) }
}

func memory(t *testing.T) *brittle {
	t.Helper()
	db, err := statestore.Memory().Open("")
	if err != nil {
		t.Fatal(err)
	}
	return &brittle{DB: db}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func TestImpossibleSpecs(t *testing.T) {
	for what, s := range map[string]statestore.Spec{
		"no name":             {},
		"unknown kind":        {Name: "s", Kind: 9},
		"no retention":        {Name: "s", Kind: statestore.KindSession},
		"negative size":       {Name: "s", Kind: statestore.KindWindow, RetentionMs: 1, WindowSizeMs: -1},
		"timestamped session": {Name: "s", Kind: statestore.KindSession, RetentionMs: 1, Timestamped: true},
		"retain duplicates":   {Name: "s", RetainDuplicates: true},
		"cannot be cached":    {Name: "s", Kind: statestore.KindWindow, RetentionMs: 1, RetainDuplicates: true, Cached: true},
		"changelog":           {Name: "s", Logged: true},
		"are held":            {Name: "s", Held: true},
		"or in segments":      {Name: "s", Kind: statestore.KindWindow, RetentionMs: 1, SegmentMs: -1},
		"negative history":    {Name: "s", Kind: statestore.KindVersioned, RetentionMs: -1, Timestamped: true},
		"versions no time":    {Name: "s", Kind: statestore.KindVersioned},
		"versions cached":     {Name: "s", Kind: statestore.KindVersioned, Timestamped: true, Cached: true},
	} {
		_, err := statestore.Open(memory(t), s, nil)
		wantErr(t, what, err, statestore.ErrSpec)
	}
	if got := statestore.Kind(9).String(); got != "kind(9)" {
		t.Error(got)
	}
}

func TestOpenReportsADBThatFails(t *testing.T) {
	spec := statestore.Spec{Name: "s"}
	db := memory(t)
	db.walk = errDisk
	_, err := statestore.Open(db, spec, nil)
	wantErr(t, "registry", err, errDisk)
	db = memory(t)
	db.apply = errDisk
	_, err = statestore.Open(db, spec, nil)
	wantErr(t, "registration", err, errDisk)
	db = memory(t)
	db.get = errDisk
	_, err = statestore.Open(db, spec, nil)
	wantErr(t, "time of the store", err, errDisk)
}

func TestOpenReportsBytesThatAreNotOurs(t *testing.T) {
	for what, rows := range map[string][2]string{
		"registry row": {"\xffsother", "\x01"},
		"too many":     {"\xffsother", "\xfe\xff\xff\xff"},
		"time":         {"\xfft\x00\x00\x00\x01", "short"},
	} {
		db := memory(t)
		var b statestore.Batch
		b.Put([]byte(rows[0]), []byte(rows[1]))
		if err := db.Apply(&b, nil); err != nil {
			t.Fatal(err)
		}
		_, err := statestore.Open(db, statestore.Spec{Name: "s"}, nil)
		wantErr(t, what, err, statestore.ErrCorrupt)
	}
	db := memory(t)
	var b statestore.Batch
	b.Put([]byte("\xffptopic"), []byte("short"))
	if err := db.Apply(&b, nil); err != nil {
		t.Fatal(err)
	}
	_, err := statestore.ReadPositions(db)
	wantErr(t, "position", err, statestore.ErrCorrupt)
	db.walk = errDisk
	_, err = statestore.ReadPositions(db)
	wantErr(t, "positions", err, errDisk)
}

func TestTypedFrontsWantTheirKind(t *testing.T) {
	s := open(t, memory(t), statestore.Spec{Name: "s"}, nil)
	_, err := statestore.AsWindow(s, storetest.Text{}, storetest.Number{})
	wantErr(t, "window", err, statestore.ErrKind)
	_, err = statestore.AsSession(s, storetest.Text{}, storetest.Number{})
	wantErr(t, "session", err, statestore.ErrKind)
	_, err = statestore.AsVersioned(s, storetest.Text{}, storetest.Number{})
	wantErr(t, "versioned", err, statestore.ErrKind)
	w := open(t, memory(t), statestore.Spec{Name: "w", Kind: statestore.KindWindow, RetentionMs: 1}, nil)
	_, err = statestore.AsKeyValue(w, storetest.Text{}, storetest.Number{})
	wantErr(t, "key-value", err, statestore.ErrKind)
	if err == nil || !strings.Contains(err.Error(), "w is not a key-value store") {
		t.Error(err)
	}
	kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "listener of an uncached store", kv.OnFlush(nil), statestore.ErrKind)
}

func open(t *testing.T, db statestore.DB, spec statestore.Spec, log statestore.Changelog) statestore.Store {
	t.Helper()
	s, err := statestore.Open(db, spec, log)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// odd is a codec that fails.
type odd struct{}

func (odd) Append(dst []byte, v string) ([]byte, error) {
	if v == "bad" {
		return nil, errDisk
	}
	return append(dst, v...), nil
}

func (odd) Decode(b []byte) (string, error) {
	if string(b) == "undecodable" {
		return "", errDisk
	}
	return string(b), nil
}

func first[T any](walk iter.Seq2[T, error]) error {
	for _, err := range walk {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestErrorsOfKeyValueStores(t *testing.T) {
	db, log := memory(t), &storetest.Log{}
	s := open(t, db, statestore.Spec{Name: "s", Cached: true, Logged: true}, log)
	kv, err := statestore.AsKeyValue(s, odd{}, odd{})
	if err != nil {
		t.Fatal(err)
	}
	up := statestore.Ascending
	_, _, err = kv.Get("bad")
	wantErr(t, "get", err, errDisk)
	wantErr(t, "put, key", kv.Put("bad", "v"), errDisk)
	wantErr(t, "put, value", kv.Put("k", "bad"), errDisk)
	wantErr(t, "delete", kv.Delete("bad"), errDisk)
	_, _, err = kv.PutIfAbsent("bad", "v")
	wantErr(t, "put if absent", err, errDisk)
	wantErr(t, "range from", first(kv.Range("bad", "k", up)), errDisk)
	wantErr(t, "range to", first(kv.Range("k", "bad", up)), errDisk)

	db.get = errDisk
	_, _, err = kv.Get("k")
	wantErr(t, "get of a failing db", err, errDisk)
	wantErr(t, "old value of a failing db", kv.Put("k", "v"), errDisk)
	db.get, db.walk = nil, errDisk
	wantErr(t, "walk of a failing db", first(kv.All(up)), errDisk)
	db.walk = nil

	for _, put := range [][2]string{{"undecodable", "v"}, {"k", "undecodable"}} {
		if err := kv.Put(put[0], put[1]); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "decode in a walk", first(kv.All(up)), errDisk)
		s.Discard()
	}
	if err := kv.Put("k", "undecodable"); err != nil {
		t.Fatal(err)
	}
	_, _, err = kv.Get("k")
	wantErr(t, "decode in get", err, errDisk)
	log.Err = errDisk
	wantErr(t, "changelog", s.Flush(), errDisk)
	s.Discard()
	log.Err = nil
	listeners(t, db, s, kv)
}

// listeners checks what a flush reports when the listener cannot be served.
func listeners(t *testing.T, db statestore.DB, s statestore.Store, kv statestore.KeyValue[string, string]) {
	t.Helper()
	fail := error(nil)
	if err := kv.OnFlush(func(statestore.Change[string, string]) error { return fail }); err != nil {
		t.Fatal(err)
	}
	if kv.OnFlush(func(statestore.Change[string, string]) error { return nil }) == nil {
		t.Error("a second listener was taken")
	}
	put := func(k, v string) {
		t.Helper()
		if err := kv.Put(k, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{{"undecodable", "v"}, {"k", "undecodable"}} {
		put(c[0], c[1])
		wantErr(t, "decode for the listener", s.Flush(), errDisk)
		s.Discard()
	}
	fail = errDisk
	put("k", "v")
	wantErr(t, "listener", s.Flush(), errDisk)
	s.Discard()
	fail = nil
	// An old value that cannot be read.
	if err := s.Restore([]byte("k"), []byte("undecodable"), 0); err != nil {
		t.Fatal(err)
	}
	put("k", "v")
	wantErr(t, "old value", s.Flush(), errDisk)
	s.Discard()
	_ = db
}

func TestErrorsOfTimedStores(t *testing.T) {
	db := memory(t)
	up := statestore.Ascending
	ws := open(t, db, statestore.Spec{Name: "w", Kind: statestore.KindWindow, RetentionMs: 1000, Timestamped: true}, nil)
	w, err := statestore.AsWindow(ws, odd{}, odd{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = w.Get("bad", 1)
	wantErr(t, "window get", err, errDisk)
	_, err = w.Put("bad", 1, "v", 1)
	wantErr(t, "window put, key", err, errDisk)
	_, err = w.Put("k", 1, "bad", 1)
	wantErr(t, "window put, value", err, errDisk)
	wantErr(t, "window delete", w.Delete("bad", 1, 1), errDisk)
	wantErr(t, "window fetch", first(w.Fetch("bad", 0, 1, up)), errDisk)
	ss := open(t, db, statestore.Spec{Name: "s", Kind: statestore.KindSession, RetentionMs: 1000}, nil)
	s, err := statestore.AsSession(ss, odd{}, odd{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Get("bad", 1, 2)
	wantErr(t, "session get", err, errDisk)
	_, err = s.Put("bad", 1, 2, "v")
	wantErr(t, "session put, key", err, errDisk)
	_, err = s.Put("k", 1, 2, "bad")
	wantErr(t, "session put, value", err, errDisk)
	wantErr(t, "session remove", s.Remove("bad", 1, 2), errDisk)
	wantErr(t, "session fetch", first(s.FetchSessions("bad", 0, 1, up)), errDisk)
	wantErr(t, "window restore", ws.Restore([]byte("short"), nil, 0), statestore.ErrCorrupt)
	wantErr(t, "session restore", ss.Restore([]byte("short"), nil, 0), statestore.ErrCorrupt)
	for what, s := range map[string]statestore.Store{"window": ws, "session": ss} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantErr(t, what+" flush", s.Flush(), statestore.ErrClosed)
	}
	_, err = w.Put("k", 1, "v", 1)
	wantErr(t, "put to a closed store", err, statestore.ErrClosed)
	wantErr(t, "delete from a closed store", w.Delete("k", 1, 1), statestore.ErrClosed)
	_, err = s.Put("k", 1, 2, "v")
	wantErr(t, "put to a closed session store", err, statestore.ErrClosed)
	wantErr(t, "remove from a closed store", s.Remove("k", 1, 2), statestore.ErrClosed)
}

func TestErrorsOfVersionedStores(t *testing.T) {
	db, log := memory(t), &storetest.Log{}
	up := statestore.Ascending
	s := open(t, db, statestore.Spec{Name: "v", Kind: statestore.KindVersioned, RetentionMs: 1000, Timestamped: true, Logged: true}, log)
	v, err := statestore.AsVersioned(s, odd{}, odd{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(what string, at int64, want error) {
		t.Helper()
		_, _, err := v.Put("k", "v", at)
		wantErr(t, what, err, want)
	}
	_, _, err = v.Get("bad")
	wantErr(t, "get", err, errDisk)
	_, _, err = v.GetAsOf("bad", 1)
	wantErr(t, "get as of", err, errDisk)
	_, _, err = v.Put("bad", "v", 1)
	wantErr(t, "put, key", err, errDisk)
	_, _, err = v.Put("k", "bad", 1)
	wantErr(t, "put, value", err, errDisk)
	_, _, err = v.Delete("bad", 1)
	wantErr(t, "delete", err, errDisk)
	wantErr(t, "versions", first(v.Versions("bad", 0, 1, up)), errDisk)
	db.get = errDisk
	_, _, err = v.GetAsOf("k", 1)
	wantErr(t, "get as of a failing db", err, errDisk)
	put("put to a failing db", 1, errDisk)
	db.get = nil
	put("put", 100, nil)
	db.walk = errDisk
	_, _, err = v.GetAsOf("k", 50)
	wantErr(t, "history of a failing db", err, errDisk)
	put("late put to a failing db", 50, errDisk)
	db.walk = nil
	log.Err = errDisk
	wantErr(t, "changelog", s.Flush(), errDisk)
	log.Err = nil
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	put("put to a closed store", 1, statestore.ErrClosed)
	wantErr(t, "restore", s.Restore([]byte("k"), nil, 1), statestore.ErrClosed)
}

func TestATornRowOfTheHistoryIsCorrupt(t *testing.T) {
	db := memory(t)
	s := open(t, db, statestore.Spec{Name: "v", Kind: statestore.KindVersioned, RetentionMs: 1000, Timestamped: true}, nil)
	v, err := statestore.AsVersioned(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Put("k", 1, 100); err != nil {
		t.Fatal(err)
	}
	var b statestore.Batch
	b.Put([]byte("\x00\x00\x00\x01\x00\x00\x00\x00k\x00\x01\xff\xff"), make([]byte, 8))
	if err := db.Apply(&b, nil); err != nil {
		t.Fatal(err)
	}
	_, _, err = v.GetAsOf("k", 50)
	wantErr(t, "get as of", err, statestore.ErrCorrupt)
	wantErr(t, "versions", first(v.Versions("k", 0, 100, statestore.Ascending)), statestore.ErrCorrupt)
}

func TestARowWithoutItsTimestampIsCorrupt(t *testing.T) {
	db := memory(t)
	spec := statestore.Spec{Name: "s", Timestamped: true}
	s := open(t, db, spec, nil)
	kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		t.Fatal(err)
	}
	var b statestore.Batch
	b.Put(append(binary.BigEndian.AppendUint32(nil, 1), 'k'), []byte("short"))
	if err := db.Apply(&b, nil); err != nil {
		t.Fatal(err)
	}
	_, _, err = kv.Get("k")
	wantErr(t, "get", err, statestore.ErrCorrupt)
	wantErr(t, "walk", first(kv.All(statestore.Ascending)), statestore.ErrCorrupt)
	b.Reset()
	if b.Len() != 0 || b.Size() != 0 {
		t.Error("a batch that was reset is empty")
	}
}

func TestFlushTellsChangesInTheOrderOfTheLastWrites(t *testing.T) {
	s := open(t, memory(t), statestore.Spec{Name: "s", Cached: true}, nil)
	if spec := s.Spec(); spec.Name != "s" || s.Name() != "s" {
		t.Errorf("spec %v", spec)
	}
	kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		t.Fatal(err)
	}
	order := ""
	if err := kv.OnFlush(func(c statestore.Change[string, int64]) error {
		order += c.Key
		if c.Key == "b" {
			return kv.Put("z", 1) // written by the flush, flushed with it
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for k := range strings.SplitSeq("cabcda", "") {
		if err := kv.Put(k, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete("d"); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if order != "bcaz" || s.Dirty() {
		t.Errorf("order %q, dirty %v", order, s.Dirty())
	}
}

func TestAHitDoesNotAllocate(t *testing.T) {
	for name, cached := range map[string]bool{"cached": true, "uncached": false} {
		s := open(t, memory(t), statestore.Spec{Name: "s", Cached: cached, Timestamped: true}, nil)
		kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Number{})
		if err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(100, func() {
			v, _, err := kv.Get("key")
			if err == nil {
				err = kv.PutAt("key", v+1, v)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAWindowHitDoesNotAllocate(t *testing.T) {
	s := open(t, memory(t), statestore.Spec{
		Name: "s", Kind: statestore.KindWindow, RetentionMs: 1000, Cached: true, Timestamped: true,
	}, nil)
	w, err := statestore.AsWindow(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		v, at, _, err := w.Get("key", 500)
		if err == nil {
			_, err = w.Put("key", 500, v+1, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEmptyValuesAreNotTombstones(t *testing.T) {
	db, log := memory(t), &storetest.Log{}
	s := open(t, db, statestore.Spec{Name: "s", Logged: true}, log)
	kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Text{})
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Put("k", ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if v, ok, err := kv.Get("k"); v != "" || !ok || err != nil {
			t.Errorf("got %q %v %v", v, ok, err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		var b statestore.Batch
		s.Pending(&b)
		if err := db.Apply(&b, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(log.Entries) != 1 || log.Entries[0].Value == nil {
		t.Errorf("changelog %v", log.Entries)
	}
}

func TestTheEndOfAFarWindowStaysInTime(t *testing.T) {
	s := open(t, memory(t), statestore.Spec{
		Name: "s", Kind: statestore.KindWindow, RetentionMs: statestore.Forever, WindowSizeMs: 10,
	}, nil)
	w, err := statestore.AsWindow(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		t.Fatal(err)
	}
	for range w.All(statestore.Ascending) {
		t.Error("a fresh store has no rows")
	}
	if _, err := w.Put("k", statestore.Forever-5, 1, 0); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for r, err := range w.FetchAll(0, statestore.Forever, statestore.Ascending) {
		if err != nil || r.End != statestore.Forever {
			t.Errorf("%v %v", r, err)
		}
		rows++
	}
	if rows != 1 {
		t.Errorf("%d rows", rows)
	}
	for range w.FetchAll(5, 4, statestore.Ascending) {
		t.Error("no row is between 5 and 4")
	}
}
