package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runTool runs a program with a bound on its time and returns what it prints.
func runTool(t *testing.T, stdin, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Dir, cmd.WaitDelay = strings.NewReader(stdin), dir, 5*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestPython runs Debian's two Python clients: librdkafka's, and the one in Python.
func TestPython(t *testing.T) {
	const python = "/usr/bin/python3"
	for module, c := range map[string]struct{ script, did string }{
		"confluent_kafka": {"confluent.py", "idempotent and compressed produce, groups, offsets, transactions, administration"},
		"kafka":           {"pure.py", "compressed produce, groups, offsets, administration"},
	} {
		t.Run(module, func(t *testing.T) {
			onCard(t, "Python: "+module, does(c.did))
			if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
				t.Skipf("the Python module %s is not installed", module)
			}
			runTool(t, "", "", python, filepath.Join("testdata", c.script), newBroker(t).addr)
		})
	}
}

// TestKafkaJS installs kafkajs in a folder of its own, as a user would.
func TestKafkaJS(t *testing.T) {
	onCard(t, "kafkajs 2.2.4", does("idempotent produce, gzip, a group, transactions, administration"))
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "kafkajs@2.2.4")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("npm does not serve kafkajs here: %v\n%.300s", err, out)
	}
	script, err := os.ReadFile("testdata/kafkajs.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kafkajs.js"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	runTool(t, "", dir, "node", "kafkajs.js", newBroker(t).addr)
}

// TestJavaClient runs Kafka's own client.
func TestJavaClient(t *testing.T) {
	onCard(t, "Java client 4.3.1", does("five codecs, idempotent, four assignors, seek, offsets by time, AdminClient"))
	libs := kafkaLibs(t)
	out := runTool(t, "", "", "java", "-Xmx512m", "-cp", libs+"/*", "testdata/Client.java", newBroker(t).addr)
	if !strings.Contains(out, "all is well") {
		t.Error(out)
	}
}

// TestKafkaTools runs Kafka's command line tools for what a broker of ours has.
func TestKafkaTools(t *testing.T) {
	onCard(t, "Kafka's command line tools", does("topics, configs, console producer and consumer, consumer groups, offsets, delete records, log dirs, API versions"))
	libs, b := kafkaLibs(t), newBroker(t)
	dir := t.TempDir()
	tool := func(stdin, class string, args ...string) string {
		t.Helper()
		java := []string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", libs + "/*", class, "--bootstrap-server", b.addr}
		return runTool(t, stdin, dir, "java", append(java, args...)...)
	}
	want := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
	const topics, groups = "org.apache.kafka.tools.TopicCommand", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	const configs = "kafka.admin.ConfigCommand"
	want(tool("", topics, "--create", "--topic", "tools", "--partitions", "2", "--config", "retention.ms=-1"), "Created topic tools")
	tool("", topics, "--alter", "--topic", "tools", "--partitions", "3")
	want(tool("", topics, "--describe", "--topic", "tools"), "PartitionCount: 3", "retention.ms=-1", "Leader: ")
	want(tool("", topics, "--list"), "tools")
	want(tool("", configs, "--alter", "--entity-type", "topics", "--entity-name", "tools", "--add-config", "max.message.bytes=5000"), "Completed")
	want(tool("", configs, "--describe", "--entity-type", "topics", "--entity-name", "tools"), "max.message.bytes=5000")
	tool("a:1\nb:2\nc:3\nd:4\n", "org.apache.kafka.tools.ConsoleProducer", "--topic", "tools", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
	want(tool("", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", "tools", "--group", "console", "--from-beginning", "--max-messages", "4", "--timeout-ms", "20000"), "1", "2", "3", "4", "total of 4 messages")
	want(tool("", groups, "--list"), "console")
	want(tool("", groups, "--describe", "--group", "console"), "tools", "CURRENT-OFFSET")
	want(tool("", groups, "--describe", "--group", "console", "--state"), "Empty")
	want(tool("", groups, "--reset-offsets", "--group", "console", "--topic", "tools", "--to-earliest", "--execute"), "NEW-OFFSET")
	want(tool("", groups, "--delete-offsets", "--group", "console", "--topic", "tools"), "Successful")
	want(tool("", groups, "--delete", "--group", "console"), "successful")
	want(tool("", "org.apache.kafka.tools.GetOffsetShell", "--topic", "tools", "--time", "-1"), "tools:0:", "tools:2:")
	offsets := filepath.Join(dir, "offsets.json")
	if err := os.WriteFile(offsets, []byte(`{"version":1,"partitions":[{"topic":"tools","partition":0,"offset":-1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	want(tool("", "org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", offsets), "low_watermark")
	want(tool("", "org.apache.kafka.tools.LogDirsCommand", "--describe", "--topic-list", "tools"), `"partition":"tools-0"`)
	want(tool("", "org.apache.kafka.tools.BrokerApiVersionsCommand"), "Produce(0): 0 to 13")
	tool("", topics, "--delete", "--topic", "tools")
	if out := tool("", topics, "--list"); strings.Contains(out, "tools") {
		t.Errorf("the topic is still there: %s", out)
	}
}
