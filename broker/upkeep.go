package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	apiadmin "github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/partition"
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
