package query_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/query"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

var (
	str = serde.String()
	i64 = serde.Int64()
)

var (
	_ query.App = (*streams.App)(nil)
	_ query.App = streams.Stale{}
)

const (
	up   = statestore.Ascending
	down = statestore.Descending
)

// driver runs one store of each kind over the same records.
func driver(t *testing.T) *streamstest.Driver {
	t.Helper()
	b := streams.NewBuilder()
	g := streams.GroupByKey(streams.From(b, "in", str, str))
	g.Count(streams.Store("counts"))
	g.WindowedBy(streams.Tumbling(10 * time.Millisecond).Grace(time.Hour)).Count(streams.Store("windows"))
	g.WindowedBySession(streams.Sessions(5 * time.Millisecond).Grace(time.Hour)).Count(streams.Store("sessions"))
	streams.TableFrom(b, "table", str, str, streams.Store("versions"), streams.Versioned(time.Hour))
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d, err := streamstest.New(topo)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"in a 1", "in b 2", "in a 12", "in ab 30", "table a 1", "table a 20", "table b 5"} {
		var topic, key string
		var at int64
		if _, err := fmt.Sscan(r, &topic, &key, &at); err != nil {
			t.Fatal(err)
		}
		if err := streamstest.Input(d, topic, str, str).Pipe(key, fmt.Sprint("v", at), at); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// rows is the text of what a query returns.
func rows[V any](t *testing.T, want string, got []query.Row[string, V], err error) {
	t.Helper()
	var words []string
	for _, r := range got {
		words = append(words, fmt.Sprintf("%s[%d,%d]=%v", r.Key, r.Start, min(r.End, 99), r.Value))
	}
	if text := strings.Join(words, " "); text != want || err != nil {
		t.Errorf("got %q, %v\nwant %q", text, err, want)
	}
}

func row[V any](t *testing.T, want string, got query.Row[string, V], ok bool, err error) {
	t.Helper()
	if !ok {
		rows[V](t, want, nil, err)
		return
	}
	rows(t, want, []query.Row[string, V]{got}, err)
}

func TestEveryKindOfStore(t *testing.T) {
	d := driver(t)
	counts := query.NewKeyValue(d, "counts", str, i64)
	one := func(want string) func(query.Row[string, int64], bool, error) {
		return func(r query.Row[string, int64], ok bool, err error) { t.Helper(); row(t, want, r, ok, err) }
	}
	many := func(want string) func([]query.Row[string, int64], error) {
		return func(r []query.Row[string, int64], err error) { t.Helper(); rows(t, want, r, err) }
	}
	one("a[0,0]=2")(counts.Get("a"))
	one("")(counts.Get("c"))
	many("a[0,0]=2 ab[0,0]=1")(counts.Range("a", "ab", up))
	many("ab[0,0]=1 a[0,0]=2")(counts.Prefix([]byte("a"), down))
	many("a[0,0]=2 ab[0,0]=1 b[0,0]=1")(counts.All(up))

	windows := query.NewWindow(d, "windows", str, i64)
	one("a[10,20]=1")(windows.Get("a", 10))
	one("")(windows.Get("a", 20))
	many("a[0,10]=1 a[10,20]=1")(windows.Fetch("a", 0, 20, up))
	many("a[0,10]=1 b[0,10]=1")(windows.FetchAll(0, 9, up))

	sessions := query.NewSession(d, "sessions", str, i64)
	one("a[1,1]=1")(sessions.Get("a", 1, 1))
	one("")(sessions.Get("a", 1, 2))
	many("a[12,12]=1 a[1,1]=1")(sessions.Fetch("a", 0, 99, down))
	many("a[1,1]=1 a[12,12]=1 ab[30,30]=1 b[2,2]=1")(sessions.All(up))

	versions := query.NewVersioned(d, "versions", str, str)
	v, ok, err := versions.Get("a")
	row(t, "a[20,99]=v20", v, ok, err)
	v, ok, err = versions.AsOf("a", 19)
	row(t, "a[1,20]=v1", v, ok, err)
	v, ok, err = versions.AsOf("a", 0)
	row(t, "", v, ok, err)
	all, err := versions.Versions("a", 0, 99, down)
	rows(t, "a[20,99]=v20 a[1,20]=v1", all, err)
	all, err = versions.All(up)
	rows(t, "a[20,99]=v20 b[5,99]=v5", all, err)
}

// partly is an app with a task that does not run yet.
type partly struct{ query.App }

var errRestores = errors.New("restores")

func (p partly) Query(store string, f func(processor.TaskID, processor.Stores) error) error {
	if err := p.App.Query(store, f); err != nil {
		return err
	}
	return errRestores
}

func TestWhatIsNotThereIsAnError(t *testing.T) {
	d := driver(t)
	_, _, err := query.NewKeyValue(d, "none", str, i64).Get("a")
	if !errors.Is(err, query.ErrNoStore) {
		t.Errorf("no store: %v", err)
	}
	if _, err = query.NewWindow(d, "counts", str, i64).FetchAll(0, 9, up); !errors.Is(err, statestore.ErrKind) {
		t.Errorf("another kind: %v", err)
	}
	if _, err = query.NewKeyValue(d, "counts", str, serde.Int32()).All(up); !errors.Is(err, serde.ErrLength) {
		t.Errorf("another type: %v", err)
	}
	counts := query.NewKeyValue(partly{d}, "counts", str, i64)
	if r, ok, err := counts.Get("a"); !ok || err != nil {
		t.Errorf("a row of a task that runs: %v %v %v", r, ok, err)
	}
	if _, ok, err := counts.Get("c"); ok || !errors.Is(err, errRestores) {
		t.Errorf("a row that may be in a task that restores: %v %v", ok, err)
	}
	if all, err := counts.All(up); all != nil || !errors.Is(err, errRestores) {
		t.Errorf("some of all rows: %v %v", all, err)
	}
}
