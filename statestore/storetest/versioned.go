package storetest

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirstream/weir/statestore"
)

type versions struct {
	statestore.Store
	v   statestore.Versioned[string, int64]
	log *Log
}

func openVersions(t fataler, db statestore.DB, name string, history int64) *versions {
	t.Helper()
	vs := &versions{log: &Log{}}
	var err error
	vs.Store, err = statestore.Open(db, statestore.Spec{
		Name: name, Kind: statestore.KindVersioned, RetentionMs: history, Timestamped: true, Logged: true,
	}, vs.log)
	must(t, err)
	vs.v, err = statestore.AsVersioned(vs.Store, Text{}, Number{})
	must(t, err)
	return vs
}

// put puts a value, or deletes if it is negative, and returns what Put says.
func (vs *versions) put(t fataler, key string, value, at int64) string {
	t.Helper()
	put := func() (int64, bool, error) { return vs.v.Put(key, value, at) }
	if value < 0 {
		put = func() (int64, bool, error) { return vs.v.Delete(key, at) }
	}
	until, stored, err := put()
	must(t, err)
	if !stored {
		return "refused"
	}
	return "until " + moment(until)
}

// asOf returns the version of a time.
func (vs *versions) asOf(t fataler, key string, at int64) string {
	t.Helper()
	r, ok, err := vs.v.GetAsOf(key, at)
	must(t, err)
	if !ok {
		return "none"
	}
	return version(r)
}

func moment(at int64) string {
	if at == statestore.Forever {
		return "now"
	}
	return strconv.FormatInt(at, 10)
}

func version(r statestore.Row[string, int64]) string {
	return fmt.Sprintf("%s[%d,%s)=%d@%d", r.Key, r.Start, moment(r.End), r.Value, r.Timestamp)
}

// timeline is the model of a versioned store: every version there ever was.
type timeline struct {
	history, now int64
	keys         map[string]map[int64]int64 // time → value, negative for a deletion
}

func (m *timeline) expired(at int64) bool { return m.now >= 0 && at < m.now-m.history }

// until returns the time of the version after a time.
func (m *timeline) until(key string, at int64) int64 {
	next := statestore.Forever
	for other := range m.keys[key] {
		if other > at {
			next = min(next, other)
		}
	}
	return next
}

func (m *timeline) put(key string, value, at int64) string {
	if m.expired(at) {
		return "refused"
	}
	m.now = max(m.now, at)
	if m.keys[key] == nil {
		m.keys[key] = map[int64]int64{}
	}
	m.keys[key][at] = value
	return "until " + moment(m.until(key, at))
}

func (m *timeline) row(key string, at int64) string {
	return version(statestore.Row[string, int64]{
		Key: key, Value: m.keys[key][at], Start: at, End: m.until(key, at), Timestamp: at,
	})
}

func (m *timeline) asOf(key string, at int64) string {
	from := int64(-1)
	for other := range m.keys[key] {
		if other <= at {
			from = max(from, other)
		}
	}
	if from < 0 || m.keys[key][from] < 0 || m.expired(at) && m.until(key, from) != statestore.Forever {
		return "none"
	}
	return m.row(key, from)
}

// versions returns what was valid from one time to another, of what is kept.
func (m *timeline) versions(key string, from, to int64) []string {
	rows := []string{}
	if m.now >= 0 {
		from = max(from, m.now-m.history)
	}
	for _, at := range slices.Sorted(maps.Keys(m.keys[key])) {
		if until := m.until(key, at); m.keys[key][at] >= 0 && at <= to && (from < until || until == statestore.Forever) {
			rows = append(rows, m.row(key, at))
		}
	}
	return rows
}

func (m *timeline) latest() []string {
	rows := []string{}
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		if at := slices.Max(slices.Collect(maps.Keys(m.keys[key]))); m.keys[key][at] >= 0 {
			rows = append(rows, m.row(key, at))
		}
	}
	return rows
}

func (m *timeline) check(t fataler, vs *versions, keys []string) {
	t.Helper()
	equal(t, "all", collect(t, vs.v.All(statestore.Ascending), version), m.latest())
	for _, key := range keys {
		for at := range int64(21) {
			equal(t, fmt.Sprintf("%q as of %d", key, at*minute/2), vs.asOf(t, key, at*minute/2), m.asOf(key, at*minute/2))
		}
		bothWaysOf(t, "versions of "+key, func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
			return vs.v.Versions(key, minute, 8*minute, o)
		}, m.versions(key, minute, 8*minute))
	}
}

func bothWaysOf(t fataler, what string, walk func(statestore.Order) iter.Seq2[statestore.Row[string, int64], error], want []string) {
	t.Helper()
	equal(t, what, collect(t, walk(statestore.Ascending), version), want)
	equal(t, what+", down", collect(t, walk(statestore.Descending), version), reversed(want))
}

func versionedModel(t *testing.T, s Suite) {
	db := s.open(t)
	var ids names
	all := []string{"", "a", "a\x00", "a\x00\x01", "\xff\xff"}
	rapid.Check(t, func(t *rapid.T) {
		history := rapid.SampledFrom([]int64{0, 1000, 3 * minute, statestore.Forever}).Draw(t, "history")
		vs := openVersions(t, db, ids.next(), history)
		model := &timeline{history: history, now: -1, keys: map[string]map[int64]int64{}}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "commit") == 0 {
				commit(t, db, vs)
				continue
			}
			key, at := rapid.SampledFrom(all).Draw(t, "key"), rapid.Int64Range(0, 20).Draw(t, "at")*minute/2
			value := rapid.Int64Range(-2, 5).Draw(t, "value")
			equal(t, "put", vs.put(t, key, value, at), model.put(key, value, at))
		}
		model.check(t, vs, all)
		commit(t, db, vs)
		model.check(t, vs, all)
		restored := openVersions(t, db, ids.next(), history)
		for _, e := range vs.log.Entries {
			must(t, restored.Restore(e.Key, e.Value, e.Timestamp))
		}
		model.check(t, restored, all)
		commit(t, db, restored)
		equal(t, "a restore logs nothing", len(restored.log.Entries), 0)
		model.check(t, restored, all)
	})
}

func versionedOrder(t *testing.T, s Suite) {
	db := s.open(t)
	vs := openVersions(t, db, "v", 10*minute)
	for _, c := range []struct {
		value, at int64
		says      string
		versions  string
	}{
		{1, 10, "until now", "a[10,now)=1@10"},
		{2, 20, "until now", "a[10,20)=1@10 a[20,now)=2@20"},
		{3, 15, "until 20", "a[10,15)=1@10 a[15,20)=3@15 a[20,now)=2@20"},
		{-1, 17, "until 20", "a[10,15)=1@10 a[15,17)=3@15 a[20,now)=2@20"},
		{4, 18, "until 20", "a[10,15)=1@10 a[15,17)=3@15 a[18,20)=4@18 a[20,now)=2@20"},
		{5, 16, "until 17", "a[10,15)=1@10 a[15,16)=3@15 a[16,17)=5@16 a[18,20)=4@18 a[20,now)=2@20"},
		{6, 17, "until 18", "a[10,15)=1@10 a[15,16)=3@15 a[16,17)=5@16 a[17,18)=6@17 a[18,20)=4@18 a[20,now)=2@20"},
		{-1, 16, "until 17", "a[10,15)=1@10 a[15,16)=3@15 a[17,18)=6@17 a[18,20)=4@18 a[20,now)=2@20"},
		{-1, 20, "until now", "a[10,15)=1@10 a[15,16)=3@15 a[17,18)=6@17 a[18,20)=4@18"},
		{7, 5, "until 10", "a[5,10)=7@5 a[10,15)=1@10 a[15,16)=3@15 a[17,18)=6@17 a[18,20)=4@18"},
		{8, 20, "until now", "a[5,10)=7@5 a[10,15)=1@10 a[15,16)=3@15 a[17,18)=6@17 a[18,20)=4@18 a[20,now)=8@20"},
	} {
		equal(t, fmt.Sprintf("put %d at %d", c.value, c.at), vs.put(t, "a", c.value, c.at), c.says)
		got := collect(t, vs.v.Versions("a", 0, math.MaxInt64, statestore.Ascending), version)
		equal(t, "versions", strings.Join(got, " "), c.versions)
	}
	vs.put(t, "b", 9, 1)
	equal(t, "of another key", strings.Join(collect(t, vs.v.Versions("b", 0, 1, statestore.Ascending), version), " "), "b[1,now)=9@1")
	equal(t, "range", strings.Join(collect(t, vs.v.Range("a", "a", statestore.Ascending), version), " "), "a[20,now)=8@20")
	equal(t, "prefix", strings.Join(collect(t, vs.v.Prefix([]byte("b"), statestore.Ascending), version), " "), "b[1,now)=9@1")
	r, ok, err := vs.v.Get("a")
	must(t, err)
	equal(t, "get", version(r)+strconv.FormatBool(ok), "a[20,now)=8@20true")
	must(t, vs.Flush())
	texts := []string{}
	for _, e := range vs.log.Entries {
		texts = append(texts, fmt.Sprintf("%s %t %d", e.Key, e.Value == nil, e.Timestamp))
	}
	equal(t, "changelog", strings.Join(texts[:4], ", "), "a false 10, a false 20, a false 15, a true 17")
	equal(t, "one record for each version that was put", len(texts), 12)
}

func versionedExpiry(t *testing.T, s Suite) {
	db := s.open(t)
	vs := openVersions(t, db, "v", 2*minute)
	for at := range int64(4) {
		vs.put(t, "a", at, at*minute)
	}
	vs.put(t, "b", 9, 0)
	commit(t, db, vs)
	equal(t, "put before the history", vs.put(t, "a", 1, minute-1), "refused")
	equal(t, "nothing changed", vs.Dirty(), false)
	equal(t, "put where it begins", vs.put(t, "a", 5, minute), "until 120000")
	equal(t, "as of its beginning", vs.asOf(t, "a", minute), "a[60000,120000)=5@60000")
	equal(t, "as of before", vs.asOf(t, "a", minute-1), "none")
	equal(t, "put to another key", vs.put(t, "b", 9, minute-1), "refused")
	vs.put(t, "b", 1, 2*minute)
	vs.put(t, "c", 1, 10*minute)
	equal(t, "as of before, the latest", vs.asOf(t, "b", 2*minute), "b[120000,now)=1@120000")
	vs.put(t, "c", -1, 11*minute)
	commit(t, db, vs)
	// What is left: the latest of a and b, and of c a version and the tombstone.
	equal(t, "rows after the jump", rowsIn(t, db), 4)
	vs.put(t, "b", 2, 30*minute)
	commit(t, db, vs)
	equal(t, "rows after another jump", rowsIn(t, db), 3)
	equal(t, "a version that ends now is history", vs.asOf(t, "b", 29*minute), "b[120000,1800000)=1@120000")
}

func versionedReopen(t *testing.T, s Suite) {
	db := s.open(t)
	vs := openVersions(t, db, "v", 2*minute)
	vs.put(t, "a", 5, 5*minute)
	commit(t, db, vs)
	vs.put(t, "a", 9, 9*minute)
	equal(t, "at 9 min", vs.put(t, "a", 6, 6*minute), "refused")
	vs.Discard()
	must(t, vs.Flush())
	equal(t, "what was discarded is not logged", len(vs.log.Entries), 1)
	equal(t, "back at 5 min", vs.put(t, "a", 3, 3*minute), "until 300000")
	equal(t, "and not before", vs.put(t, "a", 3, 3*minute-1), "refused")
	vs = openVersions(t, db, "v", 2*minute)
	equal(t, "opened at 5 min", vs.put(t, "a", 0, 3*minute-1), "refused")
	_, err := statestore.Open(db, statestore.Spec{Name: "v", Kind: statestore.KindVersioned, RetentionMs: 10 * minute, Timestamped: true}, nil)
	wantErr(t, "other segments", err, statestore.ErrChanged)
}
