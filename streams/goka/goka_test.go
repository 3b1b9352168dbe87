package goka_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	upstream "github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/statestore/leveldb"
	"github.com/weirstream/weir/streams/goka"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/serde"
)

func open(t interface{ Fatal(...any) }, dir string) storage.Storage {
	s, err := goka.Builder(leveldb.New(leveldb.Options{}), dir)("t", 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStorageIsOneOfGokas drives goka's default storage and ours alike, ours over restarts.
func TestStorageIsOneOfGokas(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		ours := open(rt, dir)
		defer func() { _ = ours.Close() }()
		model, err := storage.DefaultBuilder(dir+"-model")("t", 3)
		if err != nil {
			rt.Fatal(err)
		}
		if err := model.Open(); err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = model.Close() }()
		key := rapid.SampledFrom([]string{"a", "aa", "ab", "b", "ba", "c\xff", "c\xff\xff"})
		rt.Repeat(map[string]func(*rapid.T){
			"set": func(rt *rapid.T) {
				k, v := key.Draw(rt, "key"), []byte(rapid.String().Draw(rt, "value"))
				same(rt, ours.Set(k, v), model.Set(k, v))
			},
			"delete": func(rt *rapid.T) {
				k := key.Draw(rt, "key")
				same(rt, ours.Delete(k), model.Delete(k))
			},
			"offset": func(rt *rapid.T) {
				o := rapid.Int64Range(1, 1000).Draw(rt, "offset")
				same(rt, ours.SetOffset(o), model.SetOffset(o))
			},
			"reopen": func(rt *rapid.T) {
				same(rt, ours.Close(), nil)
				ours = open(rt, dir)
			},
			"": func(rt *rapid.T) {
				k := key.Draw(rt, "key")
				got, err := ours.Get(k)
				want, _ := model.Get(k)
				has, err2 := ours.Has(k)
				wantHas, _ := model.Has(k)
				if err != nil || err2 != nil || string(got) != string(want) || has != wantHas || (got == nil) == has {
					rt.Fatalf("Get(%q) = %q, %v, %v; want %q", k, got, has, err, want)
				}
				o, err := ours.GetOffset(-7)
				wantO, _ := model.GetOffset(-7)
				if err != nil || o != wantO {
					rt.Fatalf("GetOffset = %d, %v; want %d", o, err, wantO)
				}
				for _, r := range [][2]string{{"", ""}, {"a", ""}, {"a", "b"}, {"aa", "c"}, {"c\xff", ""}} {
					if diff := cmp.Diff(walk(rt, model, r), walk(rt, ours, r)); diff != "" {
						rt.Fatalf("range %q: %s", r, diff)
					}
				}
			},
		})
	})
}

func same(t *rapid.T, got, want error) {
	if (got == nil) != (want == nil) {
		t.Fatalf("error %v, goka's storage says %v", got, want)
	}
}

func walk(t *rapid.T, s storage.Storage, r [2]string) []string {
	it, err := s.Iterator()
	if r[0] != "" {
		it, err = s.IteratorWithRange([]byte(r[0]), []byte(r[1]))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer it.Release()
	out := []string{}
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(it.Key())+"="+string(v))
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestIteratorSeeksWithinItsRangeAndStandsStill(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	for _, k := range []string{"a", "b", "c", "d"} {
		if err := s.Set(k, []byte(k)); err != nil {
			t.Fatal(err)
		}
	}
	it, err := s.IteratorWithRange([]byte("b"), []byte("d"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("b"); err != nil { // the iterator has its snapshot
		t.Fatal(err)
	}
	if !it.Seek([]byte("a")) || !it.Next() || string(it.Key()) != "b" {
		t.Errorf("before the range: %q", it.Key())
	}
	if !it.Seek([]byte("bb")) || !it.Next() || string(it.Key()) != "c" || it.Next() {
		t.Errorf("inside the range: %q", it.Key())
	}
	if it.Seek([]byte("d")) || it.Next() {
		t.Errorf("behind the range: %q", it.Key())
	}
	it.Release()
	it.Release()
	if it.Next() || it.Seek([]byte("a")) || it.Err() == nil {
		t.Error("an iterator goes on after its release")
	}
}

func TestStorageErrors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Set("k", nil); err == nil {
		t.Error("a nil value is stored")
	}
	if _, err := goka.Builder(leveldb.New(leveldb.Options{}), dir)("t", 3); err == nil {
		t.Error("a table opens twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Set("k", []byte("v")); err == nil {
		t.Error("a closed table takes a row")
	}
	if _, err := s.Iterator(); err == nil {
		t.Error("a closed table is walked")
	}
}

func TestMigrateReadsGokasOwnFolder(t *testing.T) {
	dir := t.TempDir()
	old, err := storage.DefaultBuilder(dir)("clicks-table", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Open(); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := old.Set(fmt.Sprint("user-", i), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{old.SetOffset(4711), old.MarkRecovered(), old.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, t.TempDir())
	defer s.Close()
	rows, err := goka.Migrate(filepath.Join(dir, "clicks-table.0"), s)
	if err != nil || rows != 1000 {
		t.Fatalf("Migrate = %d, %v", rows, err)
	}
	if offset, err := s.GetOffset(-1); err != nil || offset != 4711 {
		t.Errorf("offset %d, %v", offset, err)
	}
	if v, err := s.Get("user-77"); err != nil || string(v) != "77" {
		t.Errorf("row %q, %v", v, err)
	}
	if v, _ := s.Get("__offset"); v != nil {
		t.Errorf("the offset became a row: %q", v)
	}
}

func TestMigrateRefusesWhatIsNoTable(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	missing := filepath.Join(t.TempDir(), "none")
	if _, err := goka.Migrate(missing, s); err == nil {
		t.Error("a missing folder migrates")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a folder was made")
	}
	dir := t.TempDir()
	old, err := storage.DefaultBuilder(dir)("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Set("__offset", []byte("many")); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := goka.Migrate(filepath.Join(dir, "t.0"), s); err == nil {
		t.Error("an offset that is no number migrates")
	}
}

func TestCodecs(t *testing.T) {
	s := goka.Serde[int64](new(codec.Int64))
	b, err := s.Append([]byte("x"), "t", 42)
	if err != nil || string(b) != "x42" {
		t.Fatalf("Append = %q, %v", b, err)
	}
	if v, err := s.Decode("t", []byte("42")); err != nil || v != 42 {
		t.Errorf("Decode = %d, %v", v, err)
	}
	if _, err := s.Decode("t", []byte("many")); err == nil {
		t.Error("bytes that the codec refuses decode")
	}
	if _, err := goka.Serde[string](new(codec.Int64)).Decode("t", []byte("42")); err == nil {
		t.Error("a value of another type decodes")
	}
	if _, err := goka.Serde[string](new(codec.Int64)).Append(nil, "t", "42"); err == nil {
		t.Error("a value of another type encodes")
	}
	c := goka.Codec(serde.Int64(), "t")
	b, err = c.Encode(int64(1))
	if err != nil || string(b) != "\x00\x00\x00\x00\x00\x00\x00\x01" {
		t.Errorf("Encode = %q, %v", b, err)
	}
	if v, err := c.Decode(b); err != nil || v != int64(1) {
		t.Errorf("Decode = %v, %v", v, err)
	}
	if _, err := c.Encode("1"); err == nil {
		t.Error("a value of another type encodes")
	}
}

// TestHashersPutKeysWhereTheOthersDo holds both hashes to the clients whose placing they copy.
func TestHashersPutKeysWhereTheOthersDo(t *testing.T) {
	for i := range 500 {
		key, n := fmt.Append(nil, "key-", i*7919), int32(1+i%13)
		h := goka.Murmur2()()
		_, _ = h.Write(key[:2])
		_, _ = h.Write(key[2:])
		if got, want := h.Sum32()%uint32(n), uint32(runtime.Partition(key, n)); got != want {
			t.Errorf("murmur2: %s of %d goes to %d, Kafka puts it into %d", key, n, got, want)
		}
		if sum := h.Sum(nil); len(sum) != h.Size() {
			t.Errorf("a sum of %d bytes", len(sum))
		}
		first := h.Sum32()
		h.Reset()
		if _, _ = h.Write(key); h.Sum32() != first {
			t.Error("Reset leaves something")
		}
		f := upstream.DefaultHasher()()
		_, _ = f.Write(key)
		want := int32(f.Sum32()) % n
		if want < 0 {
			want = -want
		}
		if got := goka.Partitioner().ForTopic("t").Partition(&kgo.Record{Key: key}, int(n)); got != int(want) {
			t.Errorf("FNV: %s of %d goes to %d, goka puts it into %d", key, n, got, want)
		}
	}
}
