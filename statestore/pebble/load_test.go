package pebble_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
	"github.com/weirstream/weir/statestore/storetest"
)

func TestEngineThatLoadsEverything(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Engine:  func(*testing.T) statestore.Engine { return pebble.New(pebble.Options{LoadBytes: 1}) },
		Dir:     func(t *testing.T) string { return t.TempDir() },
		Durable: true,
	})
}

// TestCrashBetweenLoads pulls the plug after loads and applies in turn. A load is
// on disk when it returns, with everything that was applied before it; what comes
// back is always whole rounds and their position.
func TestCrashBetweenLoads(t *testing.T) {
	const lines = 30
	fs := vfs.NewCrashableMem()
	open := func(fs vfs.FS) statestore.DB {
		db, err := pebble.New(pebble.Options{FS: fs, MemTableBytes: 64 << 10, LoadBytes: 1}).Open("/state")
		must(t, err)
		return db
	}
	db := open(fs)
	rng := rand.New(rand.NewPCG(3, 4))
	lost, kept := 0, int64(0)
	for r := range int64(120) {
		var b statestore.Batch
		for i := range lines {
			key := fmt.Appendf(nil, "%d-%d", r%5, i)
			if b.Put(key, key); r%7 == 3 {
				b.Delete(key)
			} else {
				b.Put(key, fmt.Appendf(nil, "%d", r))
			}
		}
		if rng.IntN(3) == 0 {
			must(t, db.Load(&b, map[string]int64{"log": r + 1}))
			kept = r + 1
		} else {
			must(t, db.Apply(&b, map[string]int64{"log": r + 1}))
		}
		cfg := vfs.CrashCloneCfg{}
		if r%2 == 1 {
			cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}
		}
		back := open(fs.CrashClone(cfg))
		at, err := back.Position()
		must(t, err)
		if at["log"] < kept {
			t.Fatalf("round %d: position %d, %d were loaded", r, at["log"], kept)
		}
		if at["log"] <= r {
			lost++
		}
		wantRounds(t, back, at["log"], lines)
		must(t, back.Close())
	}
	must(t, db.Close())
	if lost == 0 || kept == 0 {
		t.Fatalf("%d crashes lost something, %d rounds were loaded: the test shows nothing", lost, kept)
	}
}

// wantRounds checks that the DB is as it was after so many rounds.
func wantRounds(t *testing.T, db statestore.DB, rounds int64, lines int) {
	t.Helper()
	want := 0
	for r := max(0, rounds-5); r < rounds; r++ {
		for i := range lines {
			v, ok, err := db.Get(nil, fmt.Appendf(nil, "%d-%d", r%5, i))
			must(t, err)
			if ok == (r%7 == 3) || ok && string(v) != fmt.Sprint(r) {
				t.Fatalf("after %d rounds the row of round %d is %q, %v", rounds, r, v, ok)
			}
			if ok {
				want++
			}
		}
	}
	got := 0
	for _, err := range db.Range(nil, []byte{0xff}, statestore.Ascending) {
		must(t, err)
		got++
	}
	if got != want {
		t.Fatalf("after %d rounds there are %d rows, want %d", rounds, got, want)
	}
}

func TestALoadThatFailsIsNotThere(t *testing.T) {
	disk, fails := errors.New("disk is full"), ""
	mem := vfs.NewMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fails != "" && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, fails) ||
			fails == "write" && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, "load.tmp0") {
			return disk
		}
		return nil
	}))
	db, err := pebble.New(pebble.Options{FS: fs, LoadBytes: 1}).Open("/state")
	must(t, err)
	put(t, db, "a", 1)
	for _, fails = range []string{"load.tmp0", "write"} {
		var b statestore.Batch
		b.Put([]byte("b"), []byte("b"))
		if err := db.Load(&b, map[string]int64{"log": 2}); !errors.Is(err, disk) {
			t.Errorf("%s: error %v", fails, err)
		}
		if _, ok, err := db.Get(nil, []byte("b")); ok || err != nil {
			t.Errorf("%s: the row is there: %v, %v", fails, ok, err)
		}
		if _, err := mem.Stat("/state/load.tmp0"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the table's file is still there: %v", fails, err)
		}
		wantAt(t, db, 1, "a")
	}
	fails = ""
	var b statestore.Batch
	b.Put([]byte("b"), []byte("b"))
	must(t, db.Load(&b, map[string]int64{"log": 2}))
	wantAt(t, db, 2, "a", "b")
	must(t, db.Close())
}
