package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	apiadmin "github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/server"
	"github.com/weirstream/weir/internal/telemetry"
)

// expiryInterval is how often idle producers are looked for.
const expiryInterval = 10 * time.Minute

// maintain forgets idle producers now and then until ctx ends.
func (p *parts) maintain(ctx context.Context) error {
	ticker := time.NewTicker(min(expiryInterval, max(p.node.settings.producerExpiry, time.Second)))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.replicas.each(func(q *partition.Partition) { q.ExpireProducers(p.node.settings.producerExpiry) })
		}
	}
}

// logDirs describes the data directory for DescribeLogDirs.
func (p *parts) logDirs() []apiadmin.LogDir {
	dir := apiadmin.LogDir{Path: p.node.settings.dir, Total: -1, Usable: -1, Err: p.dir.Err()}
	p.replicas.each(func(q *partition.Partition) {
		dir.Partitions = append(dir.Partitions, apiadmin.LogSize{Topic: q.Topic(), Partition: q.Index(), Bytes: q.Status().Size})
	})
	return []apiadmin.LogDir{dir}
}

func portOf(a net.Addr) (int32, error) {
	_, text, err := net.SplitHostPort(a.String())
	if err != nil {
		return 0, fmt.Errorf("address %s: %w", a, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return int32(n), err
}

// gauges registers the figures that are read at each scrape.
func (p *parts) gauges(image func() *metadata.Image) {
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
