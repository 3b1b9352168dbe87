package pebble_test

import (
	"strconv"
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
	"github.com/weirstream/weir/statestore/storetest"
)

func openBench(b *testing.B, spec statestore.Spec) (statestore.DB, statestore.Store) {
	b.Helper()
	db, err := pebble.New(pebble.Options{}).Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	s, err := statestore.Open(db, spec, nil)
	if err != nil {
		b.Fatal(err)
	}
	return db, s
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = "user-" + strconv.Itoa(1_000_000+i)
	}
	return keys
}

// commitEvery is how many records a task counts between two commits.
const commitEvery = 10_000

func benchCommit(b *testing.B, db statestore.DB, s statestore.Store, batch *statestore.Batch) {
	b.Helper()
	batch.Reset()
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	s.Pending(batch)
	if err := db.Apply(batch, map[string]int64{"t": 1}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOverlayGetPut counts keys that are pending already.
func BenchmarkOverlayGetPut(b *testing.B) {
	_, s := openBench(b, statestore.Spec{Name: "s", Timestamped: true, Cached: true})
	kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		b.Fatal(err)
	}
	keys := benchKeys(1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := keys[i%len(keys)]
		n, _, err := kv.Get(k)
		if err == nil {
			err = kv.PutAt(k, n+1, int64(i))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCount counts with a commit every so often, over few keys (most are
// pending already) and many (most are not).
func BenchmarkCount(b *testing.B) {
	for _, n := range []int{1000, 200_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			db, s := openBench(b, statestore.Spec{Name: "s", Timestamped: true, Cached: true})
			kv, err := statestore.AsKeyValue(s, storetest.Text{}, storetest.Number{})
			if err != nil {
				b.Fatal(err)
			}
			keys := benchKeys(n)
			var batch statestore.Batch
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := keys[i*7919%len(keys)]
				v, _, err := kv.Get(k)
				if err == nil {
					err = kv.PutAt(k, v+1, int64(i))
				}
				if err != nil {
					b.Fatal(err)
				}
				if i%commitEvery == commitEvery-1 {
					benchCommit(b, db, s, &batch)
				}
			}
		})
	}
}

// BenchmarkWindowCount counts 1000 keys in windows of a minute, 100,000 records
// each, with a commit every so often.
func BenchmarkWindowCount(b *testing.B) {
	db, s := openBench(b, statestore.Spec{
		Name: "s", Kind: statestore.KindWindow, RetentionMs: 600_000, WindowSizeMs: 60_000, Timestamped: true, Cached: true,
	})
	w, err := statestore.AsWindow(s, storetest.Text{}, storetest.Number{})
	if err != nil {
		b.Fatal(err)
	}
	keys := benchKeys(1000)
	var batch statestore.Batch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k, start := keys[i*7919%len(keys)], int64(i/100_000)*60_000
		v, _, _, err := w.Get(k, start)
		if err == nil {
			_, err = w.Put(k, start, v+1, start)
		}
		if err != nil {
			b.Fatal(err)
		}
		if i%commitEvery == commitEvery-1 {
			benchCommit(b, db, s, &batch)
		}
	}
}

// BenchmarkApply applies batches of 10,000 new rows; one op is one row.
func BenchmarkApply(b *testing.B) {
	db, _ := openBench(b, statestore.Spec{Name: "s"})
	var batch statestore.Batch
	value := make([]byte, 100)
	key := make([]byte, 0, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key = strconv.AppendInt(append(key[:0], "key-"...), int64(i*7919%10_000_019), 10)
		batch.Put(key, value)
		if batch.Len() == commitEvery {
			if err := db.Apply(&batch, nil); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
}

// BenchmarkRestore takes changelog records into a store, applied every so often.
func BenchmarkRestore(b *testing.B) {
	db, s := openBench(b, statestore.Spec{Name: "s", Timestamped: true})
	keys, value := benchKeys(200_000), make([]byte, 100)
	var batch statestore.Batch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Restore([]byte(keys[i*7919%len(keys)]), value, int64(i)); err != nil {
			b.Fatal(err)
		}
		if i%commitEvery == commitEvery-1 {
			benchCommit(b, db, s, &batch)
		}
	}
}
