"""Produce in two codecs, read as a group that commits, ask for offsets by time and administer."""
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

broker = sys.argv[1]
topic = "confluent"
admin = AdminClient({"bootstrap.servers": broker})
admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(10)
admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)

failed = []
for codec in ("zstd", "lz4"):
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "compression.type": codec})
    for i in range(500):
        producer.produce(topic, key=f"k{i % 7}", value=f"{codec}-{i}", headers=[("h", b"1")],
                         on_delivery=lambda err, _: err and failed.append(err))
    assert producer.flush(20) == 0 and not failed, failed

for strategy in ("range", "cooperative-sticky"):
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "confluent-" + strategy, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "partition.assignment.strategy": strategy})
    consumer.subscribe([topic])
    seen = set()
    while len(seen) < 1000:
        message = consumer.poll(20)
        assert message is not None, f"{len(seen)} of 1000 read"
        if message.error():
            raise KafkaException(message.error())
        assert message.headers() == [("h", b"1")]
        seen.add(message.value())
    consumer.commit(asynchronous=False)
    parts = [TopicPartition(topic, p) for p in range(3)]
    assert sum(p.offset for p in consumer.committed(parts, 10)) == 1000
    assert all(p.offset == 0 for p in consumer.offsets_for_times([TopicPartition(topic, p, 0) for p in range(3)], 10))
    assert sum(consumer.get_watermark_offsets(p, 10)[1] for p in parts) == 1000
    consumer.close()

resource = ConfigResource("topic", topic)
assert "retention.ms" in admin.describe_configs([resource])[resource].result(10)
assert {g.id for g in admin.list_groups(timeout=10)} >= {"confluent-range", "confluent-cooperative-sticky"}
admin.delete_topics([topic])[topic].result(10)
assert topic not in admin.list_topics(timeout=10).topics
