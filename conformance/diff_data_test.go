package conformance

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// same is a request that is the same for both sides.
func same(req kmsg.Request) func(*side) kmsg.Request {
	return func(*side) kmsg.Request { return req }
}

// sentAt is the time of the first record of every batch.
const sentAt = 1_700_000_000_000

// batchOf is a record batch of n records; change sees it before its CRC is set.
func batchOf(n int, change func(b *kmsg.RecordBatch)) []byte {
	b := kmsg.RecordBatch{Magic: 2, PartitionLeaderEpoch: -1, FirstTimestamp: sentAt, MaxTimestamp: sentAt + int64(n-1), ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, LastOffsetDelta: int32(n - 1), NumRecords: int32(n)}
	for i := range n {
		r := kmsg.Record{TimestampDelta64: int64(i), OffsetDelta: int32(i), Key: []byte("k"), Value: fmt.Appendf(nil, "v%d", i)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a record of less than 64 bytes has a length of one byte
		b.Records = append(b.Records, r.AppendTo(nil)...)
	}
	if change != nil {
		change(&b)
	}
	b.Length = int32(49 + len(b.Records))
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

func produceOf(s *side, acks int16, topic string, records ...[]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, s.ids[topic]
	for p, bytes := range records {
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = int32(p), bytes
		t.Partitions = append(t.Partitions, part)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func diffProduce(d *duel) {
	d.topic("produce", 2)
	d.topic("produce-compact", 1, "cleanup.policy", "compact")
	d.topic("produce-append-time", 1, "message.timestamp.type", "LogAppendTime")
	d.topic("produce-small", 1, "max.message.bytes", "200")
	good := batchOf(3, nil)
	tampered := func(at int, to byte) []byte {
		b := append([]byte(nil), good...)
		b[at] ^= to
		return b
	}
	batches := []struct {
		name  string
		bytes []byte
	}{
		{"good", good},
		{"no records", []byte{}},
		{"bad crc", tampered(20, 1)},
		{"magic 1", tampered(16, 3)},
		{"magic 3", tampered(16, 1)},
		{"cut", good[:len(good)-1]},
		{"header only", good[:40]},
		{"two batches", append(append([]byte(nil), good...), good...)},
		{"trailing garbage", append(append([]byte(nil), good...), 1, 2, 3)},
		{"length too small", tampered(11, 0x40)},
		{"fewer records than counted", batchOf(3, func(b *kmsg.RecordBatch) { b.NumRecords = 4; b.LastOffsetDelta = 3 })},
		{"zero records", batchOf(1, func(b *kmsg.RecordBatch) { b.NumRecords, b.Records = 0, nil })},
		{"count and delta differ", batchOf(3, func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 9 })},
		{"base offset not zero", batchOf(3, func(b *kmsg.RecordBatch) { b.FirstOffset = 77 })},
		{"control batch", batchOf(1, func(b *kmsg.RecordBatch) { b.Attributes = 1 << 5 })},
		{"transactional without id", batchOf(1, func(b *kmsg.RecordBatch) { b.Attributes = 1 << 4 })},
		{"codec 7", batchOf(1, func(b *kmsg.RecordBatch) { b.Attributes = 7 })},
		{"append time attribute", batchOf(1, func(b *kmsg.RecordBatch) { b.Attributes = 1 << 3 })},
		{"sequence without id", batchOf(1, func(b *kmsg.RecordBatch) { b.FirstSequence = 5 })},
	}
	d.each(kmsg.Produce, func(v int16) {
		for _, b := range batches {
			d.do(b.name, v, func(s *side) kmsg.Request { return produceOf(s, -1, "produce", b.bytes) })
		}
		for _, acks := range []int16{0, 1, 2, -2} {
			d.do(fmt.Sprintf("acks %d", acks), v, func(s *side) kmsg.Request { return produceOf(s, acks, "produce", good) })
		}
		d.do("two partitions and one that is not", v, func(s *side) kmsg.Request { return produceOf(s, -1, "produce", good, good, good) })
		d.do("partition -1", v, func(s *side) kmsg.Request {
			req := produceOf(s, -1, "produce", good)
			req.Topics[0].Partitions[0].Partition = -1
			return req
		})
		d.do("unknown topic", v, func(s *side) kmsg.Request { return produceOf(s, -1, "nowhere", good) })
		d.do("bad topic name", v, func(s *side) kmsg.Request { return produceOf(s, -1, "a/b", good) })
		d.do("no topics", v, same(&kmsg.ProduceRequest{Acks: -1, TimeoutMillis: 1000}))
		d.do("no partitions", v, func(s *side) kmsg.Request { return produceOf(s, -1, "produce") })
		d.do("append time", v, func(s *side) kmsg.Request { return produceOf(s, -1, "produce-append-time", good) })
		d.do("key needed", v, func(s *side) kmsg.Request {
			return produceOf(s, -1, "produce-compact", batchOf(1, func(b *kmsg.RecordBatch) {
				r := kmsg.Record{Value: []byte("x")}
				r.Length = int32(len(r.AppendTo(nil)) - 1)
				b.Records = r.AppendTo(nil)
			}))
		})
		d.do("too large for the topic", v, func(s *side) kmsg.Request { return produceOf(s, -1, "produce-small", batchOf(40, nil)) })
	})
	// Kafka answers null records with nothing at all, so they are sent once.
	d.do("null records", d.last(kmsg.Produce), func(s *side) kmsg.Request { return produceOf(s, -1, "produce", nil) })
	diffIdempotent(d)
}

func diffIdempotent(d *duel) {
	d.topic("idempotent", 1)
	initID := func(s *side) kmsg.Request {
		r := kmsg.NewPtrInitProducerIDRequest()
		r.TransactionTimeoutMillis = 1000
		return r
	}
	waitFor(d.t, "Kafka to hand out producer ids", func() bool {
		resp, ok := d.kafka.send(initID(d.kafka)).(*kmsg.InitProducerIDResponse)
		return ok && resp.ErrorCode == 0
	})
	d.each(kmsg.InitProducerID, func(v int16) {
		k, w := d.do("idempotent", v, initID)
		both(d, k, w, func(s *side, r *kmsg.InitProducerIDResponse) { s.number["pid"] = r.ProducerID })
		d.do("an id of one's own", v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrInitProducerIDRequest()
			r.TransactionTimeoutMillis, r.ProducerID, r.ProducerEpoch = 1000, s.number["pid"], 0
			return r
		})
		d.do("empty transactional id", v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrInitProducerIDRequest()
			r.TransactionalID, r.TransactionTimeoutMillis = new(""), 1000
			return r
		})
		d.do("timeout zero", v, same(kmsg.NewPtrInitProducerIDRequest()))
		seq := func(what string, epoch int16, first int32, n int) {
			d.do(what, d.clip(kmsg.Produce, v*2+3), func(s *side) kmsg.Request {
				return produceOf(s, -1, "idempotent", batchOf(n, func(b *kmsg.RecordBatch) {
					b.ProducerID, b.ProducerEpoch, b.FirstSequence = s.number["pid"], epoch, first
				}))
			})
		}
		seq("first sequence 0", 0, 0, 3)
		seq("duplicate", 0, 0, 3)
		seq("next", 0, 3, 2)
		seq("gap", 0, 9, 1)
		seq("duplicate of the one before", 0, 0, 3)
		seq("overlap", 0, 4, 3)
		for i := range int32(5) {
			seq("on", 0, 5+i, 1)
		}
		seq("duplicate out of the window", 0, 0, 3)
		seq("new epoch in the middle", 1, 4, 1)
		seq("new epoch", 1, 0, 1)
		seq("old epoch", 0, 10, 1)
		seq("epoch -1", -1, 0, 1)
		d.do("unknown id in the middle", d.clip(kmsg.Produce, v*2+3), func(s *side) kmsg.Request {
			return produceOf(s, -1, "idempotent", batchOf(1, func(b *kmsg.RecordBatch) {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence = s.number["pid"]+500_000+int64(v), 0, 5
			}))
		})
	})
}

type fetched struct {
	topic     string
	partition int32
	offset    int64
	max       int32
	epoch     int32
}

func fetchOf(s *side, session, epoch int32, parts ...fetched) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionID, req.SessionEpoch = 0, 1, 1<<20, session, epoch
	for _, p := range parts {
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = p.topic, s.ids[p.topic]
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = p.partition, p.offset, p.max, p.epoch
		t.Partitions = append(t.Partitions, part)
		req.Topics = append(req.Topics, t)
	}
	return req
}

func diffFetch(d *duel) {
	d.topic("fetch", 2)
	d.topic("fetch-trimmed", 1)
	d.topic("fetch-empty", 1)
	d.topic("fetch-zstd", 1, "compression.type", "zstd")
	for range 3 {
		d.do("fill", 9, func(s *side) kmsg.Request { return produceOf(s, -1, "fetch", batchOf(10, nil), batchOf(2, nil)) })
		d.do("fill", 9, func(s *side) kmsg.Request { return produceOf(s, -1, "fetch-trimmed", batchOf(10, nil)) })
	}
	d.do("trim", 2, same(deleteRecordsOf("fetch-trimmed", 0, 12)))
	all := int32(1 << 20)
	once := []struct {
		name  string
		parts []fetched
		with  func(r *kmsg.FetchRequest)
	}{
		{"start", []fetched{{"fetch", 0, 0, all, -1}}, nil},
		{"two partitions", []fetched{{"fetch", 0, 0, all, -1}, {"fetch", 1, 0, all, -1}}, nil},
		{"the middle of a batch", []fetched{{"fetch", 0, 14, all, -1}}, nil},
		{"end", []fetched{{"fetch", 0, 30, all, -1}}, nil},
		{"past the end", []fetched{{"fetch", 0, 31, all, -1}}, nil},
		{"offset -1", []fetched{{"fetch", 0, -1, all, -1}}, nil},
		{"before the start", []fetched{{"fetch-trimmed", 0, 11, all, -1}}, nil},
		{"trimmed start", []fetched{{"fetch-trimmed", 0, 12, all, -1}}, nil},
		{"empty", []fetched{{"fetch-empty", 0, 0, all, -1}}, nil},
		{"a topic of zstd", []fetched{{"fetch-zstd", 0, 0, all, -1}}, nil},
		{"unknown topic", []fetched{{"nowhere", 0, 0, all, -1}, {"fetch", 0, 0, all, -1}}, nil},
		{"unknown partition", []fetched{{"fetch", 9, 0, all, -1}}, nil},
		{"one byte", []fetched{{"fetch", 0, 0, 1, -1}, {"fetch", 1, 0, 1, -1}}, nil},
		{"one batch of partition bytes", []fetched{{"fetch", 0, 0, 250, -1}}, nil},
		{"zero bytes", []fetched{{"fetch", 0, 0, 0, -1}}, nil},
		{"max bytes 1", []fetched{{"fetch", 0, 0, all, -1}, {"fetch", 1, 0, all, -1}}, func(r *kmsg.FetchRequest) { r.MaxBytes = 1 }},
		{"max bytes 0", []fetched{{"fetch", 0, 0, all, -1}}, func(r *kmsg.FetchRequest) { r.MaxBytes = 0 }},
		{"leader epoch 0", []fetched{{"fetch", 0, 0, all, 0}}, nil},
		{"leader epoch 9", []fetched{{"fetch", 0, 0, all, 9}}, nil},
		{"read committed", []fetched{{"fetch", 0, 0, all, -1}}, func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 }},
		{"rack", []fetched{{"fetch", 0, 0, all, -1}}, func(r *kmsg.FetchRequest) { r.Rack = "r" }},
		{"nothing", nil, nil},
		{"a short wait", []fetched{{"fetch", 0, 30, all, -1}}, func(r *kmsg.FetchRequest) { r.MaxWaitMillis = 20 }},
		{"a duplicate of a partition", []fetched{{"fetch", 0, 0, all, -1}, {"fetch", 0, 10, all, -1}}, nil},
	}
	d.each(kmsg.Fetch, func(v int16) {
		for _, c := range once {
			d.do(c.name, v, func(s *side) kmsg.Request {
				r := fetchOf(s, 0, -1, c.parts...)
				if c.with != nil {
					c.with(r)
				}
				return r
			})
		}
		session := func(what string, epoch int32, with func(s *side, r *kmsg.FetchRequest), parts ...fetched) {
			k, w := d.do("session: "+what, v, func(s *side) kmsg.Request {
				r := fetchOf(s, int32(s.number["session"]), epoch, parts...)
				if with != nil {
					with(s, r)
				}
				return r
			})
			both(d, k, w, func(s *side, r *kmsg.FetchResponse) {
				if epoch == 0 {
					s.number["session"] = int64(r.SessionID)
				}
			})
		}
		d.kafka.number["session"], d.weir.number["session"] = 0, 0
		session("open", 0, nil, fetched{"fetch", 0, 0, all, -1}, fetched{"fetch", 1, 6, all, -1})
		if v >= 7 {
			session("nothing new but offset", 1, nil, fetched{"fetch", 0, 30, all, -1})
			session("nothing new", 2, nil)
			session("epoch wrong", 7, nil)
			session("more partitions", 3, nil, fetched{"fetch-empty", 0, 0, all, -1}, fetched{"nowhere", 0, 0, all, -1})
			session("the same again", 4, nil)
			session("forget", 5, func(s *side, r *kmsg.FetchRequest) {
				f := kmsg.NewFetchRequestForgottenTopic()
				f.Topic, f.TopicID, f.Partitions = "fetch", s.ids["fetch"], []int32{0}
				r.ForgottenTopics = append(r.ForgottenTopics, f)
			}, fetched{"fetch", 1, 0, all, -1})
			session("unknown id", 1, func(_ *side, r *kmsg.FetchRequest) { r.SessionID = 1 })
			session("new without partitions", 0, func(_ *side, r *kmsg.FetchRequest) { r.SessionID = 0 })
			session("close", -1, nil)
		}
	})
}

func deleteRecordsOf(topic string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// listOffsetsOf asks for the offset of a time in a partition.
func listOffsetsOf(topic string, partition int32, timestamp int64, epoch int32, isolation int8) func(*side) kmsg.Request {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, epoch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return same(req)
}

func diffOffsets(d *duel) {
	d.topic("offsets", 2)
	d.do("fill", 9, func(s *side) kmsg.Request { return produceOf(s, -1, "offsets", batchOf(10, nil)) })
	d.each(kmsg.ListOffsets, func(v int16) {
		for _, at := range []int64{-1, -2, -3, -4, -5, -6, -7, 0, sentAt, sentAt + 4, sentAt + 9, sentAt + 10} {
			for p := range int32(3) {
				d.do(fmt.Sprintf("time %d of partition %d", at, p), v, listOffsetsOf("offsets", p, at, -1, 0))
			}
		}
		d.do("read committed", v, listOffsetsOf("offsets", 0, -1, -1, 1))
		d.do("unknown topic", v, listOffsetsOf("nowhere", 0, -1, -1, 0))
		d.do("bad name", v, listOffsetsOf("a/b", 0, -1, -1, 0))
		d.do("negative partition", v, listOffsetsOf("offsets", -1, -1, -1, 0))
		d.do("leader epoch 0", v, listOffsetsOf("offsets", 0, -1, 0, 0))
		d.do("leader epoch 9", v, listOffsetsOf("offsets", 0, -1, 9, 0))
		d.do("nothing", v, same(&kmsg.ListOffsetsRequest{ReplicaID: -1}))
		d.do("a duplicate of a partition", v, func(s *side) kmsg.Request {
			req, ok := listOffsetsOf("offsets", 0, -1, -1, 0)(s).(*kmsg.ListOffsetsRequest)
			if ok {
				again := req.Topics[0].Partitions[0]
				again.Timestamp = -2
				req.Topics[0].Partitions = append(req.Topics[0].Partitions, again)
			}
			return req
		})
	})
	epochs := func(topic string, partition, current, wanted int32) func(*side) kmsg.Request {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.ReplicaID = -1
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = topic
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, current, wanted
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		return same(req)
	}
	d.each(kmsg.OffsetForLeaderEpoch, func(v int16) {
		for _, wanted := range []int32{-1, 0, 1, 99} {
			d.do(fmt.Sprintf("epoch %d", wanted), v, epochs("offsets", 0, -1, wanted))
			d.do(fmt.Sprintf("epoch %d of an empty partition", wanted), v, epochs("offsets", 1, -1, wanted))
		}
		d.do("current 0", v, epochs("offsets", 0, 0, 0))
		d.do("current 9", v, epochs("offsets", 0, 9, 0))
		d.do("unknown topic", v, epochs("nowhere", 0, -1, 0))
		d.do("unknown partition", v, epochs("offsets", 7, -1, 0))
		d.do("nothing", v, same(&kmsg.OffsetForLeaderEpochRequest{ReplicaID: -1}))
	})
	d.each(kmsg.DeleteRecords, func(v int16) {
		name := fmt.Sprintf("delete-records-%d", v)
		d.topic(name, 1)
		d.do("fill", 9, func(s *side) kmsg.Request { return produceOf(s, -1, name, batchOf(10, nil)) })
		for _, to := range []int64{0, 4, 2, 11, -1, -2, 10} {
			d.do(fmt.Sprintf("to %d", to), v, same(deleteRecordsOf(name, 0, to)))
		}
		d.do("unknown topic", v, same(deleteRecordsOf("nowhere", 0, 0)))
		d.do("unknown partition", v, same(deleteRecordsOf(name, 5, 0)))
		d.do("nothing", v, same(&kmsg.DeleteRecordsRequest{TimeoutMillis: 1000}))
	})
}
