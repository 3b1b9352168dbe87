package broker

import (
	"sync"

	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/internal/telemetry"
)

// meters are the figures of one node under the names that Kafka's dashboards use.
type meters struct {
	registry *telemetry.Registry
	all      topicMeter

	mu      sync.Mutex // guards byTopic
	byTopic map[string]*topicMeter
}

// topicMeter counts what producers bring to a topic, and to all topics together.
type topicMeter struct {
	bytesIn, messagesIn, failed *telemetry.Meter
	all                         *topicMeter
}

func newMeters(r *telemetry.Registry) *meters {
	m := &meters{registry: r, byTopic: map[string]*topicMeter{}}
	m.all = newTopicMeter(r, nil)
	return m
}

func newTopicMeter(r *telemetry.Registry, labels telemetry.Labels) topicMeter {
	const prefix = "kafka_server_brokertopicmetrics_"
	name := func(of string) string {
		if labels == nil {
			return prefix + "all_" + of
		}
		return prefix + of
	}
	return topicMeter{
		bytesIn:    r.Meter(name("bytesin"), "Bytes that producers appended.", labels),
		messagesIn: r.Meter(name("messagesin"), "Records that producers appended.", labels),
		failed:     r.Meter(name("failedproducerequests"), "Batches of producers that were refused.", labels),
	}
}

// topic returns the meter of one topic.
func (m *meters) topic(name string) partition.Meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.byTopic[name]
	if !ok {
		made := newTopicMeter(m.registry, telemetry.Labels{"topic": name})
		t = &made
		t.all = &m.all
		m.byTopic[name] = t
	}
	return t
}

// forget drops the figures of a deleted topic.
func (m *meters) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.byTopic[name]; ok {
		delete(m.byTopic, name)
		for _, meter := range []*telemetry.Meter{t.bytesIn, t.messagesIn, t.failed} {
			m.registry.Drop(meter)
		}
	}
}

// Appended counts one batch.
func (t *topicMeter) Appended(bytes, records int) {
	for ; t != nil; t = t.all {
		t.bytesIn.Mark(int64(bytes))
		t.messagesIn.Mark(int64(records))
	}
}

// Refused counts one batch that was not appended.
func (t *topicMeter) Refused() {
	for ; t != nil; t = t.all {
		t.failed.Mark(1)
	}
}
