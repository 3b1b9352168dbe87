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
	"slices"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// Driver runs a topology. It is used from one goroutine.
type Driver struct {
	app     string
	now     time.Time
	tasks   []*task
	readers map[string]*task // by topic, under the name that messages carry
	offsets map[string]int64 // of the next record of each topic
	loop    []processor.Message
	sent    []processor.Message
	dropped map[string]int
}

// Option configures a driver.
type Option func(*Driver)

// ApplicationID sets the prefix of internal topics; it is "test" without.
func ApplicationID(id string) Option { return func(d *Driver) { d.app = id } }

// StartAt sets the wall clock, which starts at the epoch without.
func StartAt(t time.Time) Option { return func(d *Driver) { d.now = t } }

// New starts a task for each sub-topology.
func New(t *streams.Topology, opts ...Option) (*Driver, error) {
	d := &Driver{
		app: "test", now: time.UnixMilli(0).UTC(),
		readers: map[string]*task{}, offsets: map[string]int64{}, dropped: map[string]int{},
	}
	for _, f := range opts {
		f(d)
	}
	g := t.Graph()
	for i := range g.Subtopologies {
		tk, err := d.start(t, &g.Subtopologies[i])
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		d.tasks = append(d.tasks, tk)
		for _, topic := range g.Subtopologies[i].SourceTopics(d.app) {
			d.readers[topic] = tk
		}
	}
	return d, d.settle()
}

// Close closes the tasks and their stores.
func (d *Driver) Close() error {
	var errs []error
	for _, t := range d.tasks {
		errs = append(errs, t.close())
	}
	d.tasks = nil
	return errors.Join(errs...)
}

// PipeMessage pushes one record in bytes into its topic and processes all that
// follows from it. Its partition and offset are the driver's to choose.
func (d *Driver) PipeMessage(m processor.Message) error {
	if d.readers[m.Topic] == nil {
		return fmt.Errorf("no source reads topic %s", m.Topic)
	}
	d.loop = append(d.loop, m)
	return d.settle()
}

// AdvanceWallClock moves the wall clock and fires what was scheduled on it: once
// for each schedule that came due, however many of its intervals passed.
func (d *Driver) AdvanceWallClock(by time.Duration) error {
	d.now = d.now.Add(by)
	for _, t := range d.tasks {
		if err := t.punctuate(processor.WallClock, d.now.UnixMilli()); err != nil {
			return err
		}
		if err := t.commit(); err != nil {
			return err
		}
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

// Dropped returns how many records operators have dropped, and how often for
// each reason.
func (d *Driver) Dropped() (total int, reasons map[string]int) {
	reasons = make(map[string]int, len(d.dropped))
	for reason, n := range d.dropped {
		reasons[reason] = n
		total += n
	}
	return total, reasons
}

// settle processes what loops back inside until nothing is left.
func (d *Driver) settle() error {
	for len(d.loop) > 0 {
		m := d.loop[0]
		d.loop = d.loop[1:]
		m.Offset = d.offsets[m.Topic]
		d.offsets[m.Topic]++
		t := d.readers[m.Topic]
		if err := t.process(&m); err != nil {
			return err
		}
		if err := t.commit(); err != nil {
			return err
		}
	}
	return nil
}

// send takes a record that leaves a task: it goes to whoever reads its topic,
// and to Drain if the topic is not internal.
func (d *Driver) send(o *processor.Outgoing) {
	m := processor.Message{
		Topic: o.Topic, Key: slices.Clone(o.Key), Value: slices.Clone(o.Value),
		Timestamp: o.Timestamp, Headers: slices.Clone(o.Headers),
	}
	if d.readers[m.Topic] != nil {
		d.loop = append(d.loop, m)
	}
	if !d.internal(m.Topic) {
		d.sent = append(d.sent, m)
	}
}

func (d *Driver) internal(topic string) bool {
	t := d.readers[topic]
	return t != nil && slices.ContainsFunc(t.sub.Repartitions, func(r graph.Repartition) bool {
		return graph.RepartitionTopic(d.app, r.Name) == topic
	})
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

// owner returns the task that has a store.
func (d *Driver) owner(store string) (*task, error) {
	for _, t := range d.tasks {
		if _, ok := t.sub.Store(store); ok {
			return t, nil
		}
	}
	return nil, fmt.Errorf("no store is named %s", store)
}
