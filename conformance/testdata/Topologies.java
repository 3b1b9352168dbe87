import java.time.Duration;
import java.util.*;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;

/** Four topologies on Kafka Streams: topology, broker, application id, state directory, guarantee. They run until they are ended. */
public class Topologies {
    static final Serde<String> TEXT = Serdes.String();
    static final Duration GRACE = Duration.ofDays(1);

    public static void main(String[] args) throws Exception {
        var config = new Properties();
        config.putAll(Map.of("bootstrap.servers", args[1], "application.id", args[2], "state.dir", args[3], "processing.guarantee", args[4],
            "commit.interval.ms", 100, "auto.offset.reset", "earliest", "default.key.serde", TEXT.getClass(), "default.value.serde", TEXT.getClass()));
        var builder = new StreamsBuilder();
        KStream<String, String> out = switch (args[0]) {
            case "words" -> builder.<String, String>stream("words-in").flatMapValues(v -> List.of(v.split(" ")))
                .groupBy((k, word) -> word).count().toStream().mapValues(String::valueOf);
            case "views" -> builder.<String, String>stream("views-in").groupByKey()
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), GRACE))
                .aggregate(() -> "0;", (page, visitor, seen) -> view(visitor, seen))
                .toStream((w, v) -> w.key() + "@" + w.window().start())
                .mapValues(v -> v.split(";")[0] + " views by " + (v.split(";").length - 1));
            case "join" -> builder.<String, String>stream("join-left").join(builder.<String, String>stream("join-right"),
                (l, r) -> l + "+" + r, JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(5), GRACE));
            case "sessions" -> builder.<String, String>stream("sessions-in").groupByKey()
                .windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofSeconds(10), Duration.ofMinutes(1))).count(Materialized.with(TEXT, Serdes.Long()))
                .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
                .toStream((w, v) -> w.key() + "@" + w.window().start() + "-" + w.window().end()).mapValues(String::valueOf);
            default -> throw new IllegalArgumentException(args[0]);
        };
        out.to(args[2] + "-out", Produced.with(TEXT, TEXT));
        var app = new KafkaStreams(builder.build(), config);
        var failed = new CountDownLatch(1);
        app.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            failed.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> app.close(Duration.ofSeconds(20))));
        app.start();
        failed.await();
        System.exit(1);
    }

    /** One more view: the count, then everyone seen. */
    static String view(String visitor, String seen) {
        var parts = new ArrayList<>(List.of(seen.split(";")));
        parts.set(0, String.valueOf(Integer.parseInt(parts.get(0)) + 1));
        if (!parts.subList(1, parts.size()).contains(visitor)) parts.add(visitor);
        return String.join(";", parts) + ";";
    }
}
