package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
)

// topicOf is a follower of one topic in memory; each call of Followed returns
// one record, and ends the context after the last.
type topicOf struct {
	Reader
	log   map[TP][]Message
	from  map[TP]int64
	first int64 // of every partition
	fails int   // how often Followed fails before it works
	done  context.CancelFunc
	began []map[TP]int64
}

func (f *topicOf) Starts(_ context.Context, tps []TP) (map[TP]int64, error) {
	at := map[TP]int64{}
	for _, tp := range tps {
		at[tp] = f.first
	}
	return at, nil
}

func (f *topicOf) Ends(_ context.Context, tps []TP) (map[TP]int64, error) {
	at := map[TP]int64{}
	for _, tp := range tps {
		at[tp] = int64(len(f.log[tp]))
	}
	return at, nil
}

func (f *topicOf) Follow(_ context.Context, from map[TP]int64) error {
	f.from = maps.Clone(from)
	f.began = append(f.began, from)
	return nil
}

func (f *topicOf) Followed(context.Context, time.Duration, int) ([]Fetched, error) {
	if f.fails > 0 {
		f.fails--
		return nil, fmt.Errorf("away: %w", ErrRetry)
	}
	for tp, at := range f.from {
		if at < int64(len(f.log[tp])) {
			f.from[tp]++
			return []Fetched{{TP: tp, Messages: f.log[tp][at : at+1], Next: at + 1, End: int64(len(f.log[tp]))}}, nil
		}
	}
	f.done()
	return nil, nil
}

func rowsOfGlobal(t *testing.T, tables *GlobalTables, keys ...string) map[string]string {
	t.Helper()
	rows, err := tables.Rows("rows")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, k := range keys {
		v, at, ok, err := rows.Get(nil, []byte(k))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			got[k] = fmt.Sprintf("%s@%d", v, at)
		}
	}
	return got
}

// TestGlobalTablesFollowTheirTopic: all of it is there before ready, a restart
// goes on where the last one stopped, a topic made anew starts over.
func TestGlobalTablesFollowTheirTopic(t *testing.T) {
	b := graph.NewBuilder()
	if err := b.AddGlobal("source", "table", graph.Global{Topic: "g", Store: "rows"}); err != nil {
		t.Fatal(err)
	}
	g := b.Build()
	db, err := statestore.Memory().Open("")
	if err != nil {
		t.Fatal(err)
	}
	p0, p1 := TP{"g", 0}, TP{"g", 1}
	row := func(k, v string, at int64) Message {
		m := Message{Topic: "g", Value: []byte(v), Timestamp: at}
		if k != "" {
			m.Key = []byte(k)
		}
		if v == "" {
			m.Value = nil
		}
		return m
	}
	setup := &Setup{Globals: []TP{p0, p1}, TopicIDs: map[string]string{"g": "one"}}
	f := &topicOf{fails: 1, log: map[TP][]Message{
		p0: {row("a", "1", 1), row("a", "2", 2), row("", "x", 3)},
		p1: {row("b", "1", 1), row("c", "1", 1), row("b", "", 4)},
	}}
	follow := func() (atReady map[string]string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		f.done = cancel
		tables := NewGlobalTables(g, db)
		ready := func() { atReady = rowsOfGlobal(t, tables, "a", "b", "c", "d") }
		if err := tables.Follow(ctx, f, setup, slog.New(slog.DiscardHandler), ready); err != nil {
			t.Fatal(err)
		}
		return atReady
	}
	if diff := cmp.Diff(map[string]string{"a": "2@2", "c": "1@1"}, follow()); diff != "" {
		t.Error(diff)
	}
	f.log[p1] = append(f.log[p1], row("d", "1", 5))
	f.began = nil
	if diff := cmp.Diff(map[string]string{"a": "2@2", "c": "1@1", "d": "1@5"}, follow()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]map[TP]int64{{p0: 3, p1: 3}}, f.began); diff != "" {
		t.Errorf("the second start read again: %s", diff)
	}
	setup.TopicIDs["g"] = "two"
	f.log = map[TP][]Message{p0: {row("a", "9", 9)}}
	if diff := cmp.Diff(map[string]string{"a": "9@9"}, follow()); diff != "" {
		t.Error(diff)
	}
}

func TestGlobalTablesThatFail(t *testing.T) {
	b := graph.NewBuilder()
	if err := b.AddGlobal("source", "table", graph.Global{Topic: "g", Store: "rows"}); err != nil {
		t.Fatal(err)
	}
	db, err := statestore.Memory().Open("")
	if err != nil {
		t.Fatal(err)
	}
	tables := NewGlobalTables(b.Build(), db)
	if _, err := tables.Rows("other"); err == nil {
		t.Error("a table that does not exist was opened")
	}
	if _, err := (*GlobalTables)(nil).Rows("rows"); err == nil {
		t.Error("a table of a topology without any was opened")
	}
	var batch statestore.Batch
	batch.Put([]byte("rows\x00k"), []byte("short"))
	if err := db.Apply(&batch, nil); err != nil {
		t.Fatal(err)
	}
	rows, err := tables.Rows("rows")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := rows.Get(nil, []byte("k")); !errors.Is(err, statestore.ErrCorrupt) {
		t.Errorf("error %v, want %v", err, statestore.ErrCorrupt)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f := &topicOf{done: func() {}}
	setup := &Setup{Globals: []TP{{"g", 0}}, TopicIDs: map[string]string{}}
	if err := tables.Follow(t.Context(), f, setup, slog.New(slog.DiscardHandler), func() {}); !errors.Is(err, statestore.ErrClosed) {
		t.Errorf("error %v, want %v", err, statestore.ErrClosed)
	}
}
