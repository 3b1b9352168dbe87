package conformance

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func eachLine(r io.Reader, f func(line string)) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f(lines.Text())
	}
}

// TestKafkaReadsOurFiles lets Kafka's DumpLogSegments walk every segment, index
// and group record of a data directory. Its exit code says nothing; its words do.
func TestKafkaReadsOurFiles(t *testing.T) {
	onCard(t, "Kafka's DumpLogSegments", does("walks our segments, indexes and `__consumer_offsets`"))
	libs := kafkaLibs(t)
	b := newBroker(t, "--set", "log.segment.bytes=262144", "--set", "log.index.interval.bytes=512")
	b.createTopic("clients", 2)
	for i, codec := range codecs() {
		franz().produce(t, b, "clients", codec, i*20_000, (i+1)*20_000)
	}
	group := b.client(kgo.ConsumerGroup("dumped"), kgo.ConsumeTopics("clients"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	for read := 0; read < 100_000; {
		fetches := group.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		read += fetches.NumRecords()
	}
	if err := group.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	group.Close()
	b.stop()

	files, err := filepath.Glob(filepath.Join(b.dir, "*-*", "*.log"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d segments: %v", len(files), err)
	}
	var data, offsets []string
	records := 0
	for _, f := range files {
		switch info, err := os.Stat(f); {
		case err != nil:
			t.Fatal(err)
		case info.Size() == 0:
		case strings.Contains(f, "__consumer_offsets"):
			offsets = append(offsets, f)
		case strings.Contains(f, "clients-"):
			data = append(data, f, strings.TrimSuffix(f, "log")+"index", strings.TrimSuffix(f, "log")+"timeindex")
		}
	}
	text := dump(t, libs, "--deep-iteration", "--files", strings.Join(data, ","))
	records = strings.Count(text, "| offset: ")
	if records != 100_000 {
		t.Errorf("the dump shows %d records, want 100000", records)
	}
	indexes := make([]string, 0, len(data))
	for _, f := range data {
		if !strings.HasSuffix(f, ".log") {
			indexes = append(indexes, f)
		}
	}
	dump(t, libs, "--index-sanity-check", "--files", strings.Join(indexes, ","))
	text = dump(t, libs, "--offsets-decoder", "--deep-iteration", "--files", strings.Join(offsets, ","))
	for _, want := range []string{`"group":"dumped"`, `"topic":"clients"`, `"protocolType":"consumer"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the dump of __consumer_offsets lacks %s", want)
		}
	}
	t.Logf("%d segments, %d records, %d index files, %d files of __consumer_offsets", len(data)/3, records, len(indexes), len(offsets))
}

// dump runs the tool and fails on every word of trouble.
func dump(t *testing.T, libs string, args ...string) string {
	t.Helper()
	java := append([]string{"-Xmx512m", "-cp", libs + "/*", "org.apache.kafka.tools.DumpLogSegments"}, args...)
	out, err := exec.CommandContext(t.Context(), "java", java...).CombinedOutput()
	if err != nil {
		t.Fatalf("DumpLogSegments: %v\n%s", err, out[max(0, len(out)-4000):]) // what ends it stands last
	}
	// The tool calls the first offset of every later segment non-consecutive to -1, on Kafka's own files too.
	out = regexp.MustCompile(`Non-consecutive offsets in \S+\n  -1 is followed by \d+\n`).ReplaceAll(out, nil)
	trouble := regexp.MustCompile(`(?im)^.*(mismatch|isvalid: false|corrupt|exception|non-consecutive|failed sanity|not found).*$`)
	if found := trouble.FindString(string(out)); found != "" {
		t.Errorf("DumpLogSegments says: %s", found)
	}
	return string(out)
}
