package broker_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/broker"
)

// start runs a node until the test ends, or until the returned stop is called,
// which wants it to end without an error.
func start(t *testing.T, c broker.Config) (addr string, node *broker.Node, stop func()) {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Properties == nil {
		c.Properties = map[string]string{}
	}
	c.Properties["group.initial.rebalance.delay.ms"] = "0"
	node, err := broker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	select {
	case <-node.Ready():
	case err := <-done:
		t.Fatalf("the node ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the node is not ready after 30 s")
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return node.Addrs()["PLAINTEXT"].String(), node, stop
}

func franz(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRecordsAndOffsetsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	client := franz(t, addr, kgo.AllowAutoTopicCreation())
	for i := range 100 {
		r := &kgo.Record{Topic: "greetings", Key: fmt.Appendf(nil, "k%d", i%7), Value: fmt.Appendf(nil, "v%d", i)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	group := franz(t, addr, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("greetings"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for read := 0; read < 60; {
		fetches := group.PollRecords(t.Context(), 60-read)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		read += fetches.NumRecords()
	}
	if err := group.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	group.Close()
	client.Close()
	stop()
	marker, err := os.ReadFile(filepath.Join(dir, ".kafka_cleanshutdown"))
	if err != nil || strings.Contains(string(marker), "-1") {
		t.Errorf("the marker of a clean stop is %s: %v", marker, err)
	}

	addr, _, _ = start(t, broker.Config{Dir: dir})
	resumed := franz(t, addr, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("greetings"))
	for next := 60; next < 100; {
		fetches := resumed.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if want := fmt.Sprintf("v%d", next); string(r.Value) != want {
				t.Fatalf("offset %d holds %s, want %s", r.Offset, r.Value, want)
			}
			next++
		}
	}
}

// TestSaramaSpeaksToTheNode uses a client that shares no code with the server.
func TestSaramaSpeaksToTheNode(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	for _, version := range []sarama.KafkaVersion{sarama.V1_0_0_0, sarama.V2_1_0_0, sarama.V2_8_0_0, sarama.MaxVersion} {
		t.Run(version.String(), func(t *testing.T) {
			topic := "sarama-" + version.String()
			c := sarama.NewConfig()
			c.Version = version
			c.Producer.Return.Successes = true
			c.Producer.RequiredAcks = sarama.WaitForAll
			c.Consumer.Offsets.Initial = sarama.OffsetOldest
			admin, err := sarama.NewClusterAdmin([]string{addr}, c)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
				t.Fatal(err)
			}
			producer, err := sarama.NewSyncProducer([]string{addr}, c)
			if err != nil {
				t.Fatal(err)
			}
			defer producer.Close()
			for i := range 10 {
				_, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("hello")})
				if err != nil || offset != int64(i) {
					t.Fatalf("message %d: offset %d, %v", i, offset, err)
				}
			}
			consumeWithSarama(t, addr, topic, c)
		})
	}
}

func consumeWithSarama(t *testing.T, addr, topic string, c *sarama.Config) {
	t.Helper()
	group, err := sarama.NewConsumerGroup([]string{addr}, "readers-of-"+topic, c)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	h := &saramaReader{want: 10, done: cancel}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{topic}, h); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	if h.want != 0 {
		t.Errorf("%d messages were not read", h.want)
	}
}

type saramaReader struct {
	want int
	done func()
}

func (*saramaReader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*saramaReader) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *saramaReader) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		s.MarkMessage(m, "")
		if h.want--; h.want == 0 {
			h.done()
		}
	}
	return nil
}

func TestAnAnswerLeavesWhenTheChangeIsInForce(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	adm := kadm.NewClient(franz(t, addr))
	for i := range 20 {
		topic := fmt.Sprintf("t%d", i)
		if _, err := adm.CreateTopic(t.Context(), 3, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
		other := franz(t, addr, kgo.DefaultProduceTopic(topic), kgo.RequestRetries(0), kgo.RecordRetries(0))
		if err := other.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatalf("produce to %s right after its creation: %v", topic, err)
		}
		if _, err := adm.DeleteTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		listed, err := kadm.NewClient(franz(t, addr)).ListTopics(t.Context())
		if err != nil || listed.Has(topic) {
			t.Fatalf("%s is listed after its deletion: %v", topic, err)
		}
	}
}

func TestOneNodeOwnsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	start(t, broker.Config{Dir: dir})
	second, err := broker.New(broker.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second node on %s: %v", dir, err)
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
	dir := t.TempDir()
	second, err := broker.New(broker.Config{Dir: dir + "/new", Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a second node on %s: %v", addr, err)
	}
}

func TestADirectoryOfAnotherClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, _, stop := start(t, broker.Config{Dir: dir, Properties: map[string]string{"cluster.id": "one"}})
	stop()
	for _, other := range []map[string]string{{"cluster.id": "two"}, {"cluster.id": "one", "node.id": "9"}} {
		node, err := broker.New(broker.Config{Dir: dir, Listen: "127.0.0.1:0", Properties: other})
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "meta.properties") {
			t.Errorf("%v on another's directory: %v", other, err)
		}
	}
}

func TestOperatorsSeeReadinessAndKafkasMeters(t *testing.T) {
	addr, node, _ := start(t, broker.Config{Dir: t.TempDir(), Properties: map[string]string{"weir.admin.listener": "127.0.0.1:0"}})
	admin := "http://" + node.AdminAddr().String()
	client := franz(t, addr, kgo.AllowAutoTopicCreation())
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "metered", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	consumer := franz(t, addr, kgo.ConsumeTopics("metered"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if n := consumer.PollFetches(t.Context()).NumRecords(); n != 1 {
		t.Fatalf("%d records fetched", n)
	}
	if got := get(t, admin+"/readyz"); got != "ok\n" {
		t.Errorf("/readyz: %q", got)
	}
	metrics := get(t, admin+"/metrics")
	for _, want := range []string{
		`kafka_server_brokertopicmetrics_messagesin_total{topic="metered"} 1`,
		`kafka_server_brokertopicmetrics_messagesin_rate{topic="metered",window="1m"}`,
		`kafka_server_brokertopicmetrics_bytesout_total{topic="metered"} 69`,
		`kafka_server_brokertopicmetrics_all_bytesout_total 69`,
		`kafka_network_requestmetrics_requests_total{request="Produce"} 1`,
		`kafka_controller_kafkacontroller_globaltopiccount 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestAFormerTopicsFolderIsSetAside restarts a node over a folder that a deletion
// left behind: the topic can be made again, and the old bytes stay.
func TestAFormerTopicsFolderIsSetAside(t *testing.T) {
	dir := t.TempDir()
	addr, _, stop := start(t, broker.Config{Dir: dir})
	client := franz(t, addr, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("old")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stop()
	left := filepath.Join(t.TempDir(), "t-0")
	if err := os.CopyFS(left, os.DirFS(filepath.Join(dir, "t-0"))); err != nil {
		t.Fatal(err)
	}
	addr, _, stop = start(t, broker.Config{Dir: dir})
	if _, err := kadm.NewClient(franz(t, addr)).DeleteTopics(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.CopyFS(filepath.Join(dir, "t-0"), os.DirFS(left)); err != nil {
		t.Fatal(err)
	}
	addr, _, _ = start(t, broker.Config{Dir: dir})
	again := franz(t, addr, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"))
	r, err := again.ProduceSync(t.Context(), kgo.StringRecord("new")).First()
	if err != nil || r.Offset != 0 {
		t.Errorf("the new topic took the record at offset %d: %v", r.Offset, err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "t-0.*-stray", "*.log"))
	if err != nil || len(kept) != 1 {
		t.Errorf("the old segment is not kept: %v %v", kept, err)
	}
}

func TestManyNodesShareAProcess(t *testing.T) {
	for i := range 3 {
		addr, _, _ := start(t, broker.Config{Dir: t.TempDir()})
		client := franz(t, addr, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"))
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
