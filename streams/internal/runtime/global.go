package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// GlobalTables keeps the rows of all global tables of an app in one database:
// store name, a zero byte, the key as in the topic; the value is the time in
// eight bytes, then that of the topic. One goroutine changes them, any reads.
// The topics are their changelogs, so a database only spares reading them again.
type GlobalTables struct {
	db     statestore.DB
	stores map[string]string // by topic
	names  map[string]bool   // of the stores
	batch  statestore.Batch
}

// NewGlobalTables returns the global tables of a topology. The database stays
// the caller's.
func NewGlobalTables(g *graph.Topology, db statestore.DB) *GlobalTables {
	t := &GlobalTables{db: db, stores: map[string]string{}, names: map[string]bool{}}
	for _, table := range g.Globals() {
		t.stores[table.Topic] = table.Store
		t.names[table.Store] = true
	}
	return t
}

// Rows returns the rows of a table, for one goroutine. It may be called from
// any, on nil too.
func (t *GlobalTables) Rows(store string) (processor.GlobalRows, error) {
	if t == nil || !t.names[store] {
		return nil, fmt.Errorf("no global table has the store %s", store)
	}
	return &globalRows{db: t.db, prefix: len(store) + 1, key: rowPrefix(store)}, nil
}

func rowPrefix(store string) []byte { return append([]byte(store), 0) }

// Apply puts records of one partition into their table. A record without a key
// is left out. next is the offset after them, to go on from.
func (t *GlobalTables) Apply(records []Message, position string, next int64) error {
	t.batch.Reset()
	var value []byte
	for i := range records {
		m := &records[i]
		if m.Key == nil {
			continue
		}
		key := append(rowPrefix(t.stores[m.Topic]), m.Key...)
		if m.Value == nil {
			t.batch.Delete(key)
			continue
		}
		value = append(binary.BigEndian.AppendUint64(value[:0], uint64(m.Timestamp)), m.Value...)
		t.batch.Put(key, value)
	}
	return t.db.Apply(&t.batch, map[string]int64{position: next})
}

// globalRows implements processor.GlobalRows.
type globalRows struct {
	db     statestore.DB
	prefix int
	key    []byte
	row    []byte
}

// Get implements processor.GlobalRows.
func (r *globalRows) Get(dst, key []byte) (value []byte, at int64, ok bool, err error) {
	r.key = append(r.key[:r.prefix], key...)
	r.row, ok, err = r.db.Get(r.row[:0], r.key)
	if err != nil || !ok {
		return dst, 0, false, err
	}
	if len(r.row) < 8 {
		return dst, 0, false, fmt.Errorf("row of a global table: %w", statestore.ErrCorrupt)
	}
	return append(dst, r.row[8:]...), int64(binary.BigEndian.Uint64(r.row)), true, nil
}

// Follower reads partitions outside of any group.
type Follower interface {
	Reader
	// Follow starts to read partitions from the given offsets, and no others.
	Follow(ctx context.Context, from map[TP]int64) error
	// Followed returns records of those partitions, after at most wait.
	Followed(ctx context.Context, wait time.Duration, limit int) ([]Fetched, error)
}

// Follow reads the topics of the tables until ctx ends. Once it came to where
// they ended when it began, it calls ready.
func (t *GlobalTables) Follow(ctx context.Context, kafka Follower, setup *Setup, log *slog.Logger, ready func()) error {
	for failures := 0; ; failures++ {
		err := t.follow(ctx, kafka, setup, ready)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if !errors.Is(err, ErrRetry) {
			return fmt.Errorf("global tables: %w", err)
		}
		log.Warn("reading of global tables starts again", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(backoff(failures)):
		}
	}
}

func (t *GlobalTables) follow(ctx context.Context, kafka Follower, setup *Setup, ready func()) error {
	next, ends, err := t.begin(ctx, kafka, setup)
	if err != nil {
		return err
	}
	if err := kafka.Follow(ctx, next); err != nil {
		return err
	}
	behind := len(ends)
	for tp, end := range ends {
		if next[tp] >= end {
			behind--
			delete(ends, tp)
		}
	}
	for told := false; ctx.Err() == nil; {
		if behind == 0 && !told {
			told = true
			ready()
		}
		fetched, err := kafka.Followed(ctx, pollWait, globalRecords)
		if err != nil {
			return err
		}
		for i := range fetched {
			f := &fetched[i]
			if err := t.Apply(f.Messages, setup.position(f.TP), f.Next); err != nil {
				return err
			}
			if end, ok := ends[f.TP]; ok && f.Next >= end {
				behind--
				delete(ends, f.TP)
			}
		}
	}
	return nil
}

// globalRecords bounds what one step reads.
const globalRecords = 8192

// begin returns where the reading of each partition goes on, and where the
// partitions end. Rows of a topic that was made anew, or was cut since, go.
func (t *GlobalTables) begin(ctx context.Context, kafka Follower, setup *Setup) (next, ends map[TP]int64, err error) {
	starts, err := kafka.Starts(ctx, setup.Globals)
	if err != nil {
		return nil, nil, fmt.Errorf("read starts: %w", err)
	}
	if ends, err = kafka.Ends(ctx, setup.Globals); err != nil {
		return nil, nil, fmt.Errorf("read ends: %w", err)
	}
	positions, err := t.db.Position()
	if err != nil {
		return nil, nil, err
	}
	stale := map[string]bool{}
	for _, tp := range setup.Globals {
		at, known := positions[setup.position(tp)]
		stale[tp.Topic] = stale[tp.Topic] || !known || at < starts[tp] || at > ends[tp]
	}
	next = map[TP]int64{}
	for _, tp := range setup.Globals {
		next[tp] = positions[setup.position(tp)]
		if stale[tp.Topic] {
			next[tp] = starts[tp]
		}
	}
	return next, ends, t.wipe(stale)
}

// wipe deletes the rows of the tables of topics.
func (t *GlobalTables) wipe(topics map[string]bool) error {
	t.batch.Reset()
	for topic, stale := range topics {
		if stale {
			from := rowPrefix(t.stores[topic])
			to := append([]byte(t.stores[topic]), 1)
			t.batch.DeleteRange(from, to)
		}
	}
	return t.db.Apply(&t.batch, nil)
}

// position is the name of a partition of a global table in the database.
func (s *Setup) position(tp TP) string {
	return strings.Join([]string{tp.Topic, strconv.Itoa(int(tp.Partition)), s.TopicIDs[tp.Topic]}, "/")
}
