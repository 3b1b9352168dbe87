package broker

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/server"
	"github.com/weirstream/weir/internal/telemetry"
)

// meters are the figures of one node under the names that Kafka's dashboards use.
type meters struct {
	registry *telemetry.Registry
	all      topicMeter

	mu      sync.Mutex // guards byTopic
	byTopic map[string]*topicMeter
}

// topicMeter counts what producers bring to a topic and clients fetch of it, and of all topics together.
type topicMeter struct {
	bytesIn, messagesIn, failed, bytesOut *telemetry.Meter
	all                                   *topicMeter
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
		bytesOut:   r.Meter(name("bytesout"), "Bytes of batches that clients fetched.", labels),
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
		for _, meter := range []*telemetry.Meter{t.bytesIn, t.messagesIn, t.failed, t.bytesOut} {
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

// Fetched counts a range of batches.
func (t *topicMeter) Fetched(bytes int) {
	for ; t != nil; t = t.all {
		t.bytesOut.Mark(int64(bytes))
	}
}

// gauges registers the figures that are read at each scrape.
func (p *parts) gauges(image func() *metadata.Image) {
	p.cleanerGauges()
	r := p.telemetry
	count := func(f func() int) func() float64 { return func() float64 { return float64(f()) } }
	held := func() int {
		n := 0
		p.replicas.each(func(*partition.Partition) { n++ })
		return n
	}
	r.Gauge("kafka_server_replicamanager_partitioncount", "Partitions on this node.", nil, count(held))
	r.Gauge("kafka_server_replicamanager_leadercount", "Partitions that this node leads.", nil, count(held))
	r.Gauge("kafka_server_replicamanager_underreplicatedpartitions", "Partitions with fewer in-sync replicas than replicas.", nil, count(func() int { return 0 }))
	r.Gauge("kafka_controller_kafkacontroller_activecontrollercount", "Whether this node is the controller.", nil, count(func() int { return 1 }))
	r.Gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.", nil, count(func() int { return image().TopicCount() }))
	r.Gauge("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", nil, count(func() int { return image().PartitionCount() }))
	r.Gauge("kafka_controller_kafkacontroller_activebrokercount", "Registered brokers.", nil, count(func() int { return len(image().Brokers()) }))
	r.Gauge("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader.", nil, count(func() int { return image().PartitionCount() - held() }))
}

// cleanerGauges registers the figures of compaction.
func (p *parts) cleanerGauges() {
	gauge := func(name, help string, f func(s commitlog.CleanerStats) float64) {
		p.telemetry.Gauge("kafka_log_"+name, help, nil, func() float64 { return f(p.dir.CleanerStats()) })
	}
	gauge("logcleaner_cleaner_recopy_percent", "Bytes written of those read by the last compaction, in percent.", func(s commitlog.CleanerStats) float64 { return 100 * s.Recopied })
	gauge("logcleaner_max_buffer_utilization_percent", "How much of its offset map the last compaction filled, in percent.", func(s commitlog.CleanerStats) float64 { return 100 * s.MapUsed })
	gauge("logcleaner_max_clean_time_secs", "How long the last compaction took, in seconds.", func(s commitlog.CleanerStats) float64 { return float64(s.Took) / 1000 })
	gauge("logcleaner_max_compaction_delay_secs", "By how much the last compaction came after max.compaction.lag.ms, in seconds.", func(s commitlog.CleanerStats) float64 { return float64(s.Delay) / 1000 })
	gauge("logcleanermanager_max_dirty_percent", "The largest part of a log that was never compacted, in percent.", func(s commitlog.CleanerStats) float64 { return 100 * s.Dirtiest })
	gauge("logcleanermanager_time_since_last_run_ms", "Time since logs that need compaction were looked for, in milliseconds.", func(s commitlog.CleanerStats) float64 {
		if s.LastRun == 0 {
			return 0
		}
		return float64(p.node.env.Clock.Now().UnixMilli() - s.LastRun)
	})
	gauge("logcleanermanager_uncleanable_partitions_count", "Partitions that compaction could not read and leaves alone.", func(s commitlog.CleanerStats) float64 { return float64(s.Uncleanable) })
	gauge("logcleanermanager_uncleanable_bytes", "Bytes of the partitions that compaction leaves alone.", func(s commitlog.CleanerStats) float64 { return float64(s.UncleanableBytes) })
}

// requestMeter counts the requests of one API key.
type requestMeter struct {
	requests *telemetry.Meter
	bytes    *telemetry.Meter
	took     *telemetry.Histogram
}

// connections are the figures of the server. Its methods run on the hot path.
type connections struct {
	byKey   []requestMeter // by API key
	opened  *telemetry.Meter
	closed  *telemetry.Meter
	mu      sync.Mutex // guards refused
	refused map[server.Reason]*telemetry.Meter
	r       *telemetry.Registry
}

func newConnections(r *telemetry.Registry, keys []int16) *connections {
	c := &connections{r: r, refused: map[server.Reason]*telemetry.Meter{}}
	c.opened = r.Meter("kafka_server_socket_server_metrics_connection_creation", "Connections accepted.", nil)
	c.closed = r.Meter("kafka_server_socket_server_metrics_connection_close", "Connections ended.", nil)
	for _, key := range keys {
		for int(key) >= len(c.byKey) {
			c.byKey = append(c.byKey, requestMeter{})
		}
		labels := telemetry.Labels{"request": kmsg.NameForKey(key)}
		c.byKey[key] = requestMeter{
			requests: r.Meter("kafka_network_requestmetrics_requests", "Requests received.", labels),
			bytes:    r.Meter("kafka_network_requestmetrics_responsebytes", "Bytes of answers sent.", labels),
			took:     r.Histogram("kafka_network_requestmetrics_totaltimems", "Time from a request's arrival to its answer, in milliseconds.", labels),
		}
	}
	return c
}

// Opened counts a connection.
func (c *connections) Opened(string) { c.opened.Mark(1) }

// Closed counts the end of a connection.
func (c *connections) Closed(string) { c.closed.Mark(1) }

// Received counts a request.
func (c *connections) Received(key int16, _ int) { c.byKey[key].requests.Mark(1) }

// Answered counts an answer.
func (c *connections) Answered(key int16, bytes int, took time.Duration) {
	c.byKey[key].bytes.Mark(int64(bytes))
	c.byKey[key].took.Observe(took)
}

// Refused counts a connection that the server closed by itself.
func (c *connections) Refused(reason server.Reason) {
	c.mu.Lock()
	m := c.refused[reason]
	if m == nil {
		m = c.r.Meter("weir_server_connections_refused", "Connections that the server closed by itself.", telemetry.Labels{"reason": string(reason)})
		c.refused[reason] = m
	}
	c.mu.Unlock()
	m.Mark(1)
}
