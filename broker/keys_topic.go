package broker

import "github.com/weirstream/weir/internal/config"

// TopicKeys returns every topic key. The synonyms of each are the broker keys
// that set its default for the whole node, the first one set wins.
func TopicKeys() (*config.Set, error) {
	return config.NewSet(append(servedTopicKeys(), ignoredTopicKeys()...)...)
}

func servedTopicKeys() []config.Key {
	return []config.Key{
		{Name: "cleanup.policy", Type: config.List, Default: "delete", OneOf: []string{"delete", "compact"}, Synonyms: []string{"log.cleanup.policy"}, Doc: "delete drops old segments; compact keeps the last record of each key."},
		{Name: "retention.ms", Type: config.Long, Default: "604800000", Min: new(int64(-1)), Synonyms: []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"}, Doc: "How long records are kept; -1 keeps them for ever."},
		{Name: "retention.bytes", Type: config.Long, Default: "-1", Min: new(int64(-1)), Synonyms: []string{"log.retention.bytes"}, Doc: "How many bytes a partition keeps; -1 has no limit."},
		{Name: "min.cleanable.dirty.ratio", Type: config.Double, Default: "0.5", Min: new(int64(0)), Max: new(int64(1)), Synonyms: []string{"log.cleaner.min.cleanable.ratio"}, Doc: "The part of a log that was never compacted from which on it is."},
		{Name: "min.compaction.lag.ms", Type: config.Long, Default: "0", Min: new(int64(0)), Synonyms: []string{"log.cleaner.min.compaction.lag.ms"}, Doc: "How long a record is sure to be kept in a compacted topic."},
		{Name: "max.compaction.lag.ms", Type: config.Long, Default: "9223372036854775807", Min: new(int64(1)), Synonyms: []string{"log.cleaner.max.compaction.lag.ms"}, Doc: "The age of a record at which its log is compacted, however little of it is new."},
		{Name: "delete.retention.ms", Type: config.Long, Default: "86400000", Min: new(int64(0)), Synonyms: []string{"log.cleaner.delete.retention.ms"}, Doc: "How long compaction keeps tombstones and transaction markers for readers."},
		{Name: "segment.bytes", Type: config.Int, Default: "1073741824", Min: new(int64(1024)), Synonyms: []string{"log.segment.bytes"}, Doc: "The size at which a segment is rolled."},
		{Name: "segment.ms", Type: config.Long, Default: "604800000", Min: new(int64(1)), Synonyms: []string{"log.roll.ms", "log.roll.hours"}, Doc: "The age at which a segment is rolled."},
		{Name: "segment.jitter.ms", Type: config.Long, Default: "0", Min: new(int64(0)), Synonyms: []string{"log.roll.jitter.ms", "log.roll.jitter.hours"}, Doc: "The most by which a roll by age comes earlier, at random."},
		{Name: "segment.index.bytes", Type: config.Int, Default: "10485760", Min: new(int64(12)), Synonyms: []string{"log.index.size.max.bytes"}, Doc: "The size at which a full index rolls its segment."},
		{Name: "index.interval.bytes", Type: config.Int, Default: "4096", Min: new(int64(0)), Synonyms: []string{"log.index.interval.bytes"}, Doc: "How many bytes lie between two index entries."},
		{Name: "min.insync.replicas", Type: config.Int, Default: "1", Min: new(int64(1)), Synonyms: []string{"min.insync.replicas"}, Doc: "How many replicas must be in sync for acks=all."},
		{Name: "max.message.bytes", Type: config.Int, Default: "1048588", Min: new(int64(0)), Synonyms: []string{"message.max.bytes"}, Doc: "The largest record batch, as it is sent."},
		{Name: "compression.type", Type: config.String, Default: "producer", OneOf: codecNames(), Synonyms: []string{"compression.type"}, Doc: "How batches are stored: producer keeps them as they were sent, other codecs compress them anew."},
		{Name: "message.timestamp.type", Type: config.String, Default: "CreateTime", OneOf: []string{"CreateTime", "LogAppendTime"}, Synonyms: []string{"log.message.timestamp.type"}, Doc: "Whose clock stamps a record."},
		{Name: "message.timestamp.before.max.ms", Type: config.Long, Default: "9223372036854775807", Min: new(int64(0)), Synonyms: []string{"log.message.timestamp.before.max.ms"}, Doc: "How far behind the broker's clock a record may be stamped."},
		{Name: "message.timestamp.after.max.ms", Type: config.Long, Default: "3600000", Min: new(int64(0)), Synonyms: []string{"log.message.timestamp.after.max.ms"}, Doc: "How far ahead of the broker's clock a record may be stamped."},
		{Name: "flush.messages", Type: config.Long, Default: "9223372036854775807", Min: new(int64(1)), Synonyms: []string{"log.flush.interval.messages"}, Doc: "Records between two syncs when weir.durability is pagecache."},
		{Name: "flush.ms", Type: config.Long, Default: "9223372036854775807", Min: new(int64(0)), Synonyms: []string{"log.flush.interval.ms"}, Doc: "Time between two syncs when weir.durability is pagecache."},
		{Name: "file.delete.delay.ms", Type: config.Long, Default: "60000", Min: new(int64(0)), Synonyms: []string{"log.segment.delete.delay.ms"}, Doc: "How long a deleted file is kept for readers."},
		{Name: "preallocate", Type: config.Bool, Default: "false", Synonyms: []string{"log.preallocate"}, Doc: "Whether a new segment is given its whole size at once."},
		{Name: "weir.durability", Type: config.String, Default: "fsync", OneOf: []string{"fsync", "pagecache"}, Synonyms: []string{"weir.durability"}, Doc: "fsync answers acks=all only when the record is on disk; pagecache is what Kafka does."},
		{Name: "weir.batch.validation", Type: config.String, Default: "shallow", OneOf: []string{"shallow", "deep"}, Synonyms: []string{"weir.batch.validation"}, Doc: "deep walks every record of a produced batch."},
	}
}

// codecNames are the values of compression.type.
func codecNames() []string {
	return []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"}
}

// ignoredTopicKeys are accepted, kept and shown, without effect on this node.
func ignoredTopicKeys() []config.Key {
	const levels = "records that are compressed anew get the default level of their codec"
	const single = "a single node does not replicate"
	const tiered = "tiered storage is not part of Weir"
	return []config.Key{
		{Name: "compression.gzip.level", Type: config.Int, Default: "-1", Min: new(int64(-1)), Max: new(int64(9)), Synonyms: []string{"compression.gzip.level"}, Ignored: levels},
		{Name: "compression.lz4.level", Type: config.Int, Default: "9", Min: new(int64(1)), Max: new(int64(17)), Synonyms: []string{"compression.lz4.level"}, Ignored: levels},
		{Name: "compression.zstd.level", Type: config.Int, Default: "3", Min: new(int64(-131072)), Max: new(int64(22)), Synonyms: []string{"compression.zstd.level"}, Ignored: levels},
		{Name: "unclean.leader.election.enable", Type: config.Bool, Default: "false", Synonyms: []string{"unclean.leader.election.enable"}, Ignored: "a single node is always in sync"},
		{Name: "leader.replication.throttled.replicas", Type: config.List, Default: "", Ignored: single},
		{Name: "follower.replication.throttled.replicas", Type: config.List, Default: "", Ignored: single},
		{Name: "remote.storage.enable", Type: config.Bool, Default: "false", Ignored: tiered},
		{Name: "local.retention.ms", Type: config.Long, Default: "-2", Min: new(int64(-2)), Synonyms: []string{"log.local.retention.ms"}, Ignored: tiered},
		{Name: "local.retention.bytes", Type: config.Long, Default: "-2", Min: new(int64(-2)), Synonyms: []string{"log.local.retention.bytes"}, Ignored: tiered},
	}
}

// topicDefaultKeys are the broker keys behind the topic keys, for the whole node.
func topicDefaultKeys() []config.Key {
	const max64 = "9223372036854775807"
	return []config.Key{
		{Name: "log.cleanup.policy", Type: config.List, Default: "delete", OneOf: []string{"delete", "compact"}, Dynamic: true, Doc: "The default of cleanup.policy."},
		{Name: "log.retention.ms", Type: config.Long, NoDefault: true, Min: new(int64(-1)), Dynamic: true, Doc: "The default of retention.ms."},
		{Name: "log.retention.minutes", Type: config.Int, NoDefault: true, Min: new(int64(-1)), Doc: "Used when log.retention.ms is unset."},
		{Name: "log.retention.hours", Type: config.Int, Default: "168", Min: new(int64(-1)), Doc: "Used when log.retention.minutes is unset."},
		{Name: "log.retention.bytes", Type: config.Long, Default: "-1", Min: new(int64(-1)), Dynamic: true, Doc: "The default of retention.bytes."},
		{Name: "log.cleaner.min.cleanable.ratio", Type: config.Double, Default: "0.5", Min: new(int64(0)), Max: new(int64(1)), Dynamic: true, Doc: "The default of min.cleanable.dirty.ratio."},
		{Name: "log.cleaner.min.compaction.lag.ms", Type: config.Long, Default: "0", Min: new(int64(0)), Dynamic: true, Doc: "The default of min.compaction.lag.ms."},
		{Name: "log.cleaner.max.compaction.lag.ms", Type: config.Long, Default: max64, Min: new(int64(1)), Dynamic: true, Doc: "The default of max.compaction.lag.ms."},
		{Name: "log.cleaner.delete.retention.ms", Type: config.Long, Default: "86400000", Min: new(int64(0)), Dynamic: true, Doc: "The default of delete.retention.ms."},
		{Name: "log.segment.bytes", Type: config.Int, Default: "1073741824", Min: new(int64(1024)), Dynamic: true, Doc: "The default of segment.bytes."},
		{Name: "log.roll.ms", Type: config.Long, NoDefault: true, Min: new(int64(1)), Dynamic: true, Doc: "The default of segment.ms."},
		{Name: "log.roll.hours", Type: config.Int, Default: "168", Min: new(int64(1)), Doc: "Used when log.roll.ms is unset."},
		{Name: "log.roll.jitter.ms", Type: config.Long, NoDefault: true, Min: new(int64(0)), Dynamic: true, Doc: "The default of segment.jitter.ms."},
		{Name: "log.roll.jitter.hours", Type: config.Int, Default: "0", Min: new(int64(0)), Doc: "Used when log.roll.jitter.ms is unset."},
		{Name: "log.index.size.max.bytes", Type: config.Int, Default: "10485760", Min: new(int64(12)), Dynamic: true, Doc: "The default of segment.index.bytes."},
		{Name: "log.index.interval.bytes", Type: config.Int, Default: "4096", Min: new(int64(0)), Dynamic: true, Doc: "The default of index.interval.bytes."},
		{Name: "min.insync.replicas", Type: config.Int, Default: "1", Min: new(int64(1)), Dynamic: true, Doc: "The default of the topic key of the same name."},
		{Name: "message.max.bytes", Type: config.Int, Default: "1048588", Min: new(int64(0)), Dynamic: true, Doc: "The default of max.message.bytes."},
		{Name: "compression.type", Type: config.String, Default: "producer", OneOf: codecNames(), Dynamic: true, Doc: "The default of the topic key of the same name."},
		{Name: "log.message.timestamp.type", Type: config.String, Default: "CreateTime", OneOf: []string{"CreateTime", "LogAppendTime"}, Dynamic: true, Doc: "The default of message.timestamp.type."},
		{Name: "log.message.timestamp.before.max.ms", Type: config.Long, Default: max64, Min: new(int64(0)), Dynamic: true, Doc: "The default of message.timestamp.before.max.ms."},
		{Name: "log.message.timestamp.after.max.ms", Type: config.Long, Default: "3600000", Min: new(int64(0)), Dynamic: true, Doc: "The default of message.timestamp.after.max.ms."},
		{Name: "log.flush.interval.messages", Type: config.Long, Default: max64, Min: new(int64(1)), Dynamic: true, Doc: "The default of flush.messages."},
		{Name: "log.flush.interval.ms", Type: config.Long, NoDefault: true, Min: new(int64(0)), Dynamic: true, Doc: "The default of flush.ms."},
		{Name: "log.segment.delete.delay.ms", Type: config.Long, Default: "60000", Min: new(int64(0)), Dynamic: true, Doc: "The default of file.delete.delay.ms."},
		{Name: "log.preallocate", Type: config.Bool, Default: "false", Dynamic: true, Doc: "The default of preallocate."},
	}
}
