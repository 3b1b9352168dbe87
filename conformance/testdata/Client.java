import java.time.Duration;
import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

/** Kafka's own client: producers in every codec, groups of every assignor, seeks, and the administrator. */
public class Client {
    static final String TOPIC = "java";
    static final int PARTITIONS = 4, EACH = 400;
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static String broker;

    public static void main(String[] args) throws Exception {
        broker = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic(TOPIC, 2, (short) 1))).all().get(20, TimeUnit.SECONDS);
            admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(PARTITIONS))).all().get(20, TimeUnit.SECONDS);
            for (String codec : CODECS) produce(codec);
            for (String assignor : List.of("Range", "RoundRobin", "Sticky", "CooperativeSticky")) group(assignor);
            seek();
            administer(admin);
        }
        System.out.println("all is well");
    }

    static void check(boolean ok, Object what) {
        if (!ok) throw new AssertionError(String.valueOf(what));
    }

    static void produce(String codec) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", broker, "compression.type", codec, "acks", "all",
            "enable.idempotence", !codec.equals("none"));
        try (Producer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            var sent = new ArrayList<java.util.concurrent.Future<RecordMetadata>>();
            for (int i = 0; i < EACH; i++) {
                var record = new ProducerRecord<>(TOPIC, i % PARTITIONS, 1_700_000_000_000L + i, "k" + i, codec + i);
                record.headers().add("h", new byte[] {1});
                sent.add(producer.send(record));
            }
            for (var s : sent) check(s.get(20, TimeUnit.SECONDS).hasOffset(), codec);
        }
    }

    static Map<String, Object> consumer(String group, String assignor) {
        return Map.of("bootstrap.servers", broker, "group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", false, "heartbeat.interval.ms", 300,
            "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor + "Assignor");
    }

    static Consumer<String, String> open(String group, String assignor) {
        return new KafkaConsumer<>(consumer(group, assignor), new StringDeserializer(), new StringDeserializer());
    }

    /** Two members, polled in turn, share the partitions and commit all. */
    static void group(String assignor) {
        String group = "java-" + assignor;
        int want = EACH * CODECS.size();
        try (var one = open(group, assignor); var two = open(group, assignor)) {
            one.subscribe(List.of(TOPIC));
            two.subscribe(List.of(TOPIC));
            Set<String> seen = new HashSet<>();
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            // A rebalance without a commit begins anew, so all must stand at the end.
            while (seen.size() < want || one.assignment().size() != PARTITIONS / 2 || two.assignment().size() != PARTITIONS / 2
                    || position(one) + position(two) != want) {
                check(System.nanoTime() < end, assignor + " read " + seen.size() + ", has " + one.assignment() + " and " + two.assignment());
                for (var c : List.of(one, two)) {
                    for (var r : c.poll(Duration.ofMillis(50))) {
                        check(r.headers().lastHeader("h") != null, r);
                        seen.add(r.partition() + "@" + r.offset());
                    }
                }
            }
            one.commitSync(Duration.ofSeconds(10));
            two.commitSync(Duration.ofSeconds(10));
            Set<TopicPartition> all = new HashSet<>();
            for (int p = 0; p < PARTITIONS; p++) all.add(new TopicPartition(TOPIC, p));
            long committed = one.committed(all).values().stream().mapToLong(OffsetAndMetadata::offset).sum();
            check(committed == want, committed);
        }
    }

    static long position(Consumer<?, ?> c) {
        return c.assignment().stream().mapToLong(c::position).sum();
    }

    static void seek() {
        try (var c = open("java-seek", "Range")) {
            var p = new TopicPartition(TOPIC, 1);
            c.assign(List.of(p));
            c.seek(p, 10);
            check(c.poll(Duration.ofSeconds(10)).iterator().next().offset() == 10, "seek");
            var found = c.offsetsForTimes(Map.of(p, 1_700_000_000_005L)).get(p);
            check(found.offset() == 1 && found.timestamp() == 1_700_000_000_005L, found);
            check(c.endOffsets(List.of(p)).get(p) == EACH * CODECS.size() / PARTITIONS, "end");
            check(c.beginningOffsets(List.of(p)).get(p) == 0, "beginning");
        }
    }

    static void administer(Admin admin) throws Exception {
        var topic = admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC);
        check(topic.partitions().size() == PARTITIONS && topic.partitions().get(0).leader().id() == admin.describeCluster().controller().get().id(), topic);
        check(admin.listTopics().names().get().contains(TOPIC), "list");
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
        var set = new AlterConfigOp(new ConfigEntry("retention.ms", "-1"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
        check(admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value().equals("-1"), "config");
        var p0 = new TopicPartition(TOPIC, 0);
        check(admin.deleteRecords(Map.of(p0, RecordsToDelete.beforeOffset(7))).lowWatermarks().get(p0).get().lowWatermark() == 7, "delete records");
        check(admin.listOffsets(Map.of(p0, OffsetSpec.earliest())).partitionResult(p0).get().offset() == 7, "earliest");
        check(admin.listOffsets(Map.of(p0, OffsetSpec.maxTimestamp())).partitionResult(p0).get().offset() >= 7, "max timestamp");
        check(admin.describeLogDirs(List.of(admin.describeCluster().nodes().get().iterator().next().id())).allDescriptions().get().size() == 1, "log dirs");
        check(admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals("java-Range")), "groups");
        admin.alterConsumerGroupOffsets("java-Range", Map.of(p0, new OffsetAndMetadata(9))).all().get();
        check(admin.listConsumerGroupOffsets("java-Range").partitionsToOffsetAndMetadata().get().get(p0).offset() == 9, "offsets");
        admin.deleteConsumerGroupOffsets("java-Range", Set.of(p0)).all().get();
        admin.deleteConsumerGroups(List.of("java-Range")).all().get();
        admin.deleteTopics(List.of(TOPIC)).all().get();
        check(!admin.listTopics().names().get().contains(TOPIC), "deleted");
    }
}
