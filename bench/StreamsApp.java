import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/** One of the measured topologies on Kafka Streams: topology, guarantee, broker, application id, state directory. */
public class StreamsApp {
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[2]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args[1]);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 10 << 20);
        config.put("auto.offset.reset", "earliest");

        Serde<String> text = Serdes.String();
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> in = builder.stream("bench-in", Consumed.with(text, text));
        String out = args[3] + "-out";
        switch (args[0]) {
            case "map" -> in.filter((k, v) -> !v.isEmpty()).mapValues(v -> v + "!").to(out, Produced.with(text, text));
            case "count" -> in.groupByKey(Grouped.with(text, text)).count().toStream().to(out, Produced.with(text, Serdes.Long()));
            case "window" -> in.groupBy((k, v) -> v.substring(0, 6), Grouped.with(text, text))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofHours(2))).count().toStream()
                .to(out, Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, 60_000), Serdes.Long()));
            default -> throw new IllegalArgumentException("no topology " + args[0]);
        }
        KafkaStreams app = new KafkaStreams(builder.build(), config);
        CountDownLatch stopped = new CountDownLatch(1);
        app.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            stopped.countDown();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> app.close(Duration.ofSeconds(10))));
        app.start();
        stopped.await();
        System.exit(1);
    }
}
