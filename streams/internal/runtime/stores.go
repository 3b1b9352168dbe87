package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
)

// storeState is one store of a task.
type storeState struct {
	desc     graph.Store
	store    statestore.Store
	topic    string // its changelog
	key      string // of its position in the database
	position int64  // offset of the next changelog record to restore; -1 for none
}

// Changelog is one changelog that a task restores a store from.
type Changelog struct {
	Store string
	TP
	Position int64 // offset of the first record that the store lacks; -1 for all
	Expires  bool  // old records leave store and changelog
}

func (t *Task) openStores() error {
	positions, err := t.positions()
	if err != nil {
		return err
	}
	for _, desc := range flushOrder(t.sub) {
		s := &storeState{desc: desc, topic: graph.ChangelogTopic(t.o.ApplicationID, desc.Name), position: -1}
		s.key = positionKey(s.topic, t.o.TopicIDs)
		db := t.o.Memory
		if desc.Persistent {
			db = t.o.Disk
		}
		if db == nil {
			return fmt.Errorf("no database for store %s", desc.Name)
		}
		if err := s.find(positions); err != nil {
			return err
		}
		var log statestore.Changelog
		if desc.Logged {
			log = changelog{t, s}
		}
		if s.store, err = statestore.Open(watchedDB{db, t}, spec(&desc), log); err != nil {
			return fmt.Errorf("open store %s: %w", desc.Name, err)
		}
		t.stores = append(t.stores, s)
	}
	return nil
}

// spec says what a store of the topology is to the state store.
func spec(desc *graph.Store) statestore.Spec {
	kind := statestore.KindKeyValue
	switch desc.Kind {
	case graph.Window:
		kind = statestore.KindWindow
	case graph.Session:
		kind = statestore.KindSession
	case graph.Versioned:
		kind = statestore.KindVersioned
	case graph.KeyValue:
	}
	return statestore.Spec{
		Name: desc.Name, Kind: kind, RetentionMs: desc.RetentionMs, WindowSizeMs: desc.WindowSizeMs,
		RetainDuplicates: desc.RetainDuplicates, Timestamped: desc.Timestamped,
		Logged: desc.Logged, Cached: desc.Cached, Held: desc.Held, SegmentMs: desc.SegmentMs,
	}
}

func (t *Task) positions() (map[string]int64, error) {
	all := map[string]int64{}
	for _, db := range []statestore.DB{t.o.Disk, t.o.Memory} { // a changelog is in one of them
		if db == nil {
			continue
		}
		positions, err := db.Position()
		if err != nil {
			return nil, fmt.Errorf("read changelog positions: %w", err)
		}
		maps.Copy(all, positions)
	}
	return all, nil
}

// Held returns what the positions in the changelogs add up to: of all stores, or of
// those that outlive the task.
func (t *Task) Held(lasting bool) (sum int64) {
	for _, s := range t.stores {
		if s.desc.Logged && (s.desc.Persistent || !lasting) {
			sum += max(0, s.position)
		}
	}
	return sum
}

// find sets the position of a store. A position of another topic of
// the same name means that the store holds what that one held.
func (s *storeState) find(positions map[string]int64) error {
	if !s.desc.Logged {
		return nil
	}
	if p, ok := positions[s.key]; ok {
		s.position = p
		return nil
	}
	for key := range positions {
		if topic, _, _ := strings.Cut(key, "@"); topic == s.topic {
			return fmt.Errorf("%w: %s was made anew", ErrStale, s.topic)
		}
	}
	return nil
}

// Changelogs returns the changelogs of the logged stores and where to go on
// with them.
func (t *Task) Changelogs() []Changelog {
	var logs []Changelog
	for _, s := range t.stores {
		if s.desc.Logged {
			logs = append(logs, Changelog{
				Store: s.desc.Name, TP: TP{s.topic, t.id.Partition}, Position: s.position, Expires: s.desc.Kind == graph.Window || s.desc.Kind == graph.Session,
			})
		}
	}
	return logs
}

// Restore puts records of a changelog into its store. next is the offset after
// them, markers included. [Task.Restored] moves what came so far into the
// database, now and then so that a crash does not start it all over, and at the end.
func (t *Task) Restore(topic string, records []Message, next int64) error {
	i := slices.IndexFunc(t.stores, func(s *storeState) bool { return s.topic == topic && s.desc.Logged })
	if i < 0 {
		return fmt.Errorf("task %s has no changelog %s", t.id, topic)
	}
	s := t.stores[i]
	for j := range records {
		r := &records[j]
		if r.Offset < s.position {
			continue
		}
		if err := s.store.Restore(r.Key, r.Value, r.Timestamp); err != nil {
			return fmt.Errorf("task %s: restore %s from offset %d of %s: %w", t.id, s.desc.Name, r.Offset, topic, err)
		}
	}
	s.position = max(s.position, next)
	return nil
}

// Restored applies what was restored since the last time.
func (t *Task) Restored() error { return t.apply(statestore.DB.Load) }

func (t *Task) closeStores() error {
	var errs []error
	for _, s := range t.stores {
		s.store.Discard()
		errs = append(errs, s.store.Close())
	}
	t.stores = nil
	return errors.Join(errs...)
}

// flushOrder returns the stores of a sub-topology so that a store comes after
// those whose flush can write to it: by the depth of the first node that uses
// it, then by name.
func flushOrder(sub *graph.Subtopology) []graph.Store {
	depth := map[string]int{}
	nodes := map[string]*graph.Node{}
	for i := range sub.Nodes {
		nodes[sub.Nodes[i].Name] = &sub.Nodes[i]
	}
	var of func(name string) int
	of = func(name string) int {
		if d, ok := depth[name]; ok {
			return d
		}
		d := 0
		for _, p := range nodes[name].Parents {
			d = max(d, of(p)+1)
		}
		depth[name] = d
		return d
	}
	first := map[string]int{}
	for name, n := range nodes {
		for _, s := range n.Stores {
			if d, ok := first[s]; !ok || of(name) < d {
				first[s] = of(name)
			}
		}
	}
	return slices.SortedFunc(slices.Values(sub.Stores), func(a, b graph.Store) int {
		return cmp.Or(cmp.Compare(first[a.Name], first[b.Name]), strings.Compare(a.Name, b.Name))
	})
}

// changelog sends the changes of one store.
type changelog struct {
	t *Task
	s *storeState
}

// Log implements statestore.Changelog.
func (c changelog) Log(_ string, key, value []byte, timestamp int64) error {
	if timestamp < 0 {
		if timestamp = c.t.time; timestamp < 0 {
			timestamp = c.t.Now().UnixMilli()
		}
	}
	err := c.t.collect(&Outgoing{
		Topic: c.s.topic, Partition: c.t.id.Partition, Key: key, Value: value, Timestamp: timestamp,
	})
	if err != nil {
		return c.t.fail(fmt.Errorf("send to %s: %w", c.s.topic, err)) // a store without its changelog is nobody's to decide about
	}
	return nil
}

// watchedDB tells the task of errors, which no error handler may wave through.
type watchedDB struct {
	statestore.DB
	t *Task
}

// Get implements statestore.Reader.
func (w watchedDB) Get(dst, key []byte) (value []byte, ok bool, err error) {
	value, ok, err = w.DB.Get(dst, key)
	return value, ok, w.t.fail(err)
}

// Range implements statestore.Reader.
func (w watchedDB) Range(from, to []byte, order statestore.Order) iter.Seq2[statestore.Pair, error] {
	return func(yield func(statestore.Pair, error) bool) {
		for p, err := range w.DB.Range(from, to, order) {
			if !yield(p, w.t.fail(err)) {
				return
			}
		}
	}
}
