// Package streamstest pushes records through a topology by hand, without broker,
// clock or goroutine.
//
// A [Driver] runs one task for each sub-topology, on one partition. Each record
// that is piped in is processed whole before Pipe returns: repartition topics
// loop back inside, caches are flushed and everything is committed after every
// record, so that a test sees each step. Stream time moves with the records, the
// wall clock only with [Driver.AdvanceWallClock].
package streamstest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/runtime"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Driver runs a topology. It is used from one goroutine. After an error from
// piping or from moving the clock it is broken: every call that follows returns
// that error.
type Driver struct {
	app        string
	now        time.Time
	partitions int32 // of user topics that are written
	topology   *streams.Topology
	onError    runtime.ErrorHandler
	parts      []*part
	readers    map[string]*part               // by topic, under the name that messages carry
	private    map[string][]processor.Message // internal topics: all that went there
	global     *runtime.GlobalTables          // nil if there are none
	globals    map[string]bool                // topics of global tables
	rows       statestore.DB                  // of the global tables
	offsets    map[string]int64               // of the next record of each source topic
	loop       []processor.Message            // records on their way to a source
	sent       []processor.Message            // records in user topics that were not drained
	dropped    map[string]int
	err        error
}

// part is one sub-topology: its task and where the stores live.
type part struct {
	sub  *graph.Subtopology
	task *runtime.Task
	db   statestore.DB

	trials  runtime.Trials
	offsets []runtime.Offset    // of the last commit
	waiting []processor.Message // enqueued since
}

// Option configures a driver.
type Option func(*Driver)

// ApplicationID sets the prefix of internal topics; it is "test" without.
func ApplicationID(id string) Option { return func(d *Driver) { d.app = id } }

// StartAt sets the wall clock, which starts at the epoch without.
func StartAt(t time.Time) Option { return func(d *Driver) { d.now = t } }

// OutputPartitions sets how many partitions the topics that the topology writes
// have for those who choose one; one without. Drain tells what was chosen, and
// partition 0 where nobody chooses.
func OutputPartitions(n int32) Option { return func(d *Driver) { d.partitions = n } }

// SkipErrors shows the errors of operators and serdes to seen, drops their
// records and goes on.
func SkipErrors(seen func(*processor.Error)) Option {
	return OnError(func(e streams.ErrorEvent) streams.Decision {
		seen(e.Err)
		return streams.Continue
	})
}

// OnError sets the error handler, as in streams.Config. A record that is to be
// tried again waits for the wall clock: 100 ms after its first failure, twice as
// long after each other one, ten times at most. Dead letters are read with
// [Driver.DeadLetters].
func OnError(h streams.ErrorHandler) Option { return func(d *Driver) { d.onError = h } }

// New starts a task for each sub-topology.
func New(t *streams.Topology, opts ...Option) (*Driver, error) {
	d := &Driver{
		app: "test", now: time.UnixMilli(0).UTC(), partitions: 1, topology: t,
		readers: map[string]*part{}, private: map[string][]processor.Message{},
		offsets: map[string]int64{}, dropped: map[string]int{},
	}
	for _, f := range opts {
		f(d)
	}
	g := t.Graph()
	var err error
	if d.rows, err = statestore.Memory().Open(""); err != nil {
		return nil, err
	}
	d.global, d.globals = runtime.NewGlobalTables(g, d.rows), map[string]bool{}
	for _, table := range g.Globals() {
		d.globals[table.Topic] = true
	}
	for i := range g.Subtopologies {
		sub := &g.Subtopologies[i]
		if sub.Global != nil {
			continue
		}
		p := &part{sub: sub, trials: runtime.Trials{}}
		d.parts = append(d.parts, p)
		for _, topic := range sub.SourceTopics(d.app) {
			d.readers[topic] = p
		}
		for j := range sub.Repartitions {
			d.private[graph.RepartitionTopic(d.app, sub.Repartitions[j].Name)] = nil
		}
		for j := range sub.Stores {
			d.private[graph.ChangelogTopic(d.app, sub.Stores[j].Name)] = nil
		}
	}
	for _, p := range d.parts {
		var err error
		if p.db, err = statestore.Memory().Open(""); err == nil {
			err = d.start(p)
		}
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// start makes the task of a part and lets it go on after the last commit.
func (d *Driver) start(p *part) error {
	var err error
	p.task, err = runtime.NewTask(d.topology, processor.TaskID{Subtopology: p.sub.ID}, runtime.TaskOptions{
		ApplicationID: d.app,
		Disk:          p.db,
		Memory:        p.db,
		Globals:       d.global,
		Collector:     collector{d},
		Now:           func() time.Time { return d.now },
		ErrorPolicy:   runtime.ErrorPolicy{OnError: d.onError, Retries: 10, Backoff: 100 * time.Millisecond, DeadLetters: d.letters()},
		Trials:        p.trials,
		OnDrop:        func(_ runtime.TaskID, reason string) { d.dropped[reason]++ },
	})
	if err != nil {
		return err
	}
	for _, o := range p.offsets {
		p.task.Resume(o, true)
	}
	return p.task.Start()
}

// letters is the dead-letter topic.
func (d *Driver) letters() string { return "dlq." + d.app }

// Close closes the tasks and their stores.
func (d *Driver) Close() error {
	var errs []error
	for _, p := range d.parts {
		if p.task != nil {
			errs = append(errs, p.task.Close())
		}
		if p.db != nil {
			errs = append(errs, p.db.Close())
		}
	}
	d.parts = nil
	if d.rows != nil {
		errs = append(errs, d.rows.Close())
		d.rows = nil
	}
	return errors.Join(errs...)
}

// PipeMessage pushes one record in bytes into its topic and processes all that
// follows from it. Its partition and offset are the driver's to choose.
func (d *Driver) PipeMessage(m processor.Message) error {
	if d.globals[m.Topic] {
		d.err = errors.Join(d.err, d.update(m))
		return d.err
	}
	p, err := d.reader(m.Topic)
	if err != nil {
		return err
	}
	if p == nil {
		return fmt.Errorf("no source reads topic %s", m.Topic)
	}
	d.loop = append(d.loop, m)
	return d.settle()
}

// reader returns the part that reads a topic, by name or because a pattern matches
// it; nil for none.
func (d *Driver) reader(topic string) (*part, error) {
	if d.readers[topic] != nil || topic == d.letters() {
		return d.readers[topic], nil
	}
	g, err := d.topology.Graph().Bind(d.app, []string{topic})
	if err != nil {
		return nil, err
	}
	for _, p := range d.parts {
		if slices.Contains(g.Subtopologies[p.sub.ID].Sources, topic) {
			d.readers[topic] = p
		}
	}
	return d.readers[topic], nil
}

// update puts a record into its global table.
func (d *Driver) update(m processor.Message) error {
	d.offsets[m.Topic]++
	return d.global.Apply([]processor.Message{m}, m.Topic, d.offsets[m.Topic])
}

// AdvanceWallClock moves the wall clock and fires what was scheduled on it: once
// for each schedule that came due, however many of its intervals passed.
func (d *Driver) AdvanceWallClock(by time.Duration) error {
	d.now = d.now.Add(by)
	for _, p := range d.parts {
		d.run(p, p.task.Punctuate)
	}
	return d.settle()
}

// Drain returns what went to user topics since the last call, in order. The
// bytes are the caller's.
func (d *Driver) Drain() []processor.Message {
	out := d.sent
	d.sent = nil
	return out
}

// Internal returns all that went to an internal topic, a changelog or a
// repartition topic, under its full name. The bytes are not to be changed.
func (d *Driver) Internal(topic string) []processor.Message { return d.private[topic] }

// Dropped returns how many records operators have dropped, and how often for
// each reason.
func (d *Driver) Dropped() (total int, reasons map[string]int) {
	for _, n := range d.dropped {
		total += n
	}
	return total, maps.Clone(d.dropped)
}

// settle processes what loops back inside until nothing is left.
func (d *Driver) settle() error {
	for d.err == nil && len(d.loop) > 0 {
		m := d.loop[0]
		d.loop = d.loop[1:]
		m.Partition, m.Offset = 0, d.offsets[m.Topic]
		d.offsets[m.Topic]++
		p := d.readers[m.Topic]
		p.waiting = append(p.waiting, m)
		d.run(p, func() error { return p.task.Enqueue(&m) })
	}
	return d.err
}

// run lets the task of a part do something, and processes and commits what it has,
// record by record, until nothing is left to do now. What has to be tried again after it had effects
// takes the part back to its last commit.
func (d *Driver) run(p *part, first func() error) {
	if d.err != nil {
		return
	}
	committed := d.mark()
	err := first()
	for more := true; more && err == nil; {
		if more, err = p.task.ProcessNext(); err == nil {
			err = d.commit(p)
		}
		if err == nil {
			committed = d.mark()
		}
	}
	if !errors.Is(err, runtime.ErrRetry) {
		d.err = err
		return
	}
	d.undo(committed)
	if d.err = p.task.Close(); d.err == nil {
		d.err = d.start(p)
	}
	for i := 0; i < len(p.waiting) && d.err == nil; i++ {
		m := p.waiting[i]
		d.err = p.task.Enqueue(&m)
	}
}

// mark is how much was sent at a commit.
type mark struct {
	sent, loop int
	private    map[string]int
}

func (d *Driver) mark() mark {
	m := mark{sent: len(d.sent), loop: len(d.loop), private: make(map[string]int, len(d.private))}
	for topic, sent := range d.private {
		m.private[topic] = len(sent)
	}
	return m
}

// undo forgets what was sent since.
func (d *Driver) undo(m mark) {
	d.sent, d.loop = d.sent[:m.sent], d.loop[:m.loop]
	for topic, n := range m.private {
		d.private[topic] = d.private[topic][:n]
	}
}

// commit does what a worker does at a commit.
func (d *Driver) commit(p *part) error {
	if err := p.task.Flush(); err != nil {
		return err
	}
	acked := map[string]int64{}
	for i := range p.sub.Stores {
		topic := graph.ChangelogTopic(d.app, p.sub.Stores[i].Name)
		if n := len(d.private[topic]); n > 0 {
			acked[topic] = int64(n - 1)
		}
	}
	for _, o := range p.task.Offsets() {
		p.offsets = slices.DeleteFunc(p.offsets, func(old runtime.Offset) bool { return old.TP == o.TP })
		p.offsets = append(p.offsets, o)
		p.waiting = slices.DeleteFunc(p.waiting, func(m processor.Message) bool { return m.Topic == o.Topic && m.Offset < o.Offset })
	}
	return p.task.Applied(acked)
}

// collector is the driver as its tasks see it.
type collector struct{ *Driver }

// Send takes a record that leaves a task; it goes to whoever reads its topic.
func (d collector) Send(o *processor.Outgoing) error {
	m := processor.Message{
		Topic: o.Topic, Key: slices.Clone(o.Key), Value: slices.Clone(o.Value),
		Timestamp: o.Timestamp, Headers: slices.Clone(o.Headers), Partition: max(0, o.Partition),
	}
	if _, private := d.private[m.Topic]; private {
		m.Offset = int64(len(d.private[m.Topic]))
		d.private[m.Topic] = append(d.private[m.Topic], m)
	} else {
		if o.Choose != nil {
			m.Partition = o.Choose(d.partitions)
		}
		d.sent = append(d.sent, m)
	}
	if d.globals[m.Topic] {
		return d.update(m)
	}
	p, err := d.reader(m.Topic)
	if p != nil {
		d.loop = append(d.loop, m)
	}
	return err
}

// InputTopic writes typed records to a topic that the topology reads.
type InputTopic[K, V any] struct {
	d     *Driver
	topic string
	key   serde.Serde[K]
	value serde.Serde[V]
}

// Input returns a writer of a topic.
func Input[K, V any](d *Driver, topic string, key serde.Serde[K], value serde.Serde[V]) *InputTopic[K, V] {
	return &InputTopic[K, V]{d: d, topic: topic, key: key, value: value}
}

// Pipe pushes one record at a time in milliseconds.
func (in *InputTopic[K, V]) Pipe(key K, value V, timestamp int64) error {
	return in.PipeRecord(processor.Record[K, V]{Key: key, Value: value, Timestamp: timestamp})
}

// PipeRecord pushes one record, whose key or value may be null.
func (in *InputTopic[K, V]) PipeRecord(r processor.Record[K, V]) error {
	m := processor.Message{Topic: in.topic, Timestamp: r.Timestamp, Headers: r.Headers}
	var err error
	if !r.NullKey {
		if m.Key, err = in.key.Append([]byte{}, in.topic, r.Key); err != nil {
			return fmt.Errorf("key for %s: %w", in.topic, err)
		}
	}
	if !r.NullValue {
		if m.Value, err = in.value.Append([]byte{}, in.topic, r.Value); err != nil {
			return fmt.Errorf("value for %s: %w", in.topic, err)
		}
	}
	return in.d.PipeMessage(m)
}

// OutputTopic reads typed records from a topic that the topology writes.
type OutputTopic[K, V any] struct {
	d     *Driver
	topic string
	read  op.Inlet
	got   []processor.Record[K, V]
}

// Output returns a reader of a topic.
func Output[K, V any](d *Driver, topic string, key serde.Serde[K], value serde.Serde[V]) *OutputTopic[K, V] {
	out := &OutputTopic[K, V]{d: d, topic: topic}
	out.read = op.Source(topic, key, value, func(r processor.Record[K, V]) error {
		out.got = append(out.got, r)
		return nil
	})
	return out
}

// Drain returns the records that went to the topic and were not drained before,
// in order.
func (out *OutputTopic[K, V]) Drain() ([]processor.Record[K, V], error) {
	out.got = nil
	rest := out.d.sent[:0:0]
	for i := range out.d.sent {
		m := &out.d.sent[i]
		if m.Topic != out.topic {
			rest = append(rest, *m)
			continue
		}
		if err := out.read(m); err != nil {
			return nil, err
		}
	}
	out.d.sent = rest
	return out.got, nil
}

// KeyValue opens a key-value store of the topology to look into.
func KeyValue[K, V any](d *Driver, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.KeyValue[K, V], error) {
	t, err := d.owner(name)
	if err != nil {
		return nil, err
	}
	return op.OpenKeyValue(t, name, key, value)
}

// Window opens a window store of the topology to look into.
func Window[K, V any](d *Driver, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.Window[K, V], error) {
	t, err := d.owner(name)
	if err != nil {
		return nil, err
	}
	return op.OpenWindow(t, name, key, value)
}

// Session opens a session store of the topology to look into.
func Session[K, V any](d *Driver, name string, key serde.Serde[K], value serde.Serde[V]) (statestore.Session[K, V], error) {
	t, err := d.owner(name)
	if err != nil {
		return nil, err
	}
	return op.OpenSession(t, name, key, value)
}

// Query calls f for the task that has a store, if one has: what a streams.App
// does for all its tasks.
func (d *Driver) Query(store string, f func(id processor.TaskID, s processor.Stores) error) error {
	if t, err := d.owner(store); err == nil {
		return f(t.TaskID(), t)
	}
	return nil
}

// owner returns the task that has a store.
func (d *Driver) owner(store string) (*runtime.Task, error) {
	for _, p := range d.parts {
		if _, ok := p.sub.Store(store); ok {
			return p.task, nil
		}
	}
	return nil, fmt.Errorf("no store is named %s", store)
}
