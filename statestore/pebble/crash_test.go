package pebble_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
	"github.com/weirstream/weir/statestore/storetest"
)

func TestEngineInMemoryFS(t *testing.T) {
	fs := vfs.NewMem()
	n := 0
	storetest.Run(t, storetest.Suite{
		Engine:  func(*testing.T) statestore.Engine { return pebble.New(pebble.Options{FS: fs}) },
		Dir:     func(*testing.T) string { n++; return fmt.Sprintf("/state/%d", n) },
		Durable: true,
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// life is a task that writes rounds of changes: in round r the keys of r%7 get
// the value r, and the changelog moves on.
type life struct {
	db    statestore.DB
	store statestore.Store
	kv    statestore.KeyValue[string, int64]
	log   *storetest.Log
}

const keysPerRound = 40

func begin(t *testing.T, fs vfs.FS) *life {
	t.Helper()
	l := &life{log: &storetest.Log{}}
	var err error
	l.db, err = pebble.New(pebble.Options{FS: fs, MemTableBytes: 64 << 10}).Open("/state")
	must(t, err)
	l.store, err = statestore.Open(l.db, statestore.Spec{Name: "s", Logged: true}, l.log)
	must(t, err)
	l.kv, err = statestore.AsKeyValue(l.store, storetest.Text{}, storetest.Number{})
	must(t, err)
	return l
}

func key(round int64, i int) string {
	return fmt.Sprintf("%s-%d-%d", strings.Repeat("k", 100), round%7, i)
}

func (l *life) round(t *testing.T, r int64) {
	t.Helper()
	for i := range keysPerRound {
		must(t, l.kv.Put(key(r, i), r))
	}
	must(t, l.store.Flush())
	l.apply(t, int64(len(l.log.Entries)))
}

func (l *life) apply(t *testing.T, offset int64) {
	t.Helper()
	var b statestore.Batch
	l.store.Pending(&b)
	must(t, l.db.Apply(&b, map[string]int64{"log": offset}))
}

// wantState checks that the store is as it was after so many rounds.
func (l *life) wantState(t *testing.T, rounds int64) {
	t.Helper()
	got := 0
	for row, err := range l.kv.All(statestore.Ascending) {
		must(t, err)
		got++
		last := int64(-1)
		for r := max(0, rounds-7); r < rounds; r++ {
			if strings.HasPrefix(row.Key, fmt.Sprintf("%s-%d-", strings.Repeat("k", 100), r%7)) {
				last = r
			}
		}
		if row.Value != last {
			t.Fatalf("after %d rounds %q is %d, want %d", rounds, row.Key, row.Value, last)
		}
	}
	if want := int(min(rounds, 7)) * keysPerRound; got != want {
		t.Fatalf("after %d rounds there are %d rows, want %d", rounds, got, want)
	}
}

// TestCrash pulls the plug at many moments. What comes back is the state after
// some earlier round, whole, with the position of that round; the changelog
// from there leads to the last.
func TestCrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := begin(t, fs)
	lost, kept := 0, 0
	rng := rand.New(rand.NewPCG(1, 2))
	for r := range int64(100) {
		l.round(t, r)
		cfg := vfs.CrashCloneCfg{}
		if r%2 == 1 {
			cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}
		}
		back := begin(t, fs.CrashClone(cfg))
		at, err := back.db.Position()
		must(t, err)
		if at["log"]%keysPerRound != 0 {
			t.Fatalf("position %d is inside a round", at["log"])
		}
		rounds := at["log"] / keysPerRound
		back.wantState(t, rounds)
		if rounds <= r {
			lost++
		}
		if rounds > 0 {
			kept++
		}
		for _, e := range l.log.Entries[at["log"]:] {
			must(t, back.store.Restore(e.Key, e.Value, e.Timestamp))
		}
		back.apply(t, int64(len(l.log.Entries)))
		back.wantState(t, r+1)
		must(t, back.db.Close())
	}
	must(t, l.db.Close())
	if lost == 0 || kept == 0 {
		t.Fatalf("crashes lost something %d times and kept something %d times: the test shows nothing", lost, kept)
	}
	t.Logf("of 100 crashes %d lost rounds, %d kept some", lost, kept)
	back := begin(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	back.wantState(t, 100)
	must(t, back.db.Close())
}

func TestABatchLargerThanAMemtable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := pebble.New(pebble.Options{FS: fs, MemTableBytes: 64 << 10}).Open("/state")
	must(t, err)
	var b statestore.Batch
	value := make([]byte, 1000)
	for i := range 1000 {
		b.Put(fmt.Appendf(nil, "key-%04d", i), value)
	}
	must(t, db.Apply(&b, map[string]int64{"log": 7}))
	must(t, db.Close())
	db, err = pebble.New(pebble.Options{FS: fs.CrashClone(vfs.CrashCloneCfg{})}).Open("/state")
	must(t, err)
	n := 0
	for _, err := range db.Range([]byte("key-"), []byte("key."), statestore.Ascending) {
		must(t, err)
		n++
	}
	at, err := db.Position()
	must(t, err)
	if n != 1000 || at["log"] != 7 {
		t.Errorf("%d rows, position %v", n, at)
	}
	must(t, db.Close())
}

func TestDatabasesShareACache(t *testing.T) {
	e := pebble.New(pebble.Options{FS: vfs.NewMem()})
	for range 2 {
		a, err := e.Open("/a")
		must(t, err)
		b, err := e.Open("/b")
		must(t, err)
		must(t, a.Close())
		must(t, b.Apply(&statestore.Batch{}, map[string]int64{"t": 1}))
		must(t, b.Close())
	}
}

func TestADirectoryThatIsAFile(t *testing.T) {
	fs := vfs.NewMem()
	f, err := fs.Create("/state", vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, f.Close())
	_, err = pebble.New(pebble.Options{FS: fs}).Open("/state")
	if err == nil || errors.Is(err, statestore.ErrInUse) || !strings.Contains(err.Error(), "/state") {
		t.Errorf("error %v", err)
	}
}

func TestADatabaseThatIsDamaged(t *testing.T) {
	fs := vfs.NewMem()
	e := pebble.New(pebble.Options{FS: fs})
	db, err := e.Open("/state")
	must(t, err)
	must(t, db.Apply(&statestore.Batch{}, map[string]int64{"t": 1}))
	must(t, db.Close())
	names, err := fs.List("/state")
	must(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST") {
			must(t, fs.Remove("/state/"+name))
		}
	}
	_, err = e.Open("/state")
	if err == nil || errors.Is(err, statestore.ErrInUse) || !strings.Contains(err.Error(), "/state") {
		t.Errorf("error %v", err)
	}
}
