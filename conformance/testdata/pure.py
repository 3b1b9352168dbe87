"""kafka-python: produce in two codecs, read as a group, and administer."""
import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

broker = sys.argv[1]
topic = "pure"
admin = KafkaAdminClient(bootstrap_servers=broker)
admin.create_topics([NewTopic(topic, 2, 1)])
for codec in (None, "gzip"):
    producer = KafkaProducer(bootstrap_servers=broker, compression_type=codec, acks="all")
    sent = [producer.send(topic, key=b"k%d" % (i % 7), value=b"%d" % i) for i in range(500)]
    producer.flush(20)
    assert all(s.succeeded() for s in sent)
    producer.close()
consumer = KafkaConsumer(topic, bootstrap_servers=broker, group_id="pure", auto_offset_reset="earliest",
                         enable_auto_commit=False, consumer_timeout_ms=15000)
seen = 0
for _ in consumer:
    seen += 1
    if seen == 1000:
        break
assert seen == 1000, seen
consumer.commit()
parts = [TopicPartition(topic, p) for p in range(2)]
assert sum(consumer.committed(p) for p in parts) == 1000
assert sum(consumer.end_offsets(parts).values()) == 1000
assert all(o.offset == 0 for o in consumer.offsets_for_times({p: 0 for p in parts}).values())
consumer.close()
assert "pure" in [g[0] for g in admin.list_consumer_groups()]
admin.delete_topics([topic])
