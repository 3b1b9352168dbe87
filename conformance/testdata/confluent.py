"""Produce in two codecs, read as a group that commits, ask for offsets by time, use transactions and administer."""
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



def transactional():
    producer = Producer({"bootstrap.servers": broker, "transactional.id": "confluent"})
    producer.init_transactions(20)
    producer.begin_transaction()
    return producer


# a copy in transactions: every second is aborted and done again, then one instance takes over from another
consumer = Consumer({"bootstrap.servers": broker, "group.id": "confluent-copy", "enable.auto.commit": False})
parts = [TopicPartition(topic, p, 0) for p in range(3)]
consumer.assign(parts)
for i in range(6):
    if i == 0:
        producer = transactional()
    else:
        producer.begin_transaction()
    producer.produce(topic, value=f"{'aborted' if i % 2 else 'copied'}-{i}", partition=0)
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, i + 1)], consumer.consumer_group_metadata(), 20)
    producer.flush(20)
    if i % 2:
        producer.abort_transaction(20)
    else:
        producer.commit_transaction(20)
producer.begin_transaction()
producer.produce(topic, value="fenced", partition=0)
producer.flush(20)
successor = transactional()
try:
    producer.commit_transaction(20)
    raise AssertionError("a fenced producer commits")
except KafkaException as e:
    assert e.args[0].fatal(), e
successor.produce(topic, value="copied-6", partition=0)
successor.commit_transaction(20)
copied = []
while len(copied) < 4:
    message = consumer.poll(20)
    assert message is not None and not message.error(), (copied, message)
    assert not message.value().startswith((b"aborted", b"fenced")), message.value()
    if message.value().startswith(b"copied"):
        copied.append(message.value())
assert copied == [b"copied-0", b"copied-2", b"copied-4", b"copied-6"], copied
assert consumer.committed(parts[:1], 20)[0].offset == 5
consumer.close()

resource = ConfigResource("topic", topic)
assert "retention.ms" in admin.describe_configs([resource])[resource].result(10)
assert {g.id for g in admin.list_groups(timeout=10)} >= {"confluent-range", "confluent-cooperative-sticky"}
admin.delete_topics([topic])[topic].result(10)
assert topic not in admin.list_topics(timeout=10).topics
