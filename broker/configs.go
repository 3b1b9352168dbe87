package broker

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/config"
)

// configs decides what a key is worth for a topic of this node.
type configs struct {
	nodeID   int32
	topics   *config.Set
	brokers  *config.Set
	fixed    map[string]string
	internal commitlog.Durability // of internal topics
}

// topic returns the values in force for a topic.
func (c configs) topic(image *metadata.Image, topic string) topicValues {
	return topicValues{keys: c.topics, internal: c.internal, scopes: config.Scopes{
		Topic:         image.Config(metadata.Resource{Type: metadata.TopicResource, Name: topic}),
		Broker:        image.Config(metadata.Resource{Type: metadata.BrokerResource, Name: strconv.Itoa(int(c.nodeID))}),
		BrokerDefault: image.Config(metadata.Resource{Type: metadata.BrokerResource}),
		Static:        c.fixed,
	}}
}

// cleaner returns what compaction may take now. Values were checked when they were set.
func (c configs) cleaner(image *metadata.Image) commitlog.CleanerOptions {
	values := maps.Clone(c.fixed)
	maps.Copy(values, image.Config(metadata.Resource{Type: metadata.BrokerResource}))
	maps.Copy(values, image.Config(metadata.Resource{Type: metadata.BrokerResource, Name: strconv.Itoa(int(c.nodeID))}))
	return cleanerOptions(&reader{keys: c.brokers, values: values})
}

// topicValues are the keys of one topic. Values were checked when they were set;
// one that cannot be read counts as zero.
type topicValues struct {
	keys     *config.Set
	scopes   config.Scopes
	internal commitlog.Durability
}

func (v topicValues) text(name string) string {
	key, ok := v.keys.Key(name)
	if !ok {
		panic("bug: no such topic key: " + name)
	}
	return key.Effective(v.scopes)
}

func (v topicValues) int(name string) int64 {
	n, _ := strconv.ParseInt(v.text(name), 10, 64)
	return n
}

func (v topicValues) float(name string) float64 {
	n, _ := strconv.ParseFloat(v.text(name), 64)
	return n
}

func (v topicValues) is(name, word string) bool { return strings.EqualFold(v.text(name), word) }

func (v topicValues) cleans(how string) bool {
	return slices.Contains(config.SplitList(v.text("cleanup.policy")), how)
}

// durability is what the topic asks for; internal topics have one of their own.
func (v topicValues) durability(internal bool) commitlog.Durability {
	switch {
	case internal:
		return v.internal
	case v.is("weir.durability", "pagecache"):
		return commitlog.PageCache
	}
	return commitlog.Fsync
}

// log returns what the log of a partition needs to know.
func (v topicValues) log(internal bool) commitlog.Config {
	return commitlog.Config{
		SegmentBytes:       v.int("segment.bytes"),
		SegmentMs:          v.int("segment.ms"),
		SegmentJitterMs:    v.int("segment.jitter.ms"),
		IndexIntervalBytes: int(v.int("index.interval.bytes")),
		SegmentIndexBytes:  int(v.int("segment.index.bytes")),
		RetentionMs:        v.int("retention.ms"),
		RetentionBytes:     v.int("retention.bytes"),
		FileDeleteDelayMs:  v.int("file.delete.delay.ms"),
		Preallocate:        v.is("preallocate", "true"),
		Durability:         v.durability(internal),
		FlushMessages:      v.int("flush.messages"),
		FlushMs:            v.int("flush.ms"),
		Compact:            v.cleans("compact"),
		Delete:             v.cleans("delete"),
		MinDirtyRatio:      v.float("min.cleanable.dirty.ratio"),
		MinLagMs:           v.int("min.compaction.lag.ms"),
		MaxLagMs:           v.int("max.compaction.lag.ms"),
		DeleteRetentionMs:  v.int("delete.retention.ms"),
	}
}

// partition returns what the rules of a partition need to know. Internal topics
// are walked record by record.
func (v topicValues) partition(internal bool) partition.Config {
	codec, recompress := v.codec()
	maxBytes := v.int("max.message.bytes")
	return partition.Config{
		Durability:      v.durability(internal),
		MinISR:          v.minISR(internal),
		MaxMessageBytes: int(maxBytes),
		LogAppendTime:   v.is("message.timestamp.type", "LogAppendTime"),
		BeforeMax:       limitMillis(v.int("message.timestamp.before.max.ms")),
		AfterMax:        limitMillis(v.int("message.timestamp.after.max.ms")),
		Compact:         v.cleans("compact"),
		Delete:          v.cleans("delete"),
		Deep:            internal || v.is("weir.batch.validation", "deep"),
		Recompress:      recompress,
		Codec:           codec,
		MaxDecompressed: int(min(max(maxBytes, leastDecompressed)*ratioDecompressed, partition.DefaultMaxDecompressed)),
	}
}

// What a batch whose records are walked may decompress to: so many times the largest batch of the
// topic, which is taken for no less than leastDecompressed bytes.
const (
	leastDecompressed = 64 << 10
	ratioDecompressed = 64
)

// codec is the one that batches are stored under, and false where that is the producer's choice.
func (v topicValues) codec() (record.Codec, bool) {
	codec, err := record.ParseCodec(v.text("compression.type"))
	return codec, err == nil
}

// minISR is what the topic asks for, clamped to the one replica there is on
// internal topics: a default configuration must work on one node.
func (v topicValues) minISR(internal bool) int {
	if internal {
		return 1
	}
	return int(v.int("min.insync.replicas"))
}

// limitMillis is a limit in milliseconds; one beyond what a duration holds is none.
func limitMillis(n int64) time.Duration {
	if d := millis(n); d != 1<<63-1 {
		return d
	}
	return -1
}
