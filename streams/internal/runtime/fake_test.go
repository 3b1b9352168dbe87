package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// program counts the messages of "in" and "in2" by key in the store "counts"
// and sends each change to "out" when the store is flushed. What a message of a
// certain value does is up to hook.
type program struct {
	graph *graph.Topology
	hook  func(h processor.Host, m *Message) error
	init  func(h processor.Host) error
}

func newProgram(t *testing.T) *program {
	t.Helper()
	b := graph.NewBuilder()
	must(t, b.AddSource("source", "in", "in2"))
	must(t, b.AddProcessor("count", "source"))
	must(t, b.AddStore(graph.Store{Name: "counts", Timestamped: true, Logged: true, Cached: true, Persistent: true}))
	must(t, b.Connect("count", "counts"))
	must(t, b.AddSink("sink", "out", "count"))
	return &program{graph: b.Build()}
}

func (p *program) Graph() *graph.Topology { return p.graph }

func (p *program) NewTask(_ int, h processor.Host) (processor.Task, error) {
	if p.init != nil {
		if err := p.init(h); err != nil {
			return nil, err
		}
	}
	raw, err := h.Store("counts")
	if err != nil {
		return nil, err
	}
	kv, err := statestore.AsKeyValue(raw, text{}, number{})
	if err != nil {
		return nil, err
	}
	err = kv.OnFlush(func(c statestore.Change[string, int64]) error {
		return h.Send(Outgoing{
			Topic: "out", Partition: AnyPartition, Key: []byte(c.Key), Value: fmt.Append(nil, c.New), Timestamp: c.Timestamp,
		})
	})
	return &counter{p, h, kv}, err
}

type counter struct {
	p  *program
	h  processor.Host
	kv statestore.KeyValue[string, int64]
}

func (c *counter) Timestamp(m *Message, _ int64) (int64, error) {
	if m.Timestamp < 0 {
		return 0, &processor.Error{Operator: "source", Stage: processor.Deserialize, Err: errors.New("negative time")}
	}
	return m.Timestamp, nil
}

func (c *counter) Process(m *Message) error {
	if c.p.hook != nil {
		if err := c.p.hook(c.h, m); err != nil {
			return &processor.Error{Operator: "count", Stage: processor.Process, Err: err}
		}
	}
	n, _, err := c.kv.Get(string(m.Key))
	if err != nil {
		return err
	}
	return c.kv.PutAt(string(m.Key), n+1, m.Timestamp)
}

func (c *counter) Close() error { return nil }

type text struct{}

func (text) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (text) Decode(b []byte) (string, error)             { return string(b), nil }

type number struct{}

func (number) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (number) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, errors.New("not eight bytes")
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cluster is a Kafka in memory: topics of records, one group.
type cluster struct {
	mu        sync.Mutex
	topics    map[TP][]Message
	committed map[TP]Offset
	starts    map[TP]int64
	deleted   map[TP]int64
}

func newCluster() *cluster {
	return &cluster{topics: map[TP][]Message{}, committed: map[TP]Offset{}, starts: map[TP]int64{}, deleted: map[TP]int64{}}
}

func (c *cluster) add(tp TP, key, value string, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topics[tp] = append(c.topics[tp], Message{
		Topic: tp.Topic, Partition: tp.Partition, Offset: int64(len(c.topics[tp])),
		Key: []byte(key), Value: []byte(value), Timestamp: at,
	})
}

// last returns the last value of every key of "out".
func (c *cluster) last() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]string{}
	for tp, records := range c.topics {
		if tp.Topic == "out" {
			for _, r := range records {
				found[string(r.Key)] = string(r.Value)
			}
		}
	}
	return found
}

func (c *cluster) Committed(_ context.Context, tps []TP) (map[TP]Offset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[TP]Offset{}
	for _, tp := range tps {
		o, ok := c.committed[tp]
		if !ok {
			o = Offset{TP: tp, Offset: -1}
		}
		found[tp] = o
	}
	return found, nil
}

func (c *cluster) Starts(_ context.Context, tps []TP) (map[TP]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[TP]int64{}
	for _, tp := range tps {
		found[tp] = c.starts[tp]
	}
	return found, nil
}

func (c *cluster) Ends(_ context.Context, tps []TP) (map[TP]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[TP]int64{}
	for _, tp := range tps {
		found[tp] = int64(len(c.topics[tp]))
	}
	return found, nil
}

// fakeLog is a Log on a cluster. Failures are set by the test.
type fakeLog struct {
	*cluster
	r          Rebalancer
	wake       chan func() // a rebalance to run during the next poll
	mine       map[TP]int64
	paused     map[TP]bool
	restoring  map[TP]int64
	sent       []Message
	acks       map[TP]int64
	sendErr    error
	commitErr  error
	aborts     int
	left       bool
	rejoins    int
	restoreErr error
	stuck      bool // nothing of changelogs arrives
	killed     chan struct{}
	reads      []string // it reads
}

func newFakeLog(c *cluster, r Rebalancer) *fakeLog {
	return &fakeLog{
		cluster: c, r: r, wake: make(chan func()), mine: map[TP]int64{}, paused: map[TP]bool{},
		restoring: map[TP]int64{}, acks: map[TP]int64{}, killed: make(chan struct{}),
	}
}

func (l *fakeLog) assign(ctx context.Context, tps ...TP) {
	l.wake <- func() {
		committed, _ := l.Committed(ctx, tps)
		for _, tp := range tps {
			l.mine[tp] = max(0, committed[tp].Offset)
		}
		l.r.Assigned(ctx, tps)
	}
}

func (l *fakeLog) revoke(ctx context.Context, lost bool, tps ...TP) {
	l.wake <- func() {
		if lost {
			l.r.Lost(ctx, tps)
		} else {
			l.r.Revoked(ctx, tps)
		}
		for _, tp := range tps {
			delete(l.mine, tp)
			delete(l.paused, tp)
		}
	}
}

func (l *fakeLog) Send(o *Outgoing) error {
	if l.sendErr != nil {
		return l.sendErr
	}
	l.sent = append(l.sent, Message{
		Topic: o.Topic, Partition: max(0, o.Partition), Key: slices.Clone(o.Key), Value: slices.Clone(o.Value), Timestamp: o.Timestamp,
	})
	return nil
}

func (l *fakeLog) Poll(ctx context.Context, wait time.Duration, limit int) ([]Fetched, error) {
	got := l.read(l.mine, l.paused, limit)
	if len(got) == 0 && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case f := <-l.wake:
			f()
		case <-ctx.Done():
		case <-timer.C:
		}
		return nil, nil
	}
	select {
	case f := <-l.wake:
		f()
		return nil, nil
	default:
	}
	return got, nil
}

func (l *fakeLog) read(from map[TP]int64, paused map[TP]bool, limit int) []Fetched {
	l.mu.Lock()
	defer l.mu.Unlock()
	var got []Fetched
	for tp, at := range from {
		records := l.topics[tp]
		if paused[tp] || at >= int64(len(records)) {
			continue
		}
		to := min(int64(len(records)), at+int64(limit))
		got = append(got, Fetched{TP: tp, Messages: slices.Clone(records[at:to]), Next: to, End: int64(len(records))})
		from[tp] = to
	}
	return got
}

func (l *fakeLog) Pause(tps []TP) {
	for _, tp := range tps {
		l.paused[tp] = true
	}
}

func (l *fakeLog) Resume(tps []TP) {
	for _, tp := range tps {
		delete(l.paused, tp)
	}
}

func (l *fakeLog) Seek(to map[TP]int64) { maps.Copy(l.mine, to) }

func (l *fakeLog) Begin(context.Context) error { return nil }

func (l *fakeLog) Commit(_ context.Context, offsets []Offset) error {
	for _, m := range l.sent {
		tp := TP{m.Topic, m.Partition}
		l.add(tp, string(m.Key), string(m.Value), m.Timestamp)
		l.acks[tp] = int64(len(l.topics[tp]) - 1)
	}
	l.sent = nil
	if err := l.commitErr; err != nil {
		l.commitErr = nil
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range offsets {
		l.committed[o.TP] = o
	}
	return nil
}

func (l *fakeLog) Abort(context.Context) error {
	l.sent, l.sendErr = nil, nil
	clear(l.acks)
	l.aborts++
	return nil
}

func (l *fakeLog) Acked(tp TP) (int64, bool) {
	last, ok := l.acks[tp]
	delete(l.acks, tp)
	return last, ok
}

func (l *fakeLog) Restore(from map[TP]int64) error {
	maps.Copy(l.restoring, from)
	return nil
}

func (l *fakeLog) Restored(_ context.Context, wait time.Duration, limit int) ([]Fetched, error) {
	if err := l.restoreErr; err != nil {
		l.restoreErr = nil
		return nil, err
	}
	if l.stuck {
		<-time.After(wait)
		return nil, nil
	}
	return l.read(l.restoring, nil, limit), nil
}

func (l *fakeLog) EndRestore(tps []TP) {
	for _, tp := range tps {
		delete(l.restoring, tp)
	}
}

func (l *fakeLog) Close(_ context.Context, leave bool) error {
	l.left = leave
	return nil
}

func (l *fakeLog) Subscribe(topics []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = topics
}

func (l *fakeLog) Rejoin() { l.rejoins++ }

func (l *fakeLog) Kill() { close(l.killed) }

// databases keeps databases of tasks open behind the backs of those who close
// them, as a disk would.
type databases struct {
	mu    sync.Mutex
	dbs   map[TaskID]statestore.DB
	inUse int // times that the next opens find them in use
	wiped int
}

type stayingDB struct{ statestore.DB }

func (stayingDB) Close() error { return nil }

func (d *databases) Open(id TaskID) (statestore.DB, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inUse > 0 {
		d.inUse--
		return nil, statestore.ErrInUse
	}
	if d.dbs == nil {
		d.dbs = map[TaskID]statestore.DB{}
	}
	if d.dbs[id] == nil {
		db, err := statestore.Memory().Open("")
		if err != nil {
			return nil, err
		}
		d.dbs[id] = db
	}
	return stayingDB{d.dbs[id]}, nil
}

func (d *databases) Wipe(id TaskID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.dbs, id)
	d.wiped++
	return nil
}
