package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// churn writes n records to a few keys of a compacted topic that it creates, with tombstones among
// them, in batches of every codec.
func churn(t *testing.T, addr, topic string, n int) {
	t.Helper()
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(codec))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			policy, segment := "compact", "1048576"
			_, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &policy, "segment.bytes": &segment}, topic)
			if err != nil {
				t.Fatal(err)
			}
		}
		for at := 0; at < n/5; at += 500 {
			var records []*kgo.Record
			for j := range 500 {
				r := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key %d", (at+j)%97)}
				if j%11 > 0 {
					r.Value = fmt.Appendf(nil, "%s %d %d", strings.Repeat("value", 40), i, at+j)
				}
				records = append(records, r)
			}
			if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		client.Close()
	}
}

// awaitCleaned waits until a broker has compacted something of a topic.
func awaitCleaned(t *testing.T, dir, topic string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		data, err := os.ReadFile(filepath.Join(dir, "cleaner-offset-checkpoint"))
		if err == nil && regexp.MustCompile(topic+` 0 [1-9]`).Match(data) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was compacted: %s, %v", data, err)
		}
	}
}

// verified has weir log verify look at a directory.
func verified(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), weirBin, "log", "verify", dir).CombinedOutput()
	if err != nil {
		t.Errorf("weir log verify: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestKafkaReadsOurCompactedFiles lets Kafka's DumpLogSegments walk what our cleaner has left.
func TestKafkaReadsOurCompactedFiles(t *testing.T) {
	libs := kafkaLibs(t)
	b := newBroker(t, "--set", "log.cleaner.backoff.ms=100", "--set", "log.index.interval.bytes=512")
	churn(t, b.addr, "churned", 50_000)
	awaitCleaned(t, b.dir, "churned")
	b.stop()
	verified(t, b.dir)
	files, err := filepath.Glob(filepath.Join(b.dir, "churned-0", "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var logs, indexes []string
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() > 0 {
			logs = append(logs, f)
			for _, suffix := range []string{"index", "timeindex"} {
				if name := strings.TrimSuffix(f, "log") + suffix; fileExists(name) {
					indexes = append(indexes, name)
				}
			}
		}
	}
	text := dumpHoles(t, libs, "--deep-iteration", "--files", strings.Join(append(logs, indexes...), ","))
	if n := strings.Count(text, "| offset: "); n == 0 || n > 45_000 { // the active segment keeps all
		t.Errorf("%d records are left of 50000", n)
	}
	if !strings.Contains(text, "deleteHorizonMs: OptionalLong[") {
		t.Error("no batch has a delete horizon")
	}
	dumpHoles(t, libs, "--index-sanity-check", "--files", strings.Join(indexes, ","))
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// dumpHoles is dump for compacted files, whose offsets do not follow one another.
func dumpHoles(t *testing.T, libs string, args ...string) string {
	t.Helper()
	java := append([]string{"-Xmx512m", "-cp", libs + "/*", "org.apache.kafka.tools.DumpLogSegments"}, args...)
	out, err := exec.CommandContext(t.Context(), "java", java...).CombinedOutput()
	if err != nil {
		t.Fatalf("DumpLogSegments: %v\n%s", err, out[max(0, len(out)-2000):])
	}
	trouble := regexp.MustCompile(`(?im)^.*(mismatch|isvalid: false|corrupt|exception|failed sanity|not found).*$`)
	if found := trouble.FindString(string(out)); found != "" {
		t.Errorf("DumpLogSegments says: %s", found)
	}
	return string(out)
}

// TestADirectoryOfKafkaVerifies has weir log verify read what Apache Kafka has written and
// compacted.
func TestADirectoryOfKafkaVerifies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	addr := newKafka(t, "log.dirs="+dir, "log.cleaner.backoff.ms=100")
	churn(t, addr, "churned", 50_000)
	awaitCleaned(t, dir, "churned")
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID("verified"), kgo.DefaultProduceTopic("churned"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 4 {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), kgo.KeyStringRecord("key", "value")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), kgo.TransactionEndTry(i%2 == 0)); err != nil {
			t.Fatal(err)
		}
	}
	verified(t, dir)
}
