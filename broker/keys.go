package broker

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/weirstream/weir/internal/config"
)

// ignoredKeys lists the broker keys that Kafka knows and Weir accepts without
// effect: name, type, default ("-" is null) and why, separated by tabs.
//
//go:embed kafka_keys.tsv
var ignoredKeys string

// Keys returns every broker key: what a properties file, a WEIR_ or KAFKA_
// environment variable and DescribeConfigs of a broker may name.
func Keys() (*config.Set, error) {
	keys := nodeKeys()
	keys = append(keys, listenerKeys()...)
	keys = append(keys, storageKeys()...)
	keys = append(keys, cleanerKeys()...)
	keys = append(keys, topicDefaultKeys()...)
	keys = append(keys, groupKeys()...)
	keys = append(keys, transactionKeys()...)
	ignored, err := parseIgnored(ignoredKeys)
	if err != nil {
		return nil, err
	}
	return config.NewSet(append(keys, ignored...)...)
}

// nodeKeys say who the node is and what it may do.
func nodeKeys() []config.Key {
	return []config.Key{
		{Name: "node.id", Type: config.Int, Default: "1", Min: new(int64(0)), Doc: "The id of this node; it must stay the same for a data directory."},
		{Name: "broker.id", Type: config.Int, NoDefault: true, Min: new(int64(0)), Doc: "The old name of node.id."},
		{Name: "cluster.id", Type: config.String, NoDefault: true, Doc: "The cluster id written at the first start; without it one is made."},
		{Name: "process.roles", Type: config.List, Default: "broker,controller", OneOf: []string{"broker", "controller"}, Doc: "The roles of this node; both run in one process."},
		{Name: "broker.rack", Type: config.String, NoDefault: true, Doc: "The rack reported to clients."},
		{Name: "auto.create.topics.enable", Type: config.Bool, Default: "true", Doc: "Whether asking for the metadata of an unknown topic creates it."},
		{Name: "authorizer.class.name", Type: config.String, Default: "", Doc: "Must be empty: ACLs are not enforced yet, and a node that asks for them does not start."},
		{Name: "delete.topic.enable", Type: config.Bool, Default: "true", Doc: "Whether DeleteTopics is allowed."},
		{Name: "num.partitions", Type: config.Int, Default: "1", Min: new(int64(1)), Doc: "Partitions of a topic created without a count."},
		{Name: "default.replication.factor", Type: config.Int, Default: "1", Min: new(int64(1)), Doc: "Replicas of a topic created without a factor; clamped to the registered brokers for automatic topics."},
		{Name: "producer.id.expiration.ms", Type: config.Int, Default: "86400000", Min: new(int64(1)), Doc: "How long an idle producer's sequence state is kept."},
		{Name: "weir.admin.listener", Type: config.String, Default: "127.0.0.1:9644", Doc: "The host:port of /metrics, /healthz and /readyz; empty turns it off."},
	}
}

// listenerKeys say where clients connect and what a connection may cost.
func listenerKeys() []config.Key {
	return []config.Key{
		{Name: "listeners", Type: config.List, Default: "PLAINTEXT://127.0.0.1:9092", Doc: "NAME://host:port of each listener; an empty host means every interface."},
		{Name: "advertised.listeners", Type: config.List, NoDefault: true, Doc: "NAME://host:port told to clients; follows the listeners when unset."},
		{Name: "listener.security.protocol.map", Type: config.List, Default: "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Doc: "NAME:PROTOCOL of each listener name; only PLAINTEXT is served."},
		{Name: "inter.broker.listener.name", Type: config.String, NoDefault: true, Doc: "The listener other brokers use."},
		{Name: "controller.listener.names", Type: config.List, NoDefault: true, Doc: "The listeners of the controller; unset means the one named CONTROLLER."},
		{Name: "controller.quorum.voters", Type: config.List, NoDefault: true, Doc: "id@host:port of the metadata voters; this node must be the only one."},
		{Name: "controller.quorum.bootstrap.servers", Type: config.List, NoDefault: true, Doc: "host:port of the controllers; with one voter it is this node."},
		{Name: "socket.request.max.bytes", Type: config.Int, Default: "104857600", Min: new(int64(1)), Doc: "The largest request a client may send, in bytes."},
		{Name: "socket.send.buffer.bytes", Type: config.Int, Default: "393216", Min: new(int64(-1)), Doc: "The most bytes on their way to one client; the kernel may allow less, and decides with -1. Larger serves distant clients faster and near ones slower."},
		{Name: "socket.receive.buffer.bytes", Type: config.Int, Default: "-1", Min: new(int64(-1)), Doc: "The most bytes one client may send ahead of what is read; the kernel decides with -1."},
		{Name: "max.connections", Type: config.Int, Default: "2147483647", Min: new(int64(0)), Doc: "The most connections of the node at one time."},
		{Name: "max.connections.per.ip", Type: config.Int, Default: "2147483647", Min: new(int64(0)), Doc: "The most connections of one client address."},
		{Name: "connections.max.idle.ms", Type: config.Long, Default: "600000", Doc: "How long a connection may be idle before it is closed."},
		{Name: "fetch.max.bytes", Type: config.Int, Default: "57671680", Min: new(int64(1024)), Doc: "The most bytes one fetch answers, whatever the client asks."},
		{Name: "max.incremental.fetch.session.cache.slots", Type: config.Int, Default: "1000", Min: new(int64(0)), Doc: "How many incremental fetch sessions are kept."},
		{Name: "max.request.partition.size.limit", Type: config.Int, Default: "2000", Min: new(int64(1)), Doc: "The most partitions one DescribeTopicPartitions answers."},
	}
}

// storageKeys say where and how the log directory is kept.
func storageKeys() []config.Key {
	return []config.Key{
		{Name: "log.dirs", Type: config.List, NoDefault: true, Doc: "The data directory; one per node."},
		{Name: "log.dir", Type: config.List, NoDefault: true, Doc: "Used when log.dirs is unset."},
		{Name: "weir.durability", Type: config.String, Default: "fsync", OneOf: []string{"fsync", "pagecache"}, Dynamic: true, Doc: "fsync answers acks=all only when the record is on disk; pagecache is what Kafka does."},
		{Name: "weir.internal.durability", Type: config.String, Default: "fsync", OneOf: []string{"fsync", "pagecache"}, Doc: "What weir.durability is for internal topics; pagecache loses groups' offsets and the outcome of transactions with the machine, and is for benchmarks."},
		{Name: "weir.batch.validation", Type: config.String, Default: "shallow", OneOf: []string{"shallow", "deep"}, Dynamic: true, Doc: "deep walks every record of a produced batch; shallow checks its header and checksum."},
		{Name: "weir.read.ahead.bytes", Type: config.Long, Default: "67108864", Min: new(int64(1)), Doc: "The most memory, in bytes, for what lies ahead of fetches of small ranges, 64 KiB of a partition; taken when it is first needed, and none where there is no room for one."},
		{Name: "log.retention.check.interval.ms", Type: config.Long, Default: "300000", Min: new(int64(1)), Doc: "How often old segments are looked for; log.cleaner.backoff.ms in topics that are compacted too."},
		{Name: "log.flush.offset.checkpoint.interval.ms", Type: config.Int, Default: "60000", Min: new(int64(0)), Doc: "How often recovery points are written."},
		{Name: "replica.high.watermark.checkpoint.interval.ms", Type: config.Long, Default: "5000", Min: new(int64(1)), Doc: "How often high watermarks are written."},
	}
}

// cleanerKeys say what compaction may take of the machine.
func cleanerKeys() []config.Key {
	return []config.Key{
		{Name: "log.cleaner.enable", Type: config.Bool, Default: "true", Doc: "Whether compacted topics are compacted."},
		{Name: "log.cleaner.backoff.ms", Type: config.Long, Default: "15000", Min: new(int64(1)), Dynamic: true, Doc: "How often logs that need compaction are looked for."},
		{Name: "log.cleaner.dedupe.buffer.size", Type: config.Long, Default: "134217728", Min: new(int64(1024)), Dynamic: true, Doc: "The most memory, in bytes, for the offsets of keys; 24 bytes each, taken while a log is compacted."},
		{Name: "log.cleaner.io.buffer.load.factor", Type: config.Double, Default: "0.9", Min: new(int64(0)), Max: new(int64(1)), Dynamic: true, Doc: "How much of that memory may fill up with keys before a log is compacted in several rounds."},
		{Name: "log.cleaner.io.max.bytes.per.second", Type: config.Double, Default: "1.7976931348623157E308", Min: new(int64(1)), Dynamic: true, Doc: "The most that compaction reads in a second, on average."},
	}
}

// groupKeys bound consumer groups and their offsets.
func groupKeys() []config.Key {
	return []config.Key{
		{Name: "group.min.session.timeout.ms", Type: config.Int, Default: "6000", Min: new(int64(0)), Doc: "The shortest session a member may ask for."},
		{Name: "group.max.session.timeout.ms", Type: config.Int, Default: "1800000", Min: new(int64(0)), Doc: "The longest session a member may ask for."},
		{Name: "group.initial.rebalance.delay.ms", Type: config.Int, Default: "3000", Min: new(int64(0)), Doc: "How long an empty group waits for more members before its first rebalance."},
		{Name: "group.max.size", Type: config.Int, Default: "2147483647", Min: new(int64(1)), Doc: "The most members of one group."},
		{Name: "offset.metadata.max.bytes", Type: config.Int, Default: "4096", Min: new(int64(0)), Doc: "The longest metadata string of a committed offset."},
		{Name: "offsets.retention.minutes", Type: config.Int, Default: "10080", Min: new(int64(1)), Doc: "How long offsets are kept after their group became empty."},
		{Name: "offsets.retention.check.interval.ms", Type: config.Long, Default: "600000", Min: new(int64(1)), Doc: "How often expired offsets are looked for."},
		{Name: "offsets.topic.num.partitions", Type: config.Int, Default: "50", Min: new(int64(1)), Doc: "Partitions of __consumer_offsets when it is created."},
		{Name: "offsets.topic.replication.factor", Type: config.Short, Default: "3", Min: new(int64(1)), Doc: "Replicas of __consumer_offsets; clamped to the registered brokers."},
		{Name: "offsets.topic.segment.bytes", Type: config.Int, Default: "104857600", Min: new(int64(1)), Doc: "Segment size of __consumer_offsets."},
	}
}

// transactionKeys bound transactions and their log.
func transactionKeys() []config.Key {
	return []config.Key{
		{Name: "transaction.max.timeout.ms", Type: config.Int, Default: "900000", Min: new(int64(1)), Doc: "The longest timeout a transactional producer may ask for."},
		{Name: "transaction.abort.timed.out.transaction.cleanup.interval.ms", Type: config.Int, Default: "10000", Min: new(int64(1)), Doc: "How often transactions that took too long are looked for."},
		{Name: "transactional.id.expiration.ms", Type: config.Int, Default: "604800000", Min: new(int64(1)), Doc: "How long a transactional id is kept that nobody uses."},
		{Name: "transaction.remove.expired.transaction.cleanup.interval.ms", Type: config.Int, Default: "3600000", Min: new(int64(1)), Doc: "How often unused transactional ids are looked for."},
		{Name: "transaction.state.log.num.partitions", Type: config.Int, Default: "50", Min: new(int64(1)), Doc: "Partitions of __transaction_state when it is created."},
		{Name: "transaction.state.log.replication.factor", Type: config.Short, Default: "3", Min: new(int64(1)), Doc: "Replicas of __transaction_state; clamped to the registered brokers."},
		{Name: "transaction.state.log.min.isr", Type: config.Int, Default: "2", Min: new(int64(1)), Doc: "The min.insync.replicas of __transaction_state; clamped to its replicas."},
		{Name: "transaction.state.log.segment.bytes", Type: config.Int, Default: "104857600", Min: new(int64(1024)), Doc: "Segment size of __transaction_state."},
	}
}

// parseIgnored turns the table of accepted keys without effect into keys.
func parseIgnored(table string) ([]config.Key, error) {
	types := map[string]config.Type{}
	for t := config.Bool; t <= config.Password; t++ {
		types[t.String()] = t
	}
	var keys []config.Key
	for line := range strings.Lines(table) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(field) != 4 || types[field[1]] == 0 {
			return nil, fmt.Errorf("bug: bad line in the key table: %q", line)
		}
		k := config.Key{Name: field[0], Type: types[field[1]], Default: field[2], Ignored: field[3]}
		k.Doc = "Accepted without effect: " + field[3] + "."
		if field[2] == "-" {
			k.Default, k.NoDefault = "", true
		}
		keys = append(keys, k)
	}
	return keys, nil
}
