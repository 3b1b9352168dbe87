import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** Kafka's own transactional producer: commits, aborts, consumer offsets, fencing, and what the administrator sees. */
public class Txn {
    static final String IN = "txn-in", OUT = "txn-out", GROUP = "txn-group";
    static final int RECORDS = 1000, EACH = 50;
    static String broker;

    public static void main(String[] args) throws Exception {
        broker = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic(IN, 3, (short) 1), new NewTopic(OUT, 3, (short) 1))).all().get();
            aborts();
            transform(admin);
            fences();
            administer(admin);
        }
        System.out.println("all is well");
    }

    static void check(boolean ok, Object what) {
        if (!ok) throw new AssertionError(String.valueOf(what));
    }

    static Producer<String, String> producer(String id) {
        var p = new KafkaProducer<>(Map.of("bootstrap.servers", broker, "transactional.id", id, "linger.ms", 1), new StringSerializer(), new StringSerializer());
        p.initTransactions();
        return p;
    }

    static Consumer<String, String> consumer(String group, String isolation) {
        return new KafkaConsumer<>(Map.of("bootstrap.servers", broker, "group.id", group, "auto.offset.reset", "earliest",
            "enable.auto.commit", false, "isolation.level", isolation), new StringDeserializer(), new StringDeserializer());
    }

    /** Every second transaction is aborted: a reader of committed data sees the others whole and in order. */
    static void aborts() {
        try (var p = producer("txn-aborts")) {
            for (int i = 0; i < RECORDS; ) {
                boolean commit = i / EACH % 2 == 0;
                p.beginTransaction();
                for (int j = 0; j < EACH; j++, i++) p.send(new ProducerRecord<>(IN, "k" + i % 7, (commit ? "" : "aborted-") + i));
                p.flush(); // else an abort drops what was not sent
                if (commit) p.commitTransaction();
                else p.abortTransaction();
            }
        }
        check(read(IN, "read_committed").size() == RECORDS / 2, "committed");
        check(read(IN, "read_committed").stream().noneMatch(v -> v.startsWith("aborted")), "an aborted record is visible");
        check(read(IN, "read_uncommitted").size() == RECORDS, "uncommitted");
    }

    static List<String> read(String topic, String isolation) {
        var values = new ArrayList<String>();
        try (var c = consumer("reader-" + UUID.randomUUID(), isolation)) {
            var parts = c.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            c.assign(parts);
            c.seekToBeginning(parts);
            var ends = c.endOffsets(parts);
            while (parts.stream().anyMatch(p -> c.position(p) < ends.get(p))) c.poll(Duration.ofMillis(200)).forEach(r -> values.add(r.value()));
        }
        return values;
    }

    /** Consume, transform, produce: the offsets are part of each transaction, and one in five is aborted and done again. */
    static void transform(Admin admin) throws Exception {
        try (var p = producer("txn-transform"); var c = consumer(GROUP, "read_committed")) {
            c.subscribe(List.of(IN));
            int done = 0, round = 0;
            while (done < RECORDS / 2) {
                var records = c.poll(Duration.ofMillis(500));
                if (records.isEmpty()) continue;
                p.beginTransaction();
                var offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
                for (var r : records) {
                    p.send(new ProducerRecord<>(OUT, r.key(), r.value() + "!"));
                    offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
                p.sendOffsetsToTransaction(offsets, c.groupMetadata());
                if (++round % 5 == 1) {
                    p.abortTransaction();
                    var committed = c.committed(c.assignment());
                    for (var tp : c.assignment()) c.seek(tp, committed.get(tp) == null ? 0 : committed.get(tp).offset());
                    continue;
                }
                p.commitTransaction();
                done += records.count();
            }
        }
        var out = read(OUT, "read_committed");
        check(out.size() == RECORDS / 2 && new HashSet<>(out).size() == out.size(), "transformed " + out.size());
        long total = 0;
        for (var o : admin.listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata().get().values()) total += o.offset();
        check(total >= RECORDS, "offsets committed by transactions: " + total);
    }

    /** A second producer of one id fences the first. */
    static void fences() {
        var first = producer("txn-fenced");
        first.beginTransaction();
        first.send(new ProducerRecord<>(OUT, "zombie", "zombie"));
        first.flush();
        try (var second = producer("txn-fenced")) {
            second.beginTransaction();
            second.send(new ProducerRecord<>(OUT, "alive", "alive"));
            second.commitTransaction();
        }
        try {
            first.commitTransaction();
            throw new AssertionError("a fenced producer commits");
        } catch (ProducerFencedException | InvalidProducerEpochException e) {
            first.close(Duration.ZERO);
        }
        var out = read(OUT, "read_committed");
        check(out.contains("alive") && !out.contains("zombie"), "fencing: " + out.size());
    }

    /** An open transaction is seen, and ended by force. */
    static void administer(Admin admin) throws Exception {
        var p = producer("txn-hangs");
        p.beginTransaction();
        var at = p.send(new ProducerRecord<>(OUT, 0, "k", "hangs")).get();
        var tp = new TopicPartition(at.topic(), at.partition());
        var states = new HashMap<String, TransactionState>();
        for (var l : admin.listTransactions().all().get()) states.put(l.transactionalId(), l.state());
        check(states.get("txn-hangs") == TransactionState.ONGOING && states.get("txn-aborts") == TransactionState.COMPLETE_ABORT, states);
        var described = admin.describeTransactions(List.of("txn-hangs")).description("txn-hangs").get();
        check(described.topicPartitions().equals(Set.of(tp)), described);
        var open = admin.describeProducers(List.of(tp)).partitionResult(tp).get().activeProducers().stream()
            .filter(s -> s.currentTransactionStartOffset().isPresent()).toList();
        check(open.size() == 1 && open.get(0).producerId() == described.producerId(), open);
        admin.abortTransaction(new AbortTransactionSpec(tp, open.get(0).producerId(), (short) open.get(0).producerEpoch(), open.get(0).coordinatorEpoch().orElse(0))).all().get();
        check(!read(OUT, "read_committed").contains("hangs"), "a transaction that was ended by force is visible");
        admin.fenceProducers(List.of("txn-hangs")).all().get();
        try {
            p.commitTransaction();
            throw new AssertionError("a fenced producer commits");
        } catch (KafkaException e) {
            p.close(Duration.ZERO);
        }
    }
}
